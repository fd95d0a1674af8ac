"""Intervals of clustered rows: closed forms, Student's table, coverage."""

import numpy as np
import pytest

from onevision_jax.evaluation import clustered_wilson, wilson
from onevision_jax.evaluation.statistics import Z95, student

# The two-sided 95 % column of every printed table of Student's t.
PRINTED = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}


@pytest.mark.parametrize(("dof", "expected"), PRINTED.items())
def test_student_is_the_printed_one(dof, expected):
    assert student(Z95, dof) == pytest.approx(expected, rel=2e-3)


def test_student_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    for dof in (1, 2, 3, 7, 50, 5000):
        for z in (1.0, 1.6449, Z95, 2.5758):
            expected = stats.t.ppf(stats.norm.cdf(z), dof)
            assert student(z, dof) == pytest.approx(expected, rel=3e-2 if dof == 3 else 1e-3)
    with pytest.raises(ValueError, match="0 degrees"):
        student(Z95, 0)


@pytest.mark.parametrize(("correct", "n"), [(0, 9), (9, 9), (3, 9), (700, 1000), (1, 1)])
def test_clusters_of_one_row_give_wilson(correct, n):
    found = clustered_wilson([1] * correct + [0] * (n - correct), [1] * n)
    assert found == wilson(correct, n)


@pytest.mark.parametrize(("right", "clusters", "size"), [(12, 30, 4), (2, 5, 100)])
def test_rows_that_copy_each_other_count_once(right, clusters, size):
    """All rows of a cluster alike: the design effect is (n - 1) / (C - 1), by algebra."""
    n = clusters * size
    quantiles = student(Z95, n - 1) / student(Z95, clusters - 1)
    effective = n * (clusters - 1) / (n - 1) * quantiles**2
    found = clustered_wilson([size] * right + [0] * (clusters - right), [size] * clusters)
    assert found == pytest.approx(wilson(right / clusters * effective, effective))
    once = wilson(right, clusters)
    assert found[0] <= once[0] < once[1] <= found[1]


def test_the_design_effect_of_unequal_clusters_by_hand():
    """Counts (3, 0, 1) of (4, 1, 2): share 4/7, residuals (5/7, -4/7, -1/7), squares 42/49."""
    variance = 3 / 2 * (42 / 49) / 49
    effect = variance / ((4 / 7) * (3 / 7) / 6)
    assert effect < 1  # and counts as 1
    effective = 7 * (student(Z95, 6) / student(Z95, 2)) ** 2
    expected = wilson(4 / 7 * effective, effective)
    assert clustered_wilson([3, 0, 1], [4, 1, 2]) == pytest.approx(expected)


def test_ends_and_single_clusters_stay_humble():
    assert clustered_wilson([0, 0, 0], [50, 50, 50]) == wilson(0, 3)
    assert clustered_wilson([50, 50, 50], [50, 50, 50]) == wilson(3, 3)
    assert clustered_wilson([7], [10]) == (0, 1)
    assert clustered_wilson([10], [10]) == wilson(1, 1)
    for correct, sizes, words in (([1], [1, 1], "1 counts for 2"), ([2], [1], "more right")):
        with pytest.raises(ValueError, match=words):
            clustered_wilson(correct, sizes)


@pytest.mark.parametrize(
    ("share", "correlation", "clusters", "size"),
    [(0.5, 0.3, 40, 5), (0.85, 0.5, 60, 4), (0.7, 1.0, 25, 8), (0.6, 0.0, 40, 5)],
)
def test_ninety_five_in_a_hundred_intervals_hold_the_truth(share, correlation, clusters, size):
    """Beta-binomial clusters, 3000 draws. Wilson's interval on the rows holds 62 to 95 %."""
    rng = np.random.default_rng(0)
    if correlation == 1:
        chances = rng.random((3000, clusters)) < share
    elif correlation == 0:
        chances = np.full((3000, clusters), share)
    else:
        spread = 1 / correlation - 1
        chances = rng.beta(share * spread, (1 - share) * spread, (3000, clusters))
    draws = rng.binomial(size, chances)
    sizes = [size] * clusters
    held = naive = 0
    for counts in draws.tolist():
        low, high = clustered_wilson(counts, sizes)
        held += low <= share <= high
        low, high = wilson(sum(counts), size * clusters)
        naive += low <= share <= high
    assert 0.94 <= held / 3000 <= 0.98
    assert correlation == 0 or naive / 3000 < 0.91
