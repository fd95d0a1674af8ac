"""What the backward kernels on Hopper read of the ranges, against the dense mask."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_kernels.attention.gpu_backward_plan import (
    BLOCK,
    FULL,
    MASKED,
    PAIR,
    SKIPPED,
    backward_plan,
)
from onevision_kernels.attention.ranges import segment_ranges
from onevision_kernels.attention.schedule import BlockSchedule, block_schedule


def two_ranges(B, T, S, seed):
    """Random disjoint pairs of ranges, short enough to leave blocks out; some empty or swapped."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, S + 1, (B, T, 4)), axis=-1)
    cuts[:, :, 1] = np.minimum(cuts[:, :, 1], cuts[:, :, 0] + 40)
    cuts[:, :, 3] = np.minimum(cuts[:, :, 3], cuts[:, :, 2] + 40)
    cuts[:, ::5, :2] = 0
    cuts[:, ::7] = 0
    cuts[:, 1::2] = cuts[:, 1::2][..., [2, 3, 0, 1]]
    return cuts.astype(np.int32)


def packed(lengths):
    ids = np.repeat(np.arange(len(lengths)) + 1, lengths)[None]
    return np.asarray(jax.jit(segment_ranges)(ids))


@functools.partial(jax.jit, static_argnames=("num_keys", "causal"))
def plan_of(ranges, num_keys, causal):
    schedule = block_schedule(ranges, num_keys, causal=causal, query_block=BLOCK, key_block=BLOCK)
    return backward_plan(ranges, schedule, num_keys, causal=causal)


def mask_of(ranges, num_keys, causal):
    """bool [B, T, S] of the ranges, padded to whole pairs of blocks."""
    T, key = ranges.shape[1], np.arange(num_keys)
    a0, a1, b0, b1 = (np.asarray(ranges)[:, :, x, None] for x in range(4))
    seen = ((key >= a0) & (key < a1)) | ((key >= b0) & (key < b1))
    if causal:
        seen &= key <= np.arange(T)[:, None]
    return np.pad(seen, [(0, 0), (0, -T % PAIR), (0, -num_keys % PAIR)])


CASES = {
    "two ranges": (two_ranges(2, 300, 420, 0), 420, False),
    "two ranges, causal": (two_ranges(2, 400, 400, 1), 400, True),
    "packed, causal": (packed([1, 63, 64, 65, 200]), 393, True),
    "windows": (packed([64, 4, 28, 64, 64, 16, 64]), 304, False),
    "nothing": (np.zeros((1, 130, 4), np.int32), 130, False),
}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    """The plan and the dense mask [B, T, S] it stands for, padded."""
    return plan_of(*CASES[request.param]), mask_of(*CASES[request.param])


def test_bounds_are_the_mask(case):
    plan, seen = case
    lo, hi, gap_lo, gap_hi = (np.asarray(plan.bounds)[:, x, :, None] for x in range(4))
    key = np.arange(seen.shape[2])
    assert ((((key >= lo) & (key < hi)) & ~((key >= gap_lo) & (key < gap_hi))) == seen).all()
    assert (np.asarray(plan.asks) == seen.any(axis=2)).all()
    assert (np.asarray(plan.asked) == seen.any(axis=1)).all()


def blocks_of(seen):
    B, T, S = seen.shape
    return seen.reshape(B, T // BLOCK, BLOCK, S // BLOCK, BLOCK)


def test_state_skips_and_trusts_only_what_it_may(case):
    plan, seen = case
    blocks, state = blocks_of(seen), np.asarray(plan.state)[:, :-1, :-1]
    assert set(np.unique(state)) <= {SKIPPED, MASKED, FULL}
    assert not blocks.any(axis=(2, 4))[state == SKIPPED].any()
    assert blocks.all(axis=(2, 4))[state == FULL].all()
    gaps = 1 - np.asarray(plan.asks).reshape(*state.shape[:2], BLOCK).min(axis=2)
    assert (np.asarray(plan.query_gaps) == gaps).all()


def test_spans_of_pairs_hold_every_visit_once(case):
    plan, _ = case
    visited = np.asarray(plan.state)[:, :-1, :-1] != SKIPPED
    B, I, J = visited.shape  # noqa: E741
    pairs = visited.reshape(B, I // 2, 2, J).any(axis=2)
    spans = np.asarray(plan.key_spans)[..., None, :]
    j = np.arange(J)[None, None, :]
    once, twice = ((j >= spans[..., x]) & (j < spans[..., x + 1]) for x in (0, 2))
    assert (once | twice)[pairs].all()
    assert not (once & twice).any()
    pairs = visited.reshape(B, I, J // 2, 2).any(axis=3).transpose(0, 2, 1)
    spans = np.asarray(plan.query_spans)[..., None, :]
    i = np.arange(I)[None, None, :]
    inside = (i >= spans[..., 0]) & (i < spans[..., 1])
    assert inside[pairs].all()


def test_most_work_comes_first(case):
    plan, _ = case
    visits = (np.asarray(plan.state)[:, :-1, :-1] != SKIPPED).astype(int)
    for order, work in (
        (plan.query_order, visits.sum(axis=2)),
        (plan.key_order, visits.sum(axis=1)),
    ):
        pairs = work.reshape(-1, 2).sum(axis=1)
        assert sorted(np.asarray(order)) == list(range(len(pairs)))
        assert (np.diff(pairs[np.asarray(order)]) <= 0).all()


def test_a_shared_prompt_skips_the_other_answers():
    """[prompt 256 | 4 answers of 128], an answer in the last pair visits the prompt and itself."""
    prompt, answer = 256, 128
    starts = np.repeat(prompt + answer * np.arange(4), answer)
    rows = np.zeros((1, prompt + 4 * answer, 4), np.int32)
    rows[0, :, 1] = prompt
    rows[0, prompt:, 2], rows[0, prompt:, 3] = starts, starts + answer
    plan = plan_of(rows, 768, True)
    assert plan.key_spans[0, -1].tolist() == [0, 4, 10, 12]
    assert plan.query_spans[0, 0].tolist() == [0, 12]
    assert plan.query_spans[0, 3].tolist() == [6, 8]


def test_a_schedule_for_other_blocks_is_refused():
    ranges, S, causal = CASES["windows"]
    wrong = BlockSchedule(*(jnp.zeros((1, x, y), jnp.int32) for x, y in ((3, 4), (3, 4), (5, 2))))
    with pytest.raises(ValueError, match=r"has \(3, 5\) query and key blocks for 304 queries"):
        backward_plan(jnp.asarray(ranges), wrong, S, causal=causal)
