"""The numbers of a data set: `card.json`, from which the page with its plots is drawn."""

import array
import collections
from collections.abc import Iterable
from typing import Any

import numpy as np

from onevision_jax import __version__
from onevision_jax.data.building.examine import Kept, Refused
from onevision_jax.data.building.settings import BuildSettings
from onevision_jax.data.record import SPLITS

NUM_BINS = 24
PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
MEASURES = ("words", "tokens", "width", "height")


class Card:
    """Counts while records pass; 4 bytes a record and measure."""

    def __init__(self, settings: BuildSettings):
        self._settings = settings
        self._counts = {
            name: collections.Counter()
            for name in ("source", "tier", "subject", "answer_kind", "layout")
        }
        self._splits = dict.fromkeys(SPLITS, 0)
        self._measures = {name: array.array("L") for name in MEASURES}
        self._repairs: collections.Counter[str] = collections.Counter()
        self._rejects: collections.Counter[tuple[int, str]] = collections.Counter()
        self._first: dict[str, str] = {}
        self.rows = 0

    @property
    def written(self) -> int:
        """Records in all."""
        return sum(self._splits.values())

    @property
    def rejected(self) -> dict[str, int]:
        """How many rows were left out for each reason, the most frequent first."""
        sums: collections.Counter[str] = collections.Counter()
        for (_, reason), count in self._rejects.items():
            sums[reason] += count
        return dict(_sorted(sums))

    def first(self, reason: str) -> str:
        """The first complaint of a reason."""
        return self._first[reason]

    def keep(self, kept: Kept, repairs: Iterable[str]) -> None:
        """Counts a record that is written."""
        self.rows += 1
        record = kept.record
        self._splits[kept.split] += 1
        self._counts["source"][self._settings.sources[kept.source].name] += 1
        self._counts["tier"][record.tier or "not said"] += 1
        self._counts["subject"][record.subject or "not said"] += 1
        self._counts["answer_kind"][record.answer_kind] += 1
        if "layout" in record.provenance:
            self._counts["layout"][str(record.provenance["layout"])] += 1
        self._repairs.update(repairs)
        self._measures["words"].append(kept.words)
        if kept.tokens is not None:
            self._measures["tokens"].append(kept.tokens)
        if kept.size is not None:
            self._measures["width"].append(kept.size[0])
            self._measures["height"].append(kept.size[1])

    def refuse(self, refused: Refused) -> None:
        """Counts a row that is left out."""
        self.rows += 1
        self._rejects[refused.source, refused.reason] += 1
        self._first.setdefault(refused.reason, f"{refused.where}: {refused.message}")

    def to_json(self, benchmark_problems: int) -> dict[str, Any]:
        """The contents of `card.json`; the same for the same input, so without time or place."""
        settings = self._settings
        return {
            "made_by": f"onevision data build {__version__}",
            "sources": [{"source": spec.name, "weight": spec.weight} for spec in settings.sources],
            "fractions": {"validation": settings.validation, "test": settings.test},
            "benchmarks": list(settings.benchmarks),
            "benchmark_problems": benchmark_problems,
            "rows": self.rows,
            "written": self.written,
            "rejected": sum(self._rejects.values()),
            "splits": self._splits,
            "counts": {name: dict(_sorted(counts)) for name, counts in self._counts.items()},
            "repairs": dict(_sorted(self._repairs)),
            "rejects": [
                {"reason": reason, "source": settings.sources[source].name, "count": count}
                for (source, reason), count in sorted(self._rejects.items())
            ],
            "measures": {
                name: describe(np.array(values))
                for name, values in self._measures.items()
                if values
            },
        }


def describe(values: np.ndarray) -> dict[str, Any]:
    """Count, mean, percentiles and a histogram, its bins equally wide up to the 99th percentile."""
    top = max(float(np.percentile(values, 99)), float(values.min()) + 1)
    counts, edges = np.histogram(values, NUM_BINS, (float(values.min()), top))
    counts[-1] += int((values > top).sum())
    return {
        "count": len(values),
        "mean": round(float(values.mean()), 2),
        "percentiles": {
            str(p): float(v)
            for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)
        },
        "histogram": {
            "edges": [round(float(edge), 2) for edge in edges],
            "counts": counts.tolist(),
        },
    }


def _sorted(counts: collections.Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
