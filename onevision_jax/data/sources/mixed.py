"""Several sources as one: one after the other, or evenly interleaved by weight."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from onevision_jax.data.record import Record
from onevision_jax.data.source import Source
from onevision_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class MixedSource:
    """Record number i of the mixture, the same in every process and run.

    The k-th record of a source with share p stands at time (k + 1/2) / p, and all are sorted by
    time: every stretch of the mixture has the shares of the whole, to about one record a source.
    weights: relative. None: one source after the other, every record exactly once.
    epoch: "first" ends where the first source is used up, and no record occurs twice; "all" where
    every source has been read whole, and the smaller ones start again.
    """

    sources: tuple[Source, ...]
    weights: tuple[float, ...] | None = None
    epoch: Literal["first", "all"] = "first"

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError("a mixture needs a source")
        if self.weights is not None:
            if len(self.weights) != len(self.sources):
                raise InputError(f"{len(self.sources)} sources but {len(self.weights)} weights")
            if not all(np.isfinite(w) and w > 0 for w in self.weights):
                raise InputError(f"weights must be numbers above 0, not {self.weights}")

    @functools.cached_property
    def _table(self) -> np.ndarray:
        """int32 [records, 2]: source and number in it."""
        sizes = [len(source) for source in self.sources]
        if self.weights is None:
            numbers = [np.stack([np.full(n, i), np.arange(n)], 1) for i, n in enumerate(sizes)]
            return np.concatenate(numbers).astype(np.int32)
        return mix(sizes, self.weights, self.epoch)

    def __len__(self) -> int:
        return len(self._table)

    def find(self, index: int) -> tuple[int, int]:
        """Which source a record is of, and its number there."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        source, number = self._table[index]
        return int(source), int(number)

    def __getitem__(self, index: int) -> Record:
        source, number = self.find(index)
        return self.sources[source][number]

    def fingerprint(self) -> dict[str, int]:
        prints = [source.fingerprint() for source in self.sources]
        return {
            "records": len(self),
            "bytes": sum(numbers.get("bytes", 0) for numbers in prints),
            "order": int(np.sum(self._table[:, 0] * (np.arange(len(self)) % 1009))),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"sources": self.sources, "weights": self.weights, "epoch": self.epoch}


def mix(sizes: Sequence[int], weights: Sequence[float], epoch: str) -> np.ndarray:
    """int32 [records, 2] of `MixedSource`; an empty source has no share."""
    used = [i for i, size in enumerate(sizes) if size]
    if not used:
        return np.zeros((0, 2), np.int32)
    total = sum(weights[i] for i in used)
    shares = {i: weights[i] / total for i in used}
    ends = [sizes[i] / shares[i] for i in used]
    end = (min if epoch == "first" else max)(ends) * (1 + 1e-9)
    parts, times = [], []
    for i in used:
        numbers = np.arange(int(end * shares[i] + 0.5))
        # Among equal times the order is that of the sources.
        times.append((numbers + 0.5) / shares[i])
        parts.append(np.stack([np.full(len(numbers), i), numbers % sizes[i]], axis=1))
    order = np.argsort(np.concatenate(times), kind="stable")
    return np.concatenate(parts)[order].astype(np.int32)
