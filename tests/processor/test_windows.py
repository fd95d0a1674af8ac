"""Window order: the two worked examples of the specification, and invariants on odd grids."""

import time

import numpy as np
import pytest

from onevision_jax.errors import InputError
from onevision_jax.processor import window_order

SIZES = {"patch_size": 14, "merge_size": 2, "window_size": 112}


def test_cut_edge_windows_of_5_by_7_units():
    windows = window_order(10, 14, **SIZES)
    expected = [0, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 17, 21, 22, 23, 24]
    expected += [4, 5, 6, 11, 12, 13, 18, 19, 20, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34]
    assert windows.order.tolist() == expected
    assert (np.bincount(windows.window_ids) * 4).cumsum().tolist() == [64, 112, 128, 140]


def test_480_by_640_image():
    windows = window_order(34, 46, **SIZES)
    assert windows.order[:20].tolist() == [
        *[0, 1, 2, 3, 23, 24, 25, 26, 46, 47, 48, 49, 69, 70, 71, 72],
        *[4, 5, 6, 7],
    ]
    assert int((np.arange(391) * windows.order.astype(np.int64)).sum()) == 19693995
    counts = np.bincount(windows.window_ids) * 4
    assert counts.tolist() == [64, 64, 64, 64, 64, 48] * 4 + [16, 16, 16, 16, 16, 12]


def test_exactly_divisible_grid_has_no_empty_window():
    windows = window_order(8, 16, **SIZES)
    assert np.bincount(windows.window_ids).tolist() == [16, 16]


@pytest.mark.parametrize("grid", [(2, 2), (2, 60), (60, 2), (18, 26), (8, 8)])
def test_invariants(grid):
    h, w = grid
    windows = window_order(h, w, **SIZES)
    assert sorted(windows.order) == list(range(h * w // 4))
    np.testing.assert_array_equal(windows.rank[windows.order], np.arange(h * w // 4))
    assert np.all(np.diff(windows.window_ids) >= 0)
    assert windows.window_ids[0] == 0
    assert np.all(np.diff(windows.window_ids) <= 1)
    # Every patch once; each lies in its own unit and window.
    row, column = windows.patch_positions.T
    assert sorted(row * w + column) == list(range(h * w))
    np.testing.assert_array_equal(row // 2 * (w // 2) + column // 2, np.repeat(windows.order, 4))
    across = -(-w // 8)
    np.testing.assert_array_equal(row // 8 * across + column // 8, np.repeat(windows.window_ids, 4))
    assert windows.patch_positions[:4].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_other_geometry():
    """Patches of 16, units of 3 x 3 patches, windows of 2 x 2 units."""
    windows = window_order(6, 9, patch_size=16, merge_size=3, window_size=100)
    assert windows.order.tolist() == [0, 1, 3, 4, 2, 5]
    assert windows.patch_positions[:5].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]]


def test_largest_image_takes_milliseconds():
    start = time.perf_counter()
    window_order(256, 256, **SIZES)
    assert time.perf_counter() - start < 0.2


def test_window_smaller_than_a_unit():
    with pytest.raises(InputError, match="window_size 20"):
        window_order(4, 4, patch_size=14, merge_size=2, window_size=20)
