"""How sure a difference is: two lists of right and wrong over the same items.

Sign: first minus second, so a positive difference says that the first is better.

The counts of the 2 x 2 table, as R. G. Newcombe names them:

                second right   second wrong
    first right      e              f
    first wrong      g              h
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

from onevision_jax.evaluation.statistics import Z95, wilson


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """A difference of two accuracies over the same items; shares, not points: 0.03 = 3 points."""

    n: int  # items
    first_only: int  # items that only the first got right
    second_only: int  # items that only the second got right
    difference: float  # mean(first) - mean(second) = (first_only - second_only) / n
    low: float  # of the interval at the asked level
    high: float
    p_value: float  # McNemar, exact, two-sided: of "both are right equally often"


def paired_interval(
    first: Sequence[bool], second: Sequence[bool], z: float = Z95
) -> PairedDifference:
    """The difference mean(first) - mean(second) with a score interval and an exact p-value.

    Source: R. G. Newcombe, Improved confidence intervals for the difference between binomial
    proportions based on paired data, Statistics in Medicine 17 (1998) 2635-2650, method 10: the
    Wilson intervals of both shares, squared and added, less their continuity-corrected correlation.
    Exact coverage at n = 100, over eight tables: 94.8 to 97.2 %, the higher the more the two agree.
    Interval and p-value are two methods: near the border one may resolve what the other does not.

    first, second: True where the item was right, in the same order of items.
    z: normal quantile of the level, default two-sided 95 %.

    Raises ValueError for lists of different lengths, empty ones, and values that are no booleans.
    """
    n = len(first)
    if n != len(second) or n == 0:
        raise ValueError(
            f"{n} first and {len(second)} second verdicts; give as many of each, one or more"
        )
    for value in (*first, *second):
        if value not in (True, False):
            raise ValueError(f"a verdict is {value!r}; give True or False")
    pairs = Counter((bool(a), bool(b)) for a, b in zip(first, second, strict=True))
    e, f, g, h = (pairs[a, b] for a in (True, False) for b in (True, False))
    low, high = _method_10(e, f, g, h, z)
    return PairedDifference(
        n=n,
        first_only=f,
        second_only=g,
        difference=(f - g) / n,
        low=low,
        high=high,
        p_value=mcnemar(f, g),
    )


def _method_10(e: int, f: int, g: int, h: int, z: float) -> tuple[float, float]:
    """Newcombe's limits; they cannot leave [-1, 1], because phi cannot."""
    n = e + f + g + h
    share_1, share_2 = (e + f) / n, (e + g) / n
    low_1, high_1 = wilson(e + f, n, z)
    low_2, high_2 = wilson(e + g, n, z)
    phi = _phi(e, f, g, h)
    below = _add_squares(share_1 - low_1, high_2 - share_2, phi)
    above = _add_squares(high_1 - share_1, share_2 - low_2, phi)
    return (f - g) / n - below, (f - g) / n + above


def _add_squares(a: float, b: float, phi: float) -> float:
    """sqrt(a^2 - 2 phi a b + b^2); the radicand is positive but for rounding."""
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))


def _phi(e: int, f: int, g: int, h: int) -> float:
    """Correlation of the two, moved towards 0 by n/2 where positive; 0 if a marginal is 0."""
    product = (e + f) * (g + h) * (e + g) * (f + h)
    if product == 0:
        return 0.0
    numerator = e * h - f * g
    if numerator > 0:
        numerator = max(numerator - (e + f + g + h) / 2, 0)
    return numerator / math.sqrt(product)


def mcnemar(first_only: int, second_only: int) -> float:
    """McNemar's exact two-sided p-value; 1.0 when the two never differ.

    Twice the smaller tail of Binomial(first_only + second_only, 1/2), at most 1, summed in integers
    so that thousands of items do not overflow.

    Source: Q. McNemar, Psychometrika 12 (1947) 153-157; the exact form as in M. W. Fagerland,
    S. Lydersen, P. Laake, BMC Medical Research Methodology 13:91 (2013), equation for the exact
    conditional test. Raises ValueError for a negative count.
    """
    if min(first_only, second_only) < 0:
        raise ValueError(f"counts are {first_only} and {second_only}; give 0 or more")
    differing = first_only + second_only
    term, tail = 1, 0  # term = differing choose k
    for k in range(min(first_only, second_only) + 1):
        tail += term
        term = term * (differing - k) // (k + 1)
    return min(1.0, 2 * tail / 2**differing)


def describe_change(change: PairedDifference) -> str:
    """`+3.2 points [+0.8, +5.6]`, in percentage points.

    An interval that holds 0 ends the text with `, no resolved change`.
    """
    difference, low, high = (
        f"{round(100 * share, 1) + 0.0:+.1f}"  # + 0.0 turns -0.0 into 0.0
        for share in (change.difference, change.low, change.high)
    )
    resolved = "" if change.low > 0 or change.high < 0 else ", no resolved change"
    return f"{difference} points [{low}, {high}]{resolved}"
