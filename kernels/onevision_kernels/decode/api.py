"""Decode attention: a few new tokens of each answer against its prompt and itself.

Ask for an implementation by name: it runs or says why not. Ask for none: it always answers.
Letters: B rows, T new tokens, N query heads, H head width.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int

from onevision_kernels import choice
from onevision_kernels.attention.reference import AttentionOutput
from onevision_kernels.decode.cache import DecodeCall, SharedCache
from onevision_kernels.decode.gpu import gpu_decode, gpu_refuses
from onevision_kernels.decode.reference import reference_decode
from onevision_kernels.decode.xla import xla_decode
from onevision_kernels.target import Target


class Implementation(NamedTuple):
    """One way to compute decode attention.

    attend(q, cache, layer, *, scale) -> AttentionOutput.
    refuses(target, call) -> why it cannot run there, None where it can.
    """

    attend: Callable[..., AttentionOutput]
    refuses: Callable[[Target, DecodeCall], str | None] = lambda target, call: None


# By default the first that does not refuse. "gpu" has never been timed, so it runs by name alone.
IMPLEMENTATIONS: Mapping[str, Implementation] = MappingProxyType(
    {
        "xla": Implementation(xla_decode),
        "gpu": Implementation(gpu_decode, gpu_refuses),
        "reference": Implementation(reference_decode),
    }
)


def choose(call: DecodeCall, implementation: str | None = None) -> str:
    """The implementation's name if it runs on the current target, or the best that does.

    Raises ValueError on an unknown implementation and on one that refuses the target or the call.
    """
    return choice.choose("decode", IMPLEMENTATIONS, call, implementation)


def decode_attention(
    q_BTNH: Float[Array, "B T N H"],
    cache: SharedCache,
    layer: Int[Array, ""] | int = 0,
    *,
    scale: float | None = None,
    implementation: str | None = None,
) -> AttentionOutput:
    """Softmax attention of the new tokens of each row over its prompt and its answer so far.

    q: the queries of the T newest tokens of each answer, whose keys and values stand in the cache
    already: token t sees the whole prompt and the answer up to itself. cache: see `SharedCache`;
    all layers, of which `layer` is read. scale: default H ** -0.5. Query head n uses kv head
    n // (N / K). Scores and softmax are float32, the output has the dtype of the values; queries
    that see nothing give zeros and the log-sum-exp -inf. Not meant to be differentiated.
    Raises ValueError for shapes that do not fit, an unknown implementation, and one that does not
    run here.
    """
    call = DecodeCall.of(q_BTNH, cache)
    attend = IMPLEMENTATIONS[choose(call, implementation)].attend
    scale = call.head_dim**-0.5 if scale is None else scale
    return attend(q_BTNH, cache, jax.numpy.asarray(layer, "int32"), scale=scale)


def implementations() -> dict[str, str]:
    """Name -> "active", "available", or why it does not run here (for `onevision doctor`)."""
    return choice.describe("decode", IMPLEMENTATIONS, DecodeCall.typical())
