"""Format, shaping and the weighted reward against their published formulas."""

import math
import random

import pytest

from onevision_jax.errors import InputError
from onevision_jax.rewards import (
    Grade,
    RewardConfig,
    format_reward,
    repetition_penalty,
    reward,
    soft_overlong_punishment,
    weigh,
)

GOOD = "<think>I count five.\nYes.</think>\n<answer>5</answer>"

MALFORMED = [
    "",
    "5",
    "<answer>5</answer>",
    "<think>a</think>5",
    "<think>a</think>",
    "<answer>5</answer><think>a</think>",
    "<think>a</think><answer>5</answer> done",
    "So: <think>a</think><answer>5</answer>",
    "<think>a</think> so <answer>5</answer>",
    "<think>a</think><think>b</think><answer>5</answer>",
    "<think>a</think><answer>5</answer><answer>5</answer>",
    "<think><think>a</think></think><answer>5</answer>",
    "<think>a<answer>5</think></answer>",
    "<think>a</think><answer>5</answer",
    "<think></think><answer>5</answer>",
    "<think>a</think><answer> </answer>",
    "<Think>a</Think><answer>5</answer>",
    "</think><think>a<answer>5</answer>",
]


@pytest.mark.parametrize("response", [GOOD, f"\n {GOOD} \n", GOOD.replace("\n", "")])
def test_format_is_rewarded(response):
    assert format_reward(response) == 1.0


@pytest.mark.parametrize("response", MALFORMED)
def test_any_other_shape_is_not(response):
    assert format_reward(response) == 0.0


def test_soft_overlong_follows_dapo():
    """0 up to L - c, then ((L - c) - y) / c, then -1, with L = 20480 and c = 4096 as published."""
    values = {
        0: 0.0,
        16384: 0.0,
        16385: -1 / 4096,
        18432: -0.5,
        20480: -1.0,
        20481: -1.0,
        10**6: -1,
    }
    for length, expected in values.items():
        assert soft_overlong_punishment(length, 20480, 4096) == pytest.approx(expected)


@pytest.mark.parametrize("cache", [0, -1, 101])
def test_overlong_bounds_are_checked(cache):
    with pytest.raises(InputError, match="cache_tokens"):
        soft_overlong_punishment(5, 100, cache)


def test_repetition_penalty_by_counting():
    assert repetition_penalty(["a", "b", "c", "d"], 3) == 0.0
    assert repetition_penalty(["a", "b"], 3) == 0.0
    assert repetition_penalty([], 3) == 0.0
    assert repetition_penalty(["a", "a", "a", "a", "a"], 3) == pytest.approx(-(1 - 1 / 3))
    rng = random.Random(0)
    for _ in range(50):
        tokens = [rng.randrange(4) for _ in range(rng.randint(3, 40))]
        grams = [tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)]
        expected = -0.5 * (1 - len(set(grams)) / len(grams))
        assert repetition_penalty(tokens, 3, -0.5) == pytest.approx(expected)


@pytest.mark.parametrize(("size", "penalty"), [(0, -1.0), (3, 0.5)])
def test_repetition_settings_are_checked(size, penalty):
    with pytest.raises(InputError):
        repetition_penalty([1, 2, 3], size, penalty)


def test_the_weighted_sum():
    right = reward(GOOD, "5", answer_kind="number")
    assert (right.accuracy, right.format, right.total, right.masked) == (1.0, 1.0, 1.0, False)
    wrong = reward(GOOD, "6", answer_kind="number")
    assert wrong.total == pytest.approx(0.1)
    bare = reward("5", "5", answer_kind="number")
    assert bare.total == pytest.approx(0.9)


def test_shaping_counts_token_ids():
    config = RewardConfig(
        accuracy_weight=1.0,
        format_weight=1.0,
        overlong_weight=0.5,
        repetition_weight=0.25,
        max_response_tokens=10,
        overlong_cache_tokens=4,
    )
    part = reward(GOOD, "5", answer_kind="number", tokens=[7] * 8, config=config)
    assert part.overlong == pytest.approx(-0.5)
    assert part.repetition == pytest.approx(-(1 - 1 / 6))
    assert part.total == pytest.approx(2 - 0.25 - 0.25 * (5 / 6))
    with pytest.raises(InputError, match="pass tokens"):
        reward(GOOD, "5", answer_kind="number", config=config)


def test_a_failed_grader_masks_the_sample():
    broken = reward(GOOD, " ", answer_kind="number")
    assert broken.grade.verdict == "grader_failed"
    assert broken.masked
    lost = weigh(GOOD, Grade("grader_failed", None, "killed"), config=RewardConfig())
    assert (lost.masked, lost.total) == (True, 0.0)


def test_truncated_samples_are_masked_on_request():
    cut = "<think>and so on"
    kept = reward(cut, "5", answer_kind="number", finish_reason="length")
    assert (kept.masked, kept.total) == (False, 0.0)
    config = RewardConfig(mask_truncated=True)
    assert reward(cut, "5", answer_kind="number", finish_reason="length", config=config).masked


@pytest.mark.parametrize("weight", [-0.1, math.inf, math.nan])
def test_weights_are_checked(weight):
    with pytest.raises(InputError, match="format_weight"):
        RewardConfig(format_weight=weight)
