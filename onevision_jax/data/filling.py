"""How full packed batches are: tokens and patches used, of those that are computed.

A step computes every token of a row and every patch of the batch's budget, padding included; what
is used of them is the packing efficiency.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onevision_jax.data.packing import Packing
from onevision_jax.processor import bucket


@dataclasses.dataclass
class Filling:
    """Sums over batches."""

    examples: int = 0
    rows: int = 0
    tokens_used: int = 0
    tokens_available: int = 0
    patches_used: int = 0
    patches_available: int = 0
    """Rows times the budget that each batch took."""
    budgets: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    """Batches that took each patch budget."""

    def add(self, sizes: Sequence[tuple[int, int, int]], tokens: int, budget: int) -> None:
        """One batch: (examples, tokens, patches) of each row, and the size rows are padded to."""
        self.rows += len(sizes)
        self.examples += sum(row[0] for row in sizes)
        self.tokens_used += sum(row[1] for row in sizes)
        self.patches_used += sum(row[2] for row in sizes)
        self.tokens_available += len(sizes) * tokens
        self.patches_available += len(sizes) * budget
        self.budgets[budget] += 1

    def add_batch(self, batch: Mapping[str, np.ndarray]) -> None:
        """One batch as the pipeline gives it."""
        segments = batch["segment_ids"]
        examples = segments.max(axis=1)
        tokens, patches = (segments > 0).sum(axis=1), (batch["image_ids"] > 0).sum(axis=1)
        sizes = list(zip(examples.tolist(), tokens.tolist(), patches.tolist(), strict=True))
        self.add(sizes, segments.shape[1], batch["image_ids"].shape[1])

    @property
    def tokens(self) -> float:
        """Share of the tokens that are used, 0 to 1."""
        return self.tokens_used / max(1, self.tokens_available)

    @property
    def patches(self) -> float:
        """Share of the patches that are used, 0 to 1; 1 where none is computed."""
        return self.patches_used / self.patches_available if self.patches_available else 1.0

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        budgets = {str(budget): count for budget, count in sorted(self.budgets.items())}
        plain = {**dataclasses.asdict(self), "budgets": budgets}
        return {**plain, "tokens": self.tokens, "patches": self.patches}


def fill(sizes: Sequence[tuple[int, int]], packing: Packing, rows_per_batch: int) -> Filling:
    """What packing examples of these (tokens, patches) gives, as one shard of the pipeline would.

    The rows that the end of the data leaves over make a last batch that is not whole.
    """
    found, waiting, carried = Filling(), list(sizes), []
    rows: list[tuple[int, int, int]] = []
    while waiting:
        taken, waiting = carried + waiting[: packing.window], waiting[packing.window :]
        packed = packing.arrange(taken, num_first=len(carried))
        carried = [taken[place] for place in packed.pop()] if waiting else []
        for row in packed:
            tokens, patches = np.sum([taken[place] for place in row], axis=0)
            rows.append((len(row), int(tokens), int(patches)))
    for start in range(0, len(rows), rows_per_batch):
        batch = rows[start : start + rows_per_batch]
        budget = bucket(max(row[2] for row in batch), packing.patch_budgets)
        found.add(batch, packing.tokens_per_row, budget)
    return found
