"""What a part of the vocabulary adds to a token's log-sum-exp and entropy, and how parts add up.

With t the logits over the temperature and m their maximum, a part is m, the sum of exp(t - m), the
sum of exp(t - m) (t - m), and the target's t where the target is among them. Kernels return it for
the entries they were given; devices that hold parts of the vocabulary merge theirs.

Letters: N tokens.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from onevision_kernels.logprob.reference import LogProbs

FAR = -1e30  # A logit that counts as absent; finite, so that no difference of two is NaN.
_NEAR = FAR / 4  # What is below, is absent.


class PartialSums(NamedTuple):
    """Each [N] float32."""

    peak: jax.Array  # m; FAR where no entry is allowed
    total: jax.Array  # sum of exp(t - m)
    weighted: jax.Array  # sum of exp(t - m) (t - m)
    picked: jax.Array  # the target's t: 0 where it is elsewhere, FAR where it is banned


def merge(sums: PartialSums) -> PartialSums:
    """The sums of all parts along the first axis, each array [parts, N]."""
    peak = sums.peak.max(axis=0)
    below = sums.peak - peak[None]
    shrink = jnp.exp(below)
    weighted = shrink * (sums.weighted + below * sums.total)
    added = (x.sum(axis=0) for x in (shrink * sums.total, weighted, sums.picked))
    return PartialSums(peak, *added)


def log_probs(sums: PartialSums) -> LogProbs:
    """What the sums over the whole vocabulary say."""
    log_total = jnp.log(sums.total)
    nothing = (sums.peak < _NEAR) & ~jnp.isnan(log_total)  # A maximum may lose the NaN of a sum.
    lse = jnp.where(nothing, -jnp.inf, sums.peak + log_total)
    logprob = jnp.where(sums.picked < _NEAR, -jnp.inf, sums.picked - lse)
    return LogProbs(logprob, lse, log_total - sums.weighted / sums.total)
