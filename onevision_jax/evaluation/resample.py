"""Differences by resampling, cluster by cluster, and p-values corrected for many tests."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

NUM_DRAWS = 10_000
NORMAL = NormalDist()


def bootstrap_interval(
    sums: Sequence[float],
    sizes: Sequence[int],
    *,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """BCa interval of sum(sums) / sum(sizes) when whole clusters are drawn again; None for one.

    Source: B. Efron, Better Bootstrap Confidence Intervals, JASA 82 (1987): bias-corrected and
    accelerated, the acceleration from the jackknife over clusters; draws equal to the estimate
    count half below it. Where nothing varies the interval is a point, which says too much: look at
    Newcombe's beside it.

    sums, sizes: of every cluster, the summed differences and the number of rows. Clusters with
    equal values are drawn together, as one cell of a multinomial, which is the same distribution.
    """
    if len(sums) < 2:
        return None
    values, counts = np.unique(np.stack([sums, sizes], 1), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    chunk = max(1, 4_000_000 // len(values))
    draws = []
    for start in range(0, num_draws, chunk):
        size = min(chunk, num_draws - start)
        totals = rng.multinomial(counts.sum(), counts / counts.sum(), size) @ values
        draws.append(totals[:, 0] / totals[:, 1])
    found = np.sort(np.round(np.concatenate(draws), 12))
    total = counts @ values
    estimate = np.round(total[0] / total[1], 12)
    below = (np.sum(found < estimate) + np.sum(found == estimate) / 2) / num_draws
    bias = NORMAL.inv_cdf(float(np.clip(below, 0.5 / num_draws, 1 - 0.5 / num_draws)))
    rest = total - values  # of all clusters but one
    acceleration = _acceleration(rest[:, 0] / rest[:, 1], counts)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        moved = bias + NORMAL.inv_cdf(tail)
        ends.append(NORMAL.cdf(bias + moved / (1 - acceleration * moved)))
    low, high = np.quantile(found, ends)
    return float(low), float(high)


def _acceleration(left_out: np.ndarray, counts: np.ndarray) -> float:
    """Of the jackknife values, each of which stands for `counts` clusters."""
    apart = np.average(left_out, weights=counts) - left_out
    spread = float(counts @ apart**2)
    return float(counts @ apart**3) / (6 * spread**1.5) if spread > 1e-18 else 0.0


def sign_flip_p(sums: Sequence[float], *, seed: int = 0, num_draws: int = NUM_DRAWS) -> float:
    """Two-sided p-value of "the two could be exchanged", cluster by cluster.

    Random signs for the summed differences of the clusters (R. A. Fisher, The Design of
    Experiments, 1935, section 21; the count with one added as in B. Phipson and G. K. Smyth, 2010).
    With one row a cluster and booleans it estimates McNemar's exact p-value.
    """
    sizes, counts = np.unique(np.abs(np.round(sums, 12)), return_counts=True)
    rng = np.random.default_rng(seed)
    chunk = max(1, 4_000_000 // len(sizes))
    reached = 0
    for start in range(0, num_draws, chunk):
        heads = rng.binomial(counts, 0.5, (min(chunk, num_draws - start), len(sizes)))
        reached += int(np.sum(np.abs((2 * heads - counts) @ sizes) >= abs(sum(sums)) - 1e-9))
    return (1 + reached) / (1 + num_draws)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: the chance of even one false finding stays below the level.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, highest, m = [0.0] * len(p_values), 0.0, len(p_values)
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (m - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: the expected share of false findings stays below the level.

    Source: Y. Benjamini and Y. Hochberg, Journal of the Royal Statistical Society B 57 (1995).
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, lowest, m = [0.0] * len(p_values), 1.0, len(p_values)
    for rank in reversed(range(m)):
        lowest = min(lowest, p_values[order[rank]] * m / (rank + 1))
        adjusted[order[rank]] = lowest
    return adjusted
