"""Attention as the 7B model calls it: packed text, GRPO rows, vision windows.

jax's own splash attention stands beside ours as the yardstick on TPU (kernels.md, section 6.2).
Letters: T tokens, N query heads, K kv heads, H head width.
"""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp

from onevision_jax.plan.gates.case import (
    GPUS,
    TPUS,
    XLA_ON,
    Case,
    abstract,
    require,
    with_gradients,
)

SPLASH_BLOCK = 1024  # The block the bars of kernels.md are stated for.


class Shape(NamedTuple):
    """One call: num_tokens T, heads N / K, width H."""

    name: str
    num_tokens: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    causal: bool
    max_span: int | None = None


PACKED = Shape("decoder", 8192, 28, 4, 128, causal=True)
GRPO = Shape("grpo", 1500 + 8 * 512, 28, 4, 128, causal=True)  # prompt and eight answers
WINDOWS = Shape("windows", 8192, 16, 16, 80, causal=False, max_span=63)  # windows of 64 patches
SHAPES = (PACKED, GRPO, WINDOWS)


def ours(name: str, shape: Shape, *, backward: bool) -> tuple[Any, tuple[Any, ...]]:
    """`range_attention` by the implementation of that name."""
    from onevision_kernels.attention import AttentionOutput, range_attention
    from onevision_kernels.attention.api import IMPLEMENTATIONS

    require(name, IMPLEMENTATIONS, "attention")
    T, N, K, H = shape.num_tokens, shape.num_heads, shape.num_kv_heads, shape.head_dim
    q, k, v = abstract(1, T, N, H), abstract(1, T, K, H), abstract(1, T, K, H)
    ranges = abstract(1, T, 4, dtype=jnp.int32)
    attend = functools.partial(
        range_attention, causal=shape.causal, max_span=shape.max_span, implementation=name
    )
    if not backward:
        return attend, (q, k, v, ranges)
    cotangents = AttentionOutput(q, abstract(1, T, N, dtype=jnp.float32))
    return with_gradients(attend, 3), (q, k, v, ranges, cotangents)


def splash(shape: Shape, *, backward: bool) -> tuple[Any, tuple[Any, ...]]:
    """jax's splash attention with segment ids, which mask and do not skip."""
    from jax.experimental.pallas.ops.tpu import splash_attention as library

    T, N, K, H = shape.num_tokens, shape.num_heads, shape.num_kv_heads, shape.head_dim
    mask = library.CausalMask((T, T)) if shape.causal else library.FullMask((T, T))
    sizes = library.BlockSizes(
        **dict.fromkeys(("block_q", "block_kv", "block_q_dkv", "block_kv_dkv"), SPLASH_BLOCK),
        block_kv_compute=512,
        block_kv_dkv_compute=512,
        use_fused_bwd_kernel=True,
    )
    kernel = library.make_splash_mha_single_device(
        library.MultiHeadMask([mask] * N), block_sizes=sizes
    )

    def attend(q_NTH, k_KTH, v_KTH, ids_T):
        return kernel(q_NTH, k_KTH, v_KTH, library.SegmentIds(ids_T, ids_T))

    q, k, v = abstract(N, T, H), abstract(K, T, H), abstract(K, T, H)
    ids = abstract(T, dtype=jnp.int32)
    return (with_gradients(attend, 3), (q, k, v, ids, q)) if backward else (attend, (q, k, v, ids))


def _cases() -> list[Case]:
    passes = {"forward": False, "backward": True}
    found = []
    for word, backward in passes.items():
        for name, targets in (("xla", XLA_ON), ("tpu", TPUS), ("gpu", GPUS)):
            # XLA takes GRPO rows by the same loop over blocks as packed rows.
            shapes = (PACKED, WINDOWS) if name == "xla" else SHAPES
            found += [
                Case(
                    f"attention/{name}/{shape.name}/{word}",
                    targets,
                    functools.partial(ours, name, shape, backward=backward),
                    plain=name == "xla",
                )
                for shape in shapes
            ]
        found += [
            Case(
                f"attention/splash/{shape.name}/{word}",
                TPUS,
                functools.partial(splash, shape, backward=backward),
            )
            for shape in (PACKED, WINDOWS)
        ]
    return found


CASES = _cases()
