"""What `linear_logprob` computes, written plainly: dense logits [B, T, V].

Letters: B batch, T tokens, D width, V vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class LogProbs(NamedTuple):
    """Each [B, T], float32 or wider."""

    logprob: jax.Array  # of the target
    lse: jax.Array  # log-sum-exp of the logits over the temperature
    entropy: jax.Array  # of the distribution, in nats


def dense_logits(
    hidden_BTD: jax.Array,
    head: jax.Array,
    banned_V: jax.Array | None,
    vocab_first: bool,
    temperature: float,
) -> jax.Array:
    """[B, T, V] logits over the temperature, -inf where banned."""
    wide = jnp.promote_types(hidden_BTD.dtype, jnp.float32)
    logits_BTV = jnp.einsum(
        "BTD,VD->BTV" if vocab_first else "BTD,DV->BTV",
        hidden_BTD,
        head.astype(hidden_BTD.dtype),
        preferred_element_type=wide,
    )
    logits_BTV = logits_BTV / temperature
    return logits_BTV if banned_V is None else jnp.where(banned_V[None, None], -jnp.inf, logits_BTV)


def summarise(logits_BTV: jax.Array, targets_BT: jax.Array) -> LogProbs:
    """The three sums over the vocabulary.

    The target's logit is picked by comparison, not by index: a split vocabulary then needs no
    logits from other devices.
    """
    lse_BT1 = jax.nn.logsumexp(logits_BTV, axis=-1, keepdims=True)
    log_probs_BTV = logits_BTV - lse_BT1
    there_BTV = log_probs_BTV > -jnp.inf
    safe_BTV = jnp.where(there_BTV, log_probs_BTV, 0.0)
    entropy_BT = -jnp.where(there_BTV, jnp.exp(safe_BTV) * safe_BTV, 0.0).sum(axis=-1)
    ids_V = jnp.arange(logits_BTV.shape[-1], dtype=targets_BT.dtype)
    is_target_BTV = targets_BT[:, :, None] == ids_V[None, None]
    logprob_BT = jnp.where(is_target_BTV, log_probs_BTV, 0.0).sum(axis=-1)
    return LogProbs(logprob_BT, lse_BT1[..., 0], entropy_BT)


def reference_logprob(
    hidden_BTD: jax.Array,
    head: jax.Array,
    targets_BT: jax.Array,
    banned_V: jax.Array | None,
    *,
    vocab_first: bool,
    temperature: float,
    vocab_shards: int = 1,
    num_shards: int = 1,
) -> LogProbs:
    """The specification (how the work is shared changes nothing)."""
    del vocab_shards, num_shards
    return summarise(dense_logits(hidden_BTD, head, banned_V, vocab_first, temperature), targets_BT)
