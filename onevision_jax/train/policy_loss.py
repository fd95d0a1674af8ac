"""The clipped policy loss, token by token.

With p the policy, p_old the policy before the first update with these samples, p_sampler what the
sampler said when it drew the token, A the advantage and c the cap on importance weights:

    ratio  = p / p_old
    weight = min(p_old / p_sampler, c)                      truncated importance sampling
    loss   = -weight min(ratio A, clip(ratio, 1 - low, 1 + high) A) + kl_weight k3
    k3     = p_ref / p - log(p_ref / p) - 1                 >= 0, estimates KL(p || p_ref)

Sources: PPO's clip (arXiv 1707.06347), GRPO (arXiv 2402.03300), DAPO's asymmetric clip (arXiv
2503.14476), truncated importance sampling as in TRL and verl; KL is outside the weight, as in TRL.

Letters: B rows, T tokens.
"""

import dataclasses

import jax
import jax.numpy as jnp

from onevision_jax.errors import InputError
from onevision_jax.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyLossConfig:
    """The objective's constants."""

    # A token stops pulling once its ratio has left [1 - clip_low, 1 + clip_high] the way it pulls.
    clip_low: float = 0.2
    clip_high: float = 0.2
    # Weight of the KL penalty to the starting model; 0 = none, and no reference is kept.
    kl_weight: float = 0.0
    # Most that a token counts where trainer and sampler disagree; None = no correction.
    importance_cap: float | None = 2.0

    def __post_init__(self):
        for name in ("clip_low", "clip_high", "kl_weight"):
            if not getattr(self, name) >= 0:
                raise InputError(f"loss.{name} is {getattr(self, name)}; give 0 or more")
        if self.importance_cap is not None and not self.importance_cap >= 1:
            raise InputError(f"loss.importance_cap is {self.importance_cap}; give 1+, or none")


def policy_loss(
    logprob_BT: jax.Array,
    batch: Batch,
    config: PolicyLossConfig,
    reference_BT: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """What each token adds, all [B, T] float32 and 0 where `batch.loss_weights` is.

    logprob: of `batch.targets` under the policy; reference: under the reference, needed when
    kl_weight > 0. Returns "loss" (differentiable), "kl", "clipped" (1 where the clip was active),
    "difference" (|log p_old - log p_sampler|) and "weight".
    """
    counts_BT = _given(batch.loss_weights, "loss_weights") != 0
    advantages_BT = _given(batch.advantages, "advantages")
    sampler_BT = _given(batch.sampler_logprobs, "sampler_logprobs")
    logprob_BT = jnp.where(counts_BT, logprob_BT, 0.0)  # -inf of a banned target would be NaN
    still_BT = jax.lax.stop_gradient(logprob_BT)
    old_BT = still_BT if batch.old_logprobs is None else batch.old_logprobs
    ratio_BT = jnp.exp(logprob_BT - old_BT)
    bounded_BT = jnp.clip(ratio_BT, 1 - config.clip_low, 1 + config.clip_high)
    gain_BT = jnp.minimum(ratio_BT * advantages_BT, bounded_BT * advantages_BT)
    drift_BT = old_BT - sampler_BT
    weight_BT = jnp.ones_like(drift_BT)
    if config.importance_cap is not None:
        weight_BT = jnp.minimum(jnp.exp(drift_BT), config.importance_cap)
    loss_BT = -weight_BT * gain_BT
    kl_BT = jnp.zeros_like(loss_BT)
    if config.kl_weight > 0:
        log_BT = _given(reference_BT, "reference log-probs") - logprob_BT
        kl_BT = jnp.exp(log_BT) - log_BT - 1
        loss_BT = loss_BT + config.kl_weight * kl_BT
    terms = {
        "loss": loss_BT,
        "kl": kl_BT,
        "clipped": (bounded_BT * advantages_BT < ratio_BT * advantages_BT).astype(jnp.float32),
        "difference": jnp.abs(drift_BT),
        "weight": weight_BT,
    }
    return {name: jnp.where(counts_BT, term, 0.0) for name, term in terms.items()}


def _given(value: jax.Array | None, name: str) -> jax.Array:
    if value is None:
        raise InputError(f"the batch has no {name}; the policy loss needs them")
    return value
