"""Relaxed accuracy from its definition: five percent of the gold, percent signs, text, zero."""

import random
from fractions import Fraction

import pytest

from onevision_jax.rewards.official.chartqa import extract, grade, relaxed_correctness


@pytest.mark.parametrize(
    ("gold", "prediction", "right"),
    [
        ("100", "105", True),
        ("100", "95", True),
        ("100", "105.1", False),
        ("100", "94.9", False),
        ("-100", "-105", True),
        ("-100", "100", False),
        ("0.57", "0.55", True),
        ("14", "14.0", True),
        ("1e2", "104", True),
        ("50%", "0.5", True),  # A percent sign divides by 100 on either side,
        ("50%", "50", False),  # so that the same percentage without it is wrong.
        ("50", "50%", False),
        ("50%", "52%", True),
        ("0", "0", True),  # A gold of 0 is compared as text.
        ("0", "0.0", False),
        ("0", "0.001", False),
        ("0%", "0", False),
        ("12", "0", False),
        ("Yes", "yes", True),
        ("West", "WEST", True),
        ("West", "Westen", False),
        ("2,000", "2000", False),
        ("2000", "2,000", False),
        ("12", "twelve", False),
        ("Campaign D", "campaign d", True),
        ("5", "nan", False),
        ("5", "inf", False),
        ("nan", "nan", False),
    ],
)
def test_relaxed_correctness(gold, prediction, right):
    assert relaxed_correctness(gold, prediction) is right


def test_numbers_against_exact_arithmetic():
    """Within 5 % of the gold by fractions, wherever floats cannot tip the scale."""
    rng = random.Random(0)
    right = 0
    for _ in range(5000):
        gold = Fraction(rng.randrange(-10_000, 10_000) or 1, 100)
        given = gold * Fraction(rng.randrange(850, 1150), 1000)
        change = abs(given / gold - 1)
        if change == Fraction(1, 20):
            continue
        expected = change < Fraction(1, 20)
        assert relaxed_correctness(str(float(gold)), repr(float(given))) is expected
        right += expected
    assert 1000 < right < 4000


def test_extraction():
    assert extract(" 42\n") == "42"
    assert extract("<think>41?</think><answer> 42 </answer>") == "42"
    assert extract("It is 42") == "It is 42"
    assert grade("<answer>43</answer>", "42", facts={}).verdict == "correct"
    assert grade("It is 42", "42", facts={}).verdict == "wrong"
    assert grade(" ", "42", facts={}).verdict == "unparsed"
    assert len(grade("9" * 5_000_000, "42", facts={}).extracted or "") == 200
