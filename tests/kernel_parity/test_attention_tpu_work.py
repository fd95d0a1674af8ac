"""The work lists of the TPU kernels against the dense mask."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from onevision_kernels.attention import tpu_work as work
from onevision_kernels.attention.ranges import segment_ranges, visible

QB, KB = 16, 8


def random_ranges(B, T, S, seed):
    cuts = np.sort(np.random.default_rng(seed).integers(0, S + 1, (B, T, 4)), axis=-1)
    cuts[:, ::3, 2:] = 0
    cuts[:, 32:48] = 0
    return cuts.astype(np.int32)


PACKED = np.asarray(segment_ranges(jnp.asarray(np.repeat([[1, 2, 3, 0], [1, 1, 0, 0]], 24, 1))))
WHOLE = np.zeros((1, 64, 4), np.int32) + np.asarray([0, 40, 40, 64], np.int32)
CASES = {
    "random": (random_ranges(2, 75, 50, 0), 50, False),
    "random causal": (random_ranges(2, 61, 61, 1), 61, True),
    "packed": (PACKED, 96, True),
    "whole": (WHOLE, 64, False),
}


def unpack(found: work.WorkList, row: int) -> list[tuple[int, int, int, int, int, int]]:
    """(query block, key block, range, kind, first, last) of the real entries."""
    entries = found.entries[row, : int(found.num_entries[row])]
    parts = (
        work.query_block(entries),
        work.key_block(entries),
        work.range_index(entries),
        entries & work.KIND,
        (entries & work.FIRST) != 0,
        (entries & work.LAST) != 0,
    )
    return list(zip(*(part.tolist() for part in parts), strict=True))


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_lists_hold_every_pair_that_meets_once(name, drain):
    ranges, S, causal = CASES[name]
    B, T = ranges.shape[:2]
    I, J = -(-T // QB), -(-S // KB)  # noqa: E741
    found = work.work_list(jnp.asarray(ranges), S, causal=causal, sizes=(QB, KB), drain=drain)
    for b in range(B):
        listed = unpack(found, b)
        if drain:
            assert [(j, kind) for _, j, _, kind, *_ in listed[-J:]] == [
                (j, work.DRAIN) for j in range(J)
            ]
            listed = listed[:-J]
        assert len({entry[:3] for entry in listed}) == len(listed)
        assert [entry[:3] for entry in listed] == sorted(entry[:3] for entry in listed)
        assert {i for i, *_ in listed} == set(range(I)), "each query block is written"
        kinds = {entry[:3]: entry[3] for entry in listed}
        for r in range(2):
            one = np.where(np.asarray([r == 0, r == 0, r == 1, r == 1]), ranges, 0)[b : b + 1]
            seen = visible(jnp.asarray(one), jnp.arange(T), jnp.arange(S), causal)
            blocks = np.pad(np.asarray(seen)[0], [(0, I * QB - T), (0, J * KB - S)])
            blocks = blocks.reshape(I, QB, J, KB)
            some: Any = blocks.any(axis=(1, 3))
            every: Any = blocks.all(axis=(1, 3))
            for i in range(I):
                for j in range(J):
                    kind = kinds.get((i, j, r), 0)
                    assert kind != 0 or not some[i, j]
                    assert kind != work.FULL or every[i, j]
        for n, (i, *_, first, last) in enumerate(listed):
            assert first == (n == 0 or listed[n - 1][0] != i)
            assert last == (n + 1 == len(listed) or listed[n + 1][0] != i)


def test_segments_leave_out_what_they_do_not_see():
    ranges, S, causal = CASES["packed"]
    found = work.work_list(jnp.asarray(ranges), S, causal=causal, sizes=(QB, KB), drain=False)
    assert found.num_entries.tolist() == [15, 15]
    beyond = np.asarray(found.entries)[:, 15:]
    assert not (beyond & (work.KIND | work.FIRST | work.LAST)).any()
    assert (beyond >> work.KEY_SHIFT == np.asarray(found.entries)[:, 14:15] >> work.KEY_SHIFT).all()


def test_bounds_and_asked_keys():
    ranges = jnp.asarray([[[0, 2, 4, 9], [5, 5, 3, 4], [9, 3, 0, 0]]], jnp.int32)
    bounds = work.bounds_of(ranges, 6, causal=False, length=8)
    assert bounds.shape == (1, 8, 8)
    assert np.asarray(bounds)[0, :5, :4].T.tolist() == [
        [0, 2, 4, 6, 1],
        [0, 0, 3, 4, 1],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    asked = work.asked_of(bounds, 8)
    assert np.asarray(asked)[0, 0].tolist() == [1, 1, 0, 1, 1, 1, 0, 0]
