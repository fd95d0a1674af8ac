"""Window order of one image: which merged units attend together, and in what order they lie.

Letters: h, w patch grid; M merged units (merge_size x merge_size patches); P patches.

The vision tower keeps its patches in this order from the first to the last layer. Windows are
`window_size` pixels square, cut from the upper left corner; those at the right and lower edges are
just smaller. Example, a 3 x 5 grid of units with windows of 2 x 2 units:

     0  1 |  2  3 |  4
     5  6 |  7  8 |  9        order      [0 1 5 6 | 2 3 7 8 | 4 9 | 10 11 | 12 13 | 14]
    --------------------      window_ids [0 0 0 0   1 1 1 1   2 2    3  3    4  4    5]
    10 11 | 12 13 | 14
"""

import dataclasses
import functools

import numpy as np

from onevision_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class WindowOrder:
    """The window order of one image."""

    order: np.ndarray
    """int32 [M]: place in window order -> row-major unit."""
    window_ids: np.ndarray
    """int32 [M]: window of each place, contiguous runs counted from 0."""
    patch_positions: np.ndarray
    """int32 [P, 2]: (row, column) in the patch grid of each patch, in window order."""

    @functools.cached_property
    def rank(self) -> np.ndarray:
        """int32 [M]: row-major unit -> place in window order (the inverse of `order`)."""
        rank = np.empty_like(self.order)
        rank[self.order] = np.arange(len(self.order), dtype=rank.dtype)
        rank.flags.writeable = False
        return rank


@functools.lru_cache(maxsize=512)  # Grids repeat; at 1,280 units 512 of them take 20 MB.
def window_order(
    h: int, w: int, *, patch_size: int, merge_size: int, window_size: int
) -> WindowOrder:
    """The window order of an image of h x w patches; sizes in pixels, merge_size in patches.

    Its arrays are shared by all images of this size, and read-only.
    """
    side = units_per_window(patch_size, merge_size, window_size)
    assert min(h, w) > 0, (h, w)
    assert h % merge_size == w % merge_size == 0, (h, w, merge_size)
    rows, columns = h // merge_size, w // merge_size
    windows_across = -(-columns // side)
    row, column = np.divmod(np.arange(rows * columns, dtype=np.int32), columns)
    window = row // side * windows_across + column // side
    order = np.argsort(window, kind="stable").astype(np.int32)

    inside = np.arange(merge_size, dtype=np.int32)
    patch_row = row[order, None, None] * merge_size + inside[:, None]
    patch_column = column[order, None, None] * merge_size + inside
    positions = np.stack(np.broadcast_arrays(patch_row, patch_column), axis=-1)
    found = WindowOrder(order, window[order], positions.reshape(h * w, 2))
    for array in (found.order, found.window_ids, found.patch_positions):
        array.flags.writeable = False
    return found


def units_per_window(patch_size: int, merge_size: int, window_size: int) -> int:
    """Merged units along one side of a window: 112 px / (2 patches of 14 px) = 4."""
    side = window_size // (patch_size * merge_size)
    if side < 1:
        raise InputError(
            f"window_size {window_size} is smaller than one merged unit of "
            f"{patch_size * merge_size} pixels; check vision_config in config.json"
        )
    return side
