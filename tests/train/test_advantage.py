"""Advantages against TRL's formula, written out completion by completion."""

import statistics

import numpy as np
import pytest

from onevision_jax.train.advantage import EPS, group_advantages

SCALES = ("group", "batch", "none")


def direct(rewards, counted, scale):
    """(r - mean) / (std + 1e-4), the standard deviation with n - 1, over the counted alone."""
    wanted = np.zeros(rewards.shape)
    everyone = [float(r) for r, c in zip(rewards.flat, counted.flat, strict=True) if c]
    for p, (row, mask) in enumerate(zip(rewards, counted, strict=True)):
        group = [float(r) for r, c in zip(row, mask, strict=True) if c]
        if len(group) < 2:
            continue
        spread = {
            "group": statistics.stdev(group) + 1e-4,
            "batch": statistics.stdev(everyone) + 1e-4,
            "none": 1.0,
        }[scale]
        for g, (r, c) in enumerate(zip(row, mask, strict=True)):
            if c:
                wanted[p, g] = (float(r) - statistics.fmean(group)) / spread
    return wanted


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kept", [1.0, 0.6], ids=["all", "some"])
def test_advantages_follow_the_formula(scale, kept):
    rng = np.random.default_rng(0)
    for _ in range(20):
        rewards = rng.choice([0.0, 0.1, 0.9, 1.0], (5, 6)) + rng.normal(0, 0.01, (5, 6))
        counted = rng.random((5, 6)) < kept
        got = group_advantages(rewards, counted, scale)
        assert (got.dtype, got.shape) == (np.float32, (5, 6))
        np.testing.assert_allclose(got, direct(rewards, counted, scale), rtol=1e-6, atol=1e-6)


def test_known_numbers():
    """One right of four: mean 1/4, standard deviation 1/2."""
    rewards = np.array([[1.0, 0.0, 0.0, 0.0]])
    got = group_advantages(rewards, np.ones((1, 4), bool))
    np.testing.assert_allclose(got, [[0.75 / 0.5001, *[-0.25 / 0.5001] * 3]], rtol=1e-6)
    assert EPS == 1e-4


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_masked_changes_nothing(scale):
    rewards = np.array([[1.0, 0.0, 0.5, 7.0], [0.0, -9.0, 1.0, 0.0]])
    counted = np.array([[True, True, True, False], [True, False, True, True]])
    got = group_advantages(rewards, counted, scale)
    assert (got[~counted] == 0).all()
    assert (got[counted] != 0).any()
    for other in (0.0, 1e6, np.nan):
        changed = np.where(counted, rewards, other)
        np.testing.assert_array_equal(group_advantages(changed, counted, scale), got)
    alone = np.concatenate([rewards[0, :3], rewards[1, [0, 2, 3]]]).reshape(2, 3)
    full = group_advantages(alone, np.ones((2, 3), bool), scale)
    np.testing.assert_allclose(got[counted], full.reshape(-1), rtol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_one_counted_completion_has_no_siblings(scale):
    rewards = np.array([[1.0, 0.2, 0.3], [0.0, 1.0, 0.0]])
    counted = np.array([[True, False, False], [True, True, True]])
    got = group_advantages(rewards, counted, scale)
    assert (got[0] == 0).all()
    np.testing.assert_allclose(got, direct(rewards, counted, scale), rtol=1e-6, atol=1e-7)
    assert (group_advantages(rewards, np.zeros((2, 3), bool), scale) == 0).all()
    assert (group_advantages(rewards[:1], counted[:1], scale) == 0).all()  # One in the batch.


@pytest.mark.parametrize("scale", SCALES)
def test_a_group_of_one_mind_has_no_advantages(scale):
    """Exactly 0, so that its samples can be left out; six times 0.1 has a mean that is not 0.1."""
    for size in range(2, 17):
        for value in (0.0, 0.1, 0.3, 0.9, -0.7):
            rewards = np.full((2, size), value)
            rewards[1, 0] += 1
            got = group_advantages(rewards, np.ones((2, size), bool), scale)
            assert (got[0] == 0).all(), (size, value)
            assert (got[1] != 0).all()


@pytest.mark.parametrize(
    ("rewards", "counted"), [((4,), (4,)), ((2, 4), (4, 2)), ((2, 4), (2,)), ((1, 2, 4), (1, 2, 4))]
)
def test_other_shapes_are_refused(rewards, counted):
    with pytest.raises(ValueError, match=r"both must be \[P, G\]") as caught:
        group_advantages(np.zeros(rewards), np.ones(counted, bool))
    assert f"{rewards} and counted {counted}" in str(caught.value)
