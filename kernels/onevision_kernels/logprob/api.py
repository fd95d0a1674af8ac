"""Linear -> log-prob, log-sum-exp, entropy: what every loss over tokens needs of the vocabulary.

Ask for an implementation by name: it runs or says why not. Ask for none: it always answers.
Letters: B batch, T tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from onevision_kernels import choice
from onevision_kernels.logprob.call import Call
from onevision_kernels.logprob.gpu import gpu_logprob
from onevision_kernels.logprob.gpu import refuses as gpu_refuses
from onevision_kernels.logprob.reference import LogProbs, reference_logprob
from onevision_kernels.logprob.tpu import refuses as tpu_refuses
from onevision_kernels.logprob.tpu import tpu_logprob
from onevision_kernels.logprob.xla import xla_logprob
from onevision_kernels.target import Target


class Implementation(NamedTuple):
    """One way to compute it.

    compute(hidden, head, targets, banned, *, vocab_first, temperature, vocab_shards, num_shards).
    refuses(target, call) -> why it cannot run there, None where it can.
    """

    compute: Callable[..., LogProbs]
    refuses: Callable[[Target, Call], str | None] = lambda target, call: None


# By default the first that does not refuse. "gpu" stands behind "xla": no one has measured it yet.
IMPLEMENTATIONS: Mapping[str, Implementation] = MappingProxyType(
    {
        "tpu": Implementation(tpu_logprob, tpu_refuses),
        "xla": Implementation(xla_logprob),
        "gpu": Implementation(gpu_logprob, gpu_refuses),
        "reference": Implementation(reference_logprob),
    }
)


def linear_logprob(
    hidden_BTD: Float[Array, "B T D"],
    head: Float[Array, "X Y"],
    targets_BT: Int[Array, "_ _"],
    *,
    vocab_first: bool,
    temperature: float = 1.0,
    banned_V: Bool[Array, " _"] | None = None,
    vocab_shards: int = 1,
    num_shards: int = 1,
    implementation: str | None = None,
) -> LogProbs:
    """Log-softmax of `hidden @ head / temperature` at the targets, and what else it takes.

    head: [V, D] when `vocab_first` (tied with the embedding), else [D, V]; used in the dtype of
    the hidden states, its gradient summed in float32. targets: in 0 .. V - 1. banned_V: entries
    that count as if they were not there; a banned target has log-prob -inf. All three results may
    be differentiated. Logits, softmax and sums are float32 (float64 for float64 hidden states).
    vocab_shards: how many parts the vocabulary is split into over devices; num_shards: how many
    devices share the work, from which implementations choose the size of their pieces. Both
    change no result.
    Raises ValueError for shapes that do not fit, a temperature that is not positive, an unknown
    implementation and one that refuses the target or the call.
    """
    call = Call.of(
        hidden_BTD,
        head,
        vocab_first=vocab_first,
        vocab_shards=vocab_shards,
        num_shards=num_shards,
    )
    rows = hidden_BTD.shape[:2]
    if targets_BT.shape != rows:
        raise ValueError(f"targets have shape {targets_BT.shape}, hidden states {rows}")
    if banned_V is not None and banned_V.shape != (call.vocab_size,):
        raise ValueError(
            f"the mask of banned entries has shape {banned_V.shape}, expected {(call.vocab_size,)}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, it must be above 0")
    return IMPLEMENTATIONS[choose(call, implementation)].compute(
        hidden_BTD,
        head,
        targets_BT,
        banned_V,
        vocab_first=vocab_first,
        temperature=float(temperature),
        vocab_shards=vocab_shards,
        num_shards=num_shards,
    )


def choose(call: Call, implementation: str | None = None) -> str:
    """The implementation's name if it runs on the current target, or the best that does.

    Raises ValueError on an unknown implementation and on one that refuses the target or the call.
    """
    return choice.choose("logprob", IMPLEMENTATIONS, call, implementation)


def implementations() -> dict[str, str]:
    """Name -> "active", "available", or why it does not run here (for `onevision doctor`)."""
    return choice.describe("logprob", IMPLEMENTATIONS, Call.typical())
