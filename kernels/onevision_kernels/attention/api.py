"""Range attention: every attention of the system through one function.

Ask for an implementation by name: it runs or raises. Ask for none: it always answers.
Letters: B batch, T queries, S keys, N query heads, K kv heads, H head width.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
from jaxtyping import Array, Float, Int

from onevision_kernels.attention.reference import AttentionOutput, reference_attention
from onevision_kernels.attention.xla import xla_attention

IMPLEMENTATIONS: Mapping[str, Callable[..., AttentionOutput]] = MappingProxyType(
    {"xla": xla_attention, "reference": reference_attention}
)
DEFAULT = "xla"


def range_attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BSKH: Float[Array, "B S K H"],
    v_BSKH: Float[Array, "B S K H"],
    ranges_BT4: Int[Array, "B T 4"],
    *,
    causal: bool = False,
    scale: float | None = None,
    max_span: int | None = None,
    implementation: str | None = None,
) -> AttentionOutput:
    """Softmax attention of each query over its key ranges; query head n uses kv head n // (N/K).

    ranges: see `ranges.py`. causal: a query at index t also sees no key beyond index t (only
    where queries and keys are the same sequence). scale: default H ** -0.5. max_span: a promise
    that every key a query sees lies at most this many indices away from it (vision windows),
    which lets implementations skip the rest without looking; None promises nothing.
    Scores and softmax are float32, the output has the dtype of v, rows without keys are zero.
    Raises ValueError on an unknown implementation or when N is no multiple of K.
    """
    num_heads, num_kv_heads = q_BTNH.shape[2], k_BSKH.shape[2]
    if num_heads % num_kv_heads:
        raise ValueError(f"{num_heads} query heads cannot share {num_kv_heads} kv heads evenly")
    if causal and q_BTNH.shape[1] != k_BSKH.shape[1]:
        raise ValueError(
            f"causal attention needs as many keys as queries, got {k_BSKH.shape[1]} keys for "
            f"{q_BTNH.shape[1]} queries; put the bound into the ranges instead"
        )
    name = implementation or DEFAULT
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"attention implementation {name!r} is none of {sorted(IMPLEMENTATIONS)}")
    scale = q_BTNH.shape[3] ** -0.5 if scale is None else scale
    attend = IMPLEMENTATIONS[name]
    return attend(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal=causal, scale=scale, max_span=max_span)


def implementations() -> dict[str, str]:
    """Name -> "active", "available", or why it does not run here (for `onevision doctor`)."""
    backend = jax.default_backend()
    return {
        name: f"active on {backend}" if name == DEFAULT else "available" for name in IMPLEMENTATIONS
    }
