"""Several examples in one row: which go together, and how their arrays are joined.

Letters: B rows, T tokens, P patches.

Packing is offline within a window of examples. Row after row is filled: of the examples that still
fit, the one is laid that leaves the least room, as the sum of the squared shares of tokens and of
patches (vector bin packing by smallest residual norm: Panigrahy et al., "Heuristics for Vector Bin
Packing", 2011). So neither of the two runs out long before the other. The last row is usually half
empty; it is not emitted, but its examples go first in the next window. Rows are thus nearly full
without an example ever waiting longer than one window. What it fills: docs/performance.md.

A row of two examples, of 5 and 3 tokens, the first with an image of 2 merged units in one window,
the second with one of 1 unit (4 patches a unit), T = 10, P = 16:

    segment_ids   1 1 1 1 1 2 2 2 0 0         image_ids   1 1 1 1 1 1 1 1 2 2 2 2 0 0 0 0
    positions     0 1 1 2 3 0 1 2 0 0         window_ids  1 1 1 1 1 1 1 1 2 2 2 2 0 0 0 0
    vision_index -1 0 1 - - - 2 - - -         (- is -1)
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from onevision_jax.data.encode import TrainingExample
from onevision_jax.errors import InputError
from onevision_jax.processor import bucket

TOKEN_FIELDS = ("tokens", "vision_index", "targets", "loss_weights")
PATCH_FIELDS = ("patches", "patch_positions", "image_ids", "window_ids")
FIELDS = (*TOKEN_FIELDS, "positions", "segment_ids", *PATCH_FIELDS)

Row = dict[str, np.ndarray]
"""The fields of one row without their batch axis, neither tokens nor patches padded."""


@dataclasses.dataclass(frozen=True)
class Packing:
    """The size of a row, and how far to look for examples that fill it."""

    tokens_per_row: int = 2048
    patch_budgets: tuple[int, ...] = (0, 1024, 2048, 3072, 4096)
    """Patches per row that batches may have, ascending: one compiled program for each. A batch
    takes the smallest that holds its fullest row; rows are packed up to the largest."""
    window: int = 64
    """Examples packed at a time, per shard. They are in memory together."""

    def __post_init__(self) -> None:
        budgets = tuple(self.patch_budgets)
        object.__setattr__(self, "patch_budgets", budgets)
        if not budgets or list(budgets) != sorted(set(budgets)) or min(budgets) < 0:
            raise InputError(f"patch_budgets is {budgets}; give ascending numbers, 0 or more")
        if any(budget % 4 for budget in budgets):
            raise InputError(f"patch_budgets is {budgets}; give multiples of 4 (a merged unit)")
        for name in ("tokens_per_row", "window"):
            if getattr(self, name) < 1:
                raise InputError(f"data setting {name} is {getattr(self, name)}; give 1 or more")

    @property
    def patches_per_row(self) -> int:
        """The most patches a row can hold."""
        return self.patch_budgets[-1]

    def arrange(self, sizes: Sequence[tuple[int, int]], num_first: int = 0) -> list[list[int]]:
        """Which examples share a row.

        Args:
            sizes: (tokens, patches) of each example, none above the row's.
            num_first: those at the front that open the first row, in their order, as far as it
                holds them.

        Returns:
            Rows as lists of places in `sizes`, in the order in which they were filled.
        """
        limits = np.array([self.tokens_per_row, self.patches_per_row])
        sizes_N2 = np.array(sizes, np.int64).reshape(len(sizes), 2)
        assert (sizes_N2 <= limits).all(), (sizes_N2.max(axis=0), limits)
        waiting = np.ones(len(sizes), bool)
        rows: list[list[int]] = []
        while waiting.any():
            row: list[int] = []
            free = limits.copy()
            while True:
                place = self._next(sizes_N2, waiting, free, num_first)
                if place is None:
                    break
                row.append(place)
                waiting[place] = False
                free -= sizes_N2[place]
            rows.append(row)
        return rows

    def _next(
        self, sizes_N2: np.ndarray, waiting: np.ndarray, free: np.ndarray, num_first: int
    ) -> int | None:
        """The example to lay into a row with so much room; None when none fits."""
        places = np.flatnonzero(waiting & (sizes_N2 <= free).all(axis=1))
        if len(places) == 0:
            return None
        if places[0] < num_first:
            return int(places[0])
        # Sums of two squares of float64 are the same on every machine, and so is the choice.
        left_N2 = (free - sizes_N2[places]) / np.array(
            [self.tokens_per_row, max(1, self.patches_per_row)]
        )
        return int(places[np.argmin(left_N2[:, 0] ** 2 + left_N2[:, 1] ** 2)])


def join(examples: Sequence[TrainingExample]) -> Row:
    """The arrays of a row: examples one after the other, their indices counted on.

    Segments are numbered from 1; vision rows, images and windows go on where the example before
    stopped, so that each is one contiguous run within the row.
    """
    assert examples
    parts: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS}
    num_units, num_images, num_windows = 0, 0, 0
    for segment, example in enumerate(examples, start=1):
        for name in ("tokens", "positions", "targets", "loss_weights", "patches"):
            parts[name].append(getattr(example, name))
        is_image = example.vision_index >= 0
        parts["vision_index"].append(np.where(is_image, example.vision_index + num_units, -1))
        parts["segment_ids"].append(np.full(len(example.tokens), segment))
        parts["patch_positions"].append(example.patch_positions)
        parts["image_ids"].append(example.image_ids + num_images)
        parts["window_ids"].append(example.window_ids + num_windows)
        num_units += int(is_image.sum())
        num_images += int(example.image_ids.max(initial=0))
        num_windows += int(example.window_ids.max(initial=0))
    return {
        name: np.concatenate(arrays, axis=-1 if name == "positions" else 0).astype(
            _DTYPES.get(name, np.int32), copy=False
        )
        for name, arrays in parts.items()
    }


_DTYPES: Mapping[str, type] = {"patches": np.uint8, "loss_weights": np.float32}


def stack(
    rows: Sequence[Row | None], packing: Packing, *, pad_id: int, patch_bytes: int
) -> dict[str, np.ndarray]:
    """Pads rows into the arrays of a batch, named as the fields of `onevision_jax.types.Batch`.

    None is an empty row: all padding, no loss. Patches are padded to the smallest budget that holds
    the fullest row.
    """
    most = max((len(row["patches"]) for row in rows if row is not None), default=0)
    shape_BT = (len(rows), packing.tokens_per_row)
    shape_BP = (len(rows), bucket(most, packing.patch_budgets))
    batch = {
        "tokens": np.full(shape_BT, pad_id, np.int32),
        "positions": np.zeros((3, *shape_BT), np.int32),
        "segment_ids": np.zeros(shape_BT, np.int32),
        "vision_index": np.full(shape_BT, -1, np.int32),
        "patches": np.zeros((*shape_BP, patch_bytes), np.uint8),
        "patch_positions": np.zeros((*shape_BP, 2), np.int32),
        "image_ids": np.zeros(shape_BP, np.int32),
        "window_ids": np.zeros(shape_BP, np.int32),
        "targets": np.full(shape_BT, pad_id, np.int32),
        "loss_weights": np.zeros(shape_BT, np.float32),
    }
    for number, row in enumerate(rows):
        if row is None:
            continue
        num_tokens, num_patches = len(row["tokens"]), len(row["patches"])
        batch["positions"][:, number, :num_tokens] = row["positions"]
        for name in (*TOKEN_FIELDS, "segment_ids"):
            batch[name][number, :num_tokens] = row[name]
        for name in PATCH_FIELDS:
            batch[name][number, :num_patches] = row[name]
    return batch


def pad_patches(batch: Mapping[str, np.ndarray], num_patches: int) -> dict[str, np.ndarray]:
    """The same batch with more patches per row, for processes that must agree on one shape."""
    missing = num_patches - batch["patches"].shape[1]
    assert missing >= 0, (batch["patches"].shape, num_patches)
    padded = dict(batch)
    for name in PATCH_FIELDS:
        edges = [(0, 0), (0, missing)] + [(0, 0)] * (batch[name].ndim - 2)
        padded[name] = np.pad(batch[name], edges)
    return padded


def unpack(batch: Mapping[str, np.ndarray]) -> list[TrainingExample]:
    """The examples of a batch, row after row: `join` and `stack` undone."""
    return [
        _segment({name: _row(batch, name, row) for name in FIELDS}, segment)
        for row in range(len(batch["tokens"]))
        for segment in range(1, int(batch["segment_ids"][row].max(initial=0)) + 1)
    ]


def _row(batch: Mapping[str, np.ndarray], name: str, row: int) -> np.ndarray:
    return batch[name][:, row] if name == "positions" else batch[name][row]


def _segment(row: Row, segment: int) -> TrainingExample:
    here = row["segment_ids"] == segment
    units = row["vision_index"][here]
    units = units[units >= 0]
    first, last = (int(units.min()), int(units.max()) + 1) if len(units) else (0, 0)
    assert last - first == len(units), (segment, units)
    patches = {name: row[name][4 * first : 4 * last] for name in PATCH_FIELDS}
    if len(units):
        for name in ("image_ids", "window_ids"):
            patches[name] = patches[name] - (patches[name][0] - 1)
    index = row["vision_index"][here]
    positions = row["positions"][:, here]
    return TrainingExample(
        tokens=row["tokens"][here],
        positions=positions,
        vision_index=np.where(index >= 0, index - first, -1).astype(np.int32),
        targets=row["targets"][here],
        loss_weights=row["loss_weights"][here],
        next_position=int(positions.max()) + 1,
        **patches,
    )
