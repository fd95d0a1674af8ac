"""Linear -> log-prob, log-sum-exp, entropy: what every loss over tokens needs of the vocabulary.

Ask for an implementation by name: it runs or raises. Ask for none: it always answers.
Letters: B batch, T tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
from jaxtyping import Array, Bool, Float, Int

from onevision_kernels.logprob.reference import LogProbs, reference_logprob
from onevision_kernels.logprob.xla import xla_logprob

IMPLEMENTATIONS: Mapping[str, Callable[..., LogProbs]] = MappingProxyType(
    {"xla": xla_logprob, "reference": reference_logprob}
)
DEFAULT = "xla"


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
    Raises ValueError for shapes that do not fit, a temperature that is not positive and an
    unknown implementation.
    """
    B, T, D = hidden_BTD.shape
    V, width = head.shape if vocab_first else head.shape[::-1]
    if width != D:
        layout = "[V, D]" if vocab_first else "[D, V]"
        raise ValueError(f"a head {layout} of shape {head.shape} does not fit width {D}")
    if targets_BT.shape != (B, T):
        raise ValueError(f"targets have shape {targets_BT.shape}, hidden states {(B, T)}")
    if banned_V is not None and banned_V.shape != (V,):
        raise ValueError(f"the mask of banned entries has shape {banned_V.shape}, expected {(V,)}")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, it must be above 0")
    if V % vocab_shards:
        raise ValueError(f"a vocabulary of {V} does not divide into {vocab_shards} shards")
    name = implementation or DEFAULT
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"logprob implementation {name!r} is none of {sorted(IMPLEMENTATIONS)}")
    return IMPLEMENTATIONS[name](
        hidden_BTD,
        head,
        targets_BT,
        banned_V,
        vocab_first=vocab_first,
        temperature=float(temperature),
        vocab_shards=vocab_shards,
        num_shards=num_shards,
    )


def implementations() -> dict[str, str]:
    """Name -> "active", "available", or why it does not run here (for `onevision doctor`)."""
    backend = jax.default_backend()
    return {
        name: f"active on {backend}" if name == DEFAULT else "available" for name in IMPLEMENTATIONS
    }
