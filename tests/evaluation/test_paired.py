"""Paired differences against published intervals, exact p-values, coverage, and wording."""

import dataclasses
import math
import random
from fractions import Fraction

import pytest

from onevision_jax.evaluation import describe_change, mcnemar, paired_interval

# Newcombe 1998, table III, method 10, from a public transcription: (e, f, g, h) -> limits.
TABLE_III = [
    ((36, 12, 2, 0), (0.0569, 0.3404)),
    ((20, 12, 2, 16), (0.0562, 0.3292)),
    ((18, 12, 2, 18), (0.0562, 0.3290)),
    ((36, 14, 0, 0), (0.1528, 0.4167)),  # a marginal is 0
    ((35, 14, 0, 1), (0.1461, 0.4175)),
    ((18, 14, 0, 18), (0.1441, 0.3963)),
    ((2, 97, 1, 0), (0.8721, 0.9854)),
]
# Cavo et al. 2012 as in M. W. Fagerland, S. Lydersen, P. Laake, Statistical Analysis of Contingency
# Tables (2017), chapter 8; from the tests of that book's R package.
BOOK = [((59, 6, 16, 80), (-0.1186, -0.0046))]


def lists(e: int, f: int, g: int, h: int) -> tuple[list[bool], list[bool]]:
    """First and second of a 2 x 2 table."""
    return [True] * (e + f) + [False] * (g + h), [True] * e + [False] * f + [True] * g + [False] * h


@pytest.mark.parametrize(("counts", "limits"), TABLE_III + BOOK)
def test_the_interval_is_the_published_one(counts, limits):
    found = paired_interval(*lists(*counts))
    assert (round(found.low, 4), round(found.high, 4)) == limits
    assert (found.n, found.first_only, found.second_only) == (sum(counts), counts[1], counts[2])
    assert found.difference == pytest.approx((counts[1] - counts[2]) / sum(counts))


@pytest.mark.parametrize("counts", [(36, 12, 2, 0), (59, 6, 16, 80), (5, 0, 0, 5), (0, 1, 0, 0)])
def test_exchanging_the_two_changes_the_sign_and_nothing_else(counts):
    first, second = lists(*counts)
    one, other = paired_interval(first, second), paired_interval(second, first)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == other.p_value


@pytest.mark.parametrize(
    "counts", [(9, 0, 0, 0), (0, 0, 0, 9), (0, 9, 0, 0), (0, 5, 4, 0), (1,) * 4]
)
def test_limits_hold_the_difference_and_stay_within_one(counts):
    found = paired_interval(*lists(*counts))
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert found.low < found.high


def test_a_higher_level_is_wider():
    verdicts = lists(20, 12, 2, 16)
    narrow, wide = paired_interval(*verdicts), paired_interval(*verdicts, z=2.5758)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    "table", [(0.4, 0.1, 0.1, 0.4), (0.5, 0.2, 0.05, 0.25), (0.3, 0.4, 0.1, 0.2)], ids=str
)
def test_ninety_five_in_a_hundred_intervals_hold_the_truth(table):
    """n = 100, 4000 draws; exact coverage of these tables is 95.3, 95.2 and 95.0 %."""
    rng = random.Random(0)
    cells = [(True, True), (True, False), (False, True), (False, False)]
    held = 0
    for _ in range(4000):
        first, second = zip(*rng.choices(cells, table, k=100), strict=True)
        found = paired_interval(first, second)
        held += found.low <= table[1] - table[2] <= found.high
    assert held / 4000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0), 1.0),
        ((5, 5), 1.0),
        ((1, 7), 2 * (1 + 8) / 2**8),
        ((6, 16), 0.0524788),
        ((12, 2), 212 / 2**14),
        ((10, 0), 2 / 2**10),
    ],
)
def test_mcnemar_is_exact(counts, expected):
    assert mcnemar(*counts) == pytest.approx(expected, rel=1e-5)
    assert mcnemar(*reversed(counts)) == mcnemar(*counts)


@pytest.mark.parametrize("counts", [(900, 1000), (4000, 0)])
def test_mcnemar_of_thousands_does_not_overflow(counts):
    total, fewer = sum(counts), min(counts)
    tail = sum(math.comb(total, k) for k in range(fewer + 1))
    assert mcnemar(*counts) == float(min(Fraction(1), Fraction(2 * tail, 2**total)))


def test_bad_verdicts_say_what_was_given():
    with pytest.raises(ValueError, match="3 first and 2 second"):
        paired_interval([True] * 3, [True] * 2)
    with pytest.raises(ValueError, match="0 first and 0 second"):
        paired_interval([], [])
    with pytest.raises(ValueError, match="'wrong'"):
        paired_interval([True], ["wrong"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="-1 and 2"):
        mcnemar(-1, 2)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.032, 0.008, 0.056), "+3.2 points [+0.8, +5.6]"),
        ((-0.032, -0.056, -0.008), "-3.2 points [-5.6, -0.8]"),
        ((0.01, -0.004, 0.024), "+1.0 points [-0.4, +2.4], no resolved change"),
        ((-0.0001, -0.02, 0.0), "+0.0 points [-2.0, +0.0], no resolved change"),
    ],
)
def test_a_change_is_described_in_points(values, text):
    names = ("difference", "low", "high")
    change = paired_interval([True], [True])
    change = dataclasses.replace(change, **dict(zip(names, values, strict=True)))
    assert describe_change(change) == text
