"""Range attention: every attention of the system through one function.

Ask for an implementation by name: it runs or says why not. Ask for none: it always answers.
Letters: B batch, T queries, S keys, N query heads, K kv heads, H head width.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int

from onevision_kernels import choice
from onevision_kernels.attention import gpu, tpu
from onevision_kernels.attention.call import Call
from onevision_kernels.attention.reference import AttentionOutput, reference_attention
from onevision_kernels.attention.xla import xla_attention
from onevision_kernels.target import Target


class Implementation(NamedTuple):
    """One way to compute range attention.

    attend(q, k, v, ranges, *, causal, scale, max_span, schedule) -> AttentionOutput.
    refuses(target, call) -> why it cannot run there, None where it can.
    schedule(ranges, call) -> what `attend` wants to know of the ranges, made once a batch and
    shared by all layers: any pytree of arrays whose first axis may be split over devices as the
    batch is (every device makes its own part).
    divides: XLA can split it over devices by itself; otherwise each device is to be given its own
    rows and heads (`jax.shard_map`).
    """

    attend: Callable[..., AttentionOutput]
    refuses: Callable[[Target, Call], str | None] = lambda target, call: None
    schedule: Callable[[jax.Array, Call], Any] = lambda ranges, call: ()
    divides: bool = False


# By default the first that does not refuse.
IMPLEMENTATIONS: Mapping[str, Implementation] = MappingProxyType(
    {
        "tpu": Implementation(tpu.attend, tpu.refuses, tpu.schedule),
        "xla": Implementation(xla_attention, divides=True),
        # After xla, hence by name only, until it has run on a card: so far it is interpreted and
        # compiled (kernels/README.md).
        "gpu": Implementation(gpu.attend, gpu.refuses, gpu.schedule),
        "reference": Implementation(reference_attention, divides=True),
    }
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedRanges:
    """Ranges, the implementation chosen for them, and its schedule. `prepare_ranges` makes it."""

    ranges: Any  # int32 [B, T, 4]; or its shape, for compiling alone
    schedule: Any
    call: Call = dataclasses.field(metadata={"static": True})
    implementation: str = dataclasses.field(metadata={"static": True})


def prepare_ranges(
    ranges_BT4: Int[Array, "B T 4"], call: Call, *, implementation: str | None = None
) -> PreparedRanges:
    """What `range_attention` needs to know of the ranges, for all the layers that share them.

    call: the shapes to come, of one device where the arrays are split over several.
    Raises ValueError on an unknown implementation and on one that refuses the target or the call.
    """
    name = choose(call, implementation)
    schedule = IMPLEMENTATIONS[name].schedule(ranges_BT4, call)
    return PreparedRanges(ranges=ranges_BT4, schedule=schedule, call=call, implementation=name)


def choose(call: Call, implementation: str | None = None) -> str:
    """The implementation's name if it runs on the current target, or the best that does."""
    return choice.choose("attention", IMPLEMENTATIONS, call, implementation)


def range_attention(
    q_BTNH: Float[Array, "B T N H"],
    k_BSKH: Float[Array, "B S K H"],
    v_BSKH: Float[Array, "B S K H"],
    ranges: Int[Array, "B T 4"] | PreparedRanges,
    *,
    causal: bool = False,
    scale: float | None = None,
    max_span: int | None = None,
    implementation: str | None = None,
) -> AttentionOutput:
    """Softmax attention of each query over its key ranges; query head n uses kv head n // (N/K).

    ranges: see `ranges.py`, or what `prepare_ranges` made of them (then causal, max_span and
    implementation are those it was made for). causal: a query at index t also sees no key beyond
    index t (only where queries and keys are the same sequence). scale: default H ** -0.5.
    max_span: a promise that every key a query sees lies at most this many indices away from it
    (vision windows), which lets implementations skip the rest without looking; None promises
    nothing.
    Scores and softmax are float32, the output has the dtype of v, rows without keys are zero and
    have the log-sum-exp -inf. Both results may be differentiated.
    Raises ValueError on an unknown implementation, on one that does not run here, when N is no
    multiple of K and when prepared ranges belong to other shapes.
    """
    shapes = Call.of(q_BTNH, k_BSKH, causal=causal, max_span=max_span)
    if not isinstance(ranges, PreparedRanges):
        ranges = prepare_ranges(ranges, shapes, implementation=implementation)
    call = ranges.call
    if shapes._replace(causal=call.causal, max_span=call.max_span) != call:
        raise ValueError(f"the ranges were prepared for {call}, the arrays are {shapes}")
    return IMPLEMENTATIONS[ranges.implementation].attend(
        q_BTNH,
        k_BSKH,
        v_BSKH,
        ranges.ranges,
        causal=call.causal,
        scale=call.head_dim**-0.5 if scale is None else scale,
        max_span=call.max_span,
        schedule=ranges.schedule,
    )


def implementations() -> dict[str, str]:
    """Name -> "active", "available", or why it does not run here (for `onevision doctor`)."""
    return choice.describe("attention", IMPLEMENTATIONS, Call.typical())
