"""Attention over a set of keys from attention over its parts, weighed by their log-sum-exps."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Part(NamedTuple):
    """Attention over some of the keys, before division by the sum of weights.

    weighted [..., H]: the values times exp(score - peak), summed. total [...]: the sum of those
    weights. peak [...]: any finite number near the largest score; all float32 or wider.
    """

    weighted: jax.Array
    total: jax.Array
    peak: jax.Array


def merge(parts: Sequence[Part]) -> tuple[jax.Array, jax.Array]:
    """Output [..., H] and log-sum-exp [...] over all the parts; zeros and -inf without any key."""
    peaks = [jnp.where(part.total > 0, part.peak, -jnp.inf) for part in parts]
    peak = peaks[0]
    for other in peaks[1:]:
        peak = jnp.maximum(peak, other)
    some = jnp.isfinite(peak)
    peak = jnp.where(some, peak, 0.0)
    shrink = [jnp.exp(each - peak) for each in peaks]
    total = sum(part.total * factor for part, factor in zip(parts, shrink, strict=True))
    total = jnp.where(some, total, 1.0)
    weighted = sum(
        part.weighted * factor[..., None] for part, factor in zip(parts, shrink, strict=True)
    )
    return weighted / total[..., None], jnp.where(some, jnp.log(total) + peak, -jnp.inf)
