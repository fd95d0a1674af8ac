"""From logits to the next token.

Letters: B rows, V vocabulary.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from onevision_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn. The filters apply in this order, as in transformers."""

    temperature: float = 0.0  # 0 = greedy
    top_k: int = 0  # keep the k most likely tokens; 0 = all
    top_p: float = 1.0  # keep the smallest set of tokens holding this much probability

    def __post_init__(self):
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature is {self.temperature}, expected a number >= 0")
        if self.top_k < 0:
            raise InputError(f"top_k is {self.top_k}, expected 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}, expected a number in (0, 1]")


def keep_top_k(logits_BV: jax.Array, k: int) -> jax.Array:
    """-inf below the k-th largest logit of each row (ties of the k-th stay)."""
    kth_B1 = jax.lax.top_k(logits_BV, min(k, logits_BV.shape[1]))[0][:, -1:]
    return jnp.where(logits_BV >= kth_B1, logits_BV, -jnp.inf)


def keep_top_p(logits_BV: jax.Array, p: float) -> jax.Array:
    """-inf outside the smallest set of tokens whose probabilities reach p; the first stays."""
    order_BV = jnp.argsort(-logits_BV, axis=-1)
    probs_BV = jax.nn.softmax(jnp.take_along_axis(logits_BV, order_BV, axis=-1), axis=-1)
    before_BV = jnp.cumsum(probs_BV, axis=-1) - probs_BV  # Mass of strictly likelier tokens.
    rank_BV = jnp.argsort(order_BV, axis=-1)
    return jnp.where(jnp.take_along_axis(before_BV < p, rank_BV, axis=-1), logits_BV, -jnp.inf)


def sample(
    logits_BV: jax.Array, keys_B: jax.Array, sampling: Sampling, banned_V: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The next token of each row, and its log-probability.

    logits [B, V] float32; keys [B] PRNG keys, one a row, so that a row's draw does not depend on
    its neighbours; banned [V] bool: tokens that are never drawn.
    Returns tokens [B] int32 and log-probabilities [B] float32 under the tempered distribution
    (temperature 1 when greedy) without the banned tokens, before top-k and top-p.
    """
    logits_BV = jnp.where(banned_V[None], -jnp.inf, logits_BV)
    if sampling.temperature > 0:
        logits_BV = logits_BV / sampling.temperature
    logp_BV = jax.nn.log_softmax(logits_BV, axis=-1)
    if sampling.temperature == 0:
        tokens_B = jnp.argmax(logits_BV, axis=-1)
    else:
        if sampling.top_k:
            logits_BV = keep_top_k(logits_BV, sampling.top_k)
        if sampling.top_p < 1:
            logits_BV = keep_top_p(logits_BV, sampling.top_p)
        tokens_B = jax.vmap(jax.random.categorical)(keys_B, logits_BV)
    tokens_B = tokens_B.astype(jnp.int32)
    return tokens_B, jnp.take_along_axis(logp_BV, tokens_B[:, None], axis=-1)[:, 0]
