"""How sure a count is: of rows that stand alone, and of rows that come in clusters."""

import math
from collections.abc import Sequence
from statistics import NormalDist

Z95 = 1.959963984540054  # Two-sided 95 % point of the normal distribution.


def wilson(correct: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a proportion; (0, 1) when nothing was counted.

    Fractions are allowed: of an effective sample size, or of shares in [0, 1] instead of right and
    wrong, for which the interval is too wide rather than too narrow.

    Source: E. B. Wilson, Probable inference, JASA 22 (1927), equation for the roots of the score.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} of {n} is no proportion")
    if n == 0:
        return 0.0, 1.0
    share = correct / n
    scale = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    # At the ends the bound is the end itself, which rounding misses.
    low = 0.0 if correct == 0 else max(0.0, middle - half)
    return low, 1.0 if correct == n else min(1.0, middle + half)


def clustered_wilson(
    correct: Sequence[float], sizes: Sequence[int], z: float = Z95
) -> tuple[float, float]:
    """Wilson interval of a share whose rows come in clusters; Wilson's own where each has one row.

    The variance of the share sum(correct) / sum(sizes) is the cluster-robust one of a ratio (E.
    Miller, Adding Error Bars to Evals, arXiv 2411.00640, 2024, section 2.2, with the usual factor
    C / (C - 1) for C clusters). Wilson's interval is taken at the effective sample size that has
    this variance, as E. L. Korn and B. I. Graubard (Survey Methodology 24, 1998) do with the exact
    interval and N. Dean and M. Pagano (Journal of Survey Statistics and Methodology 3, 2015) with
    Wilson's: n over the design effect, times (t(n - 1) / t(C - 1))^2 for the few clusters, where t
    is Student's quantile. The design effect counts as 1 where it is less.

    When all rows or none are right, nothing is seen of the spread: every cluster counts as one row.
    One cluster that is not alike within says nothing of others: (0, 1).

    correct, sizes: right rows and rows of every cluster. Raises ValueError where they do not fit.
    """
    if len(correct) != len(sizes):
        raise ValueError(f"{len(correct)} counts for {len(sizes)} clusters; give one for each")
    if any(size < 1 or not 0 <= right <= size for right, size in zip(correct, sizes, strict=True)):
        raise ValueError("a cluster has no rows, or more right ones than rows")
    n, clusters, total = sum(sizes), len(sizes), sum(correct)
    if n == clusters:
        return wilson(total, n, z)
    if total in (0, n):
        return wilson(clusters if total else 0, clusters, z)
    if clusters == 1:
        return 0.0, 1.0
    share = total / n
    squares = sum((c - share * m) ** 2 for c, m in zip(correct, sizes, strict=True))
    variance = clusters / (clusters - 1) * squares / n**2
    design_effect = max(1.0, variance / (share * (1 - share) / (n - 1)))
    effective = n / design_effect * (student(z, n - 1) / student(z, clusters - 1)) ** 2
    return wilson(share * effective, effective, z)


def student(z: float, dof: int) -> float:
    """Student's t with as much probability below it as the normal quantile z has; z > 0.

    Exact for 1 and 2 degrees of freedom, else the expansion 26.7.5 of M. Abramowitz and I. A.
    Stegun, Handbook of Mathematical Functions (1964): within 0.2 % at the two-sided 95 %.
    """
    if dof < 1:
        raise ValueError(f"{dof} degrees of freedom; give 1 or more")
    below = NormalDist().cdf(z)
    if dof == 1:
        return math.tan(math.pi * (below - 0.5))
    if dof == 2:
        return (2 * below - 1) * math.sqrt(1 / (2 * below * (1 - below)))
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / dof ** (power + 1) for power, term in enumerate(terms))
