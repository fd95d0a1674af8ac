"""The block schedule against the dense mask, block by block."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from onevision_kernels.attention.ranges import segment_ranges, visible
from onevision_kernels.attention.schedule import block_schedule, visits

QB, KB = 8, 4


def dense_blocks(ranges, S, causal) -> tuple[Any, Any]:
    """(some, all) over the queries and keys of each pair of blocks, bool [B, I, J]."""
    B, T = ranges.shape[:2]
    seen: Any = np.asarray(visible(jnp.asarray(ranges), jnp.arange(T), jnp.arange(S), causal))
    seen = np.pad(seen, [(0, 0), (0, -T % QB), (0, -S % KB)])
    blocks = seen.reshape(B, -1, QB, seen.shape[2] // KB, KB)
    return blocks.any(axis=(2, 4)), blocks.all(axis=(2, 4))


def inside(spans, num_blocks):
    j = np.arange(num_blocks)
    return ((j >= spans[..., 0, None]) & (j < spans[..., 1, None])) | (
        (j >= spans[..., 2, None]) & (j < spans[..., 3, None])
    )


def shared_prompt(T, prompt, answers):
    """One group: the answers see the prompt and themselves."""
    ranges = np.zeros((1, T, 4), np.int32)
    ranges[0, :prompt] = (0, prompt, 0, 0)
    start = prompt
    for length in answers:
        ranges[0, start : start + length] = (0, prompt, start, start + length)
        start += length
    return ranges


def random_ranges(B, T, S, seed):
    cuts = np.sort(np.random.default_rng(seed).integers(0, S + 1, (B, T, 4)), axis=-1)
    cuts[:, ::3, 2:] = 0
    cuts[:, ::5, :2] = 0
    cuts[:, ::7] = 0
    return cuts.astype(np.int32)


CASES = {
    "random": (random_ranges(2, 37, 50, 0), 50, False),
    "random causal": (random_ranges(2, 45, 45, 1), 45, True),
    "segments": (
        np.asarray(segment_ranges(jnp.asarray(np.repeat([[1, 2, 3, 0]], 13, 1)))),
        52,
        True,
    ),
    "prompt": (shared_prompt(64, 24, [9, 16, 8]), 64, True),
    "nothing": (np.zeros((1, 16, 4), np.int32), 16, False),
}


@pytest.mark.parametrize("case", CASES)
def test_schedule_holds_every_block_and_no_false_full_one(case):
    ranges, S, causal = CASES[case]
    found = block_schedule(jnp.asarray(ranges), S, causal=causal, query_block=QB, key_block=KB)
    key_spans: Any = np.asarray(found.key_spans)
    full_spans: Any = np.asarray(found.full_spans)
    query_spans: Any = np.asarray(found.query_spans)
    some, whole = dense_blocks(ranges, S, causal)
    visited = inside(key_spans, some.shape[2])
    assert (visited | ~some).all(), "a block that is seen is not visited"
    assert (np.asarray(visits(found.key_spans, some.shape[2])) == visited).all()
    full = inside(full_spans, some.shape[2])
    assert not (full & ~whole).any(), "a block called full is not"
    assert not (full & ~visited).any()
    i = np.arange(some.shape[1])[None, :, None]
    reach = (i >= query_spans[:, None, :, 0]) & (i < query_spans[:, None, :, 1])
    assert (reach | ~visited).all()
    # The two spans are in order and apart, and the second is used only with the first.
    assert ((key_spans[..., 3] == 0) | (key_spans[..., 1] < key_spans[..., 2])).all()
    assert ((key_spans[..., 1] > 0) | (key_spans[..., 3] == 0)).all()


def test_packed_segments_visit_little():
    """Ten segments of 64 tokens, causal: 1/10 of the half, plus the diagonal's overhang."""
    ids = jnp.asarray(np.repeat(np.arange(1, 11), 64)[None])
    found = block_schedule(segment_ranges(ids), 640, causal=True, query_block=32, key_block=32)
    assert int(np.asarray(visits(found.key_spans, 20)).sum()) == 10 * 3
    assert int(inside(np.asarray(found.full_spans), 20).sum()) == 10


def test_answers_visit_the_prompt_and_themselves_alone():
    ranges = jnp.asarray(shared_prompt(64, 24, [16, 16, 8]))
    found = block_schedule(ranges, 64, causal=True, query_block=8, key_block=8)
    assert np.asarray(found.key_spans)[0, 5].tolist() == [0, 3, 5, 6]
    assert np.asarray(found.key_spans)[0, 6].tolist() == [0, 3, 5, 7]
    assert np.asarray(found.full_spans)[0, 6].tolist() == [0, 3, 5, 6]
    assert np.asarray(found.query_spans)[0, 0].tolist() == [0, 8]
    assert np.asarray(found.query_spans)[0, 5].tolist() == [5, 7]
