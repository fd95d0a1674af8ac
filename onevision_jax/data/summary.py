"""What a data set holds, in numbers: counts, token lengths, image sizes, packing efficiency."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onevision_jax.data.encode import Encode, TrainingExample
from onevision_jax.data.filling import fill
from onevision_jax.data.packing import Packing
from onevision_jax.data.record import Record
from onevision_jax.data.source import Rejected, Source, Tally
from onevision_jax.processor import Processor, load_image

GROUPS = ("source", "tier", "subject", "answer_kind", "formal_language")
LENGTHS = ("tokens", "prompt tokens", "response tokens", "vision tokens", "width", "height")
PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
NUM_VALUES = 50  # of a group that are listed, the most frequent ones
NUM_BINS = 30


def summarise(
    source: Source, processor: Processor, packing: Packing, rows_per_batch: int = 8
) -> dict[str, Any]:
    """Reads and encodes every record, as training would.

    Lengths are those of examples that can be used, in tokens; widths and heights in pixels, of the
    stored images. Everything is plain JSON.
    """
    counts: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in GROUPS}
    lengths: dict[str, list[int]] = {name: [] for name in LENGTHS}
    sizes: list[tuple[int, int]] = []
    encode = Encode(
        processor, max_tokens=packing.tokens_per_row, max_patches=packing.patches_per_row
    )
    dropped, num_shrunk = Tally(), 0
    for index in range(len(source)):
        try:
            record = source[index]
            example = encode.train(record)
        except Rejected as rejected:
            dropped.add(rejected)
            continue
        for name in GROUPS:
            counts[name][getattr(record, name) or "(none)"] += 1
        num_shrunk += _measure(record, example, processor, lengths)
        sizes.append((len(example.tokens), len(example.patches)))
    return {
        "records": len(source),
        "usable": len(sizes),
        "with image": len(lengths["width"]),
        "text only": len(sizes) - len(lengths["width"]),
        "images shrunk to fit a row": num_shrunk,
        "dropped": dropped.to_json(),
        "counts": {name: dict(found.most_common(NUM_VALUES)) for name, found in counts.items()},
        "values": {name: len(found) for name, found in counts.items()},
        "lengths": {name: describe(values) for name, values in lengths.items()},
        "packing": {
            "tokens_per_row": packing.tokens_per_row,
            "patch_budgets": list(packing.patch_budgets),
            "window": packing.window,
            "rows_per_batch": rows_per_batch,
            **fill(sizes, packing, rows_per_batch).to_json(),
        },
    }


def _measure(
    record: Record, example: TrainingExample, processor: Processor, lengths: dict[str, list[int]]
) -> bool:
    """Notes the lengths of one example; whether its image was shrunk to fit."""
    response = int(example.loss_weights.sum())
    lengths["tokens"].append(len(example.tokens))
    lengths["prompt tokens"].append(len(example.tokens) - response)
    lengths["response tokens"].append(response)
    if record.image is None:
        return False
    units = len(example.patches) // processor.config.merge_size**2
    picture = load_image(record.image)
    lengths["vision tokens"].append(units)
    lengths["width"].append(picture.width)
    lengths["height"].append(picture.height)
    return units < processor.config.num_units(picture.height, picture.width)


def describe(values: Sequence[int]) -> dict[str, Any]:
    """Percentiles, mean and histogram of whole numbers; {"count": 0} without any.

    A histogram is its `edges` (one more than bins) and how many values lie in each bin; the last
    bin holds its upper edge.
    """
    if not values:
        return {"count": 0}
    array = np.asarray(values)
    low, high = int(array.min()), int(array.max())
    num_bins = min(NUM_BINS, high - low + 1)
    bins, edges = np.histogram(array, bins=num_bins, range=(low, max(high, low + 1)))
    marks = np.percentile(array, PERCENTILES)
    return {
        "count": len(array),
        "sum": int(array.sum()),
        "mean": float(array.mean()),
        "percentiles": {str(p): float(m) for p, m in zip(PERCENTILES, marks, strict=True)},
        "edges": edges.tolist(),
        "bins": bins.tolist(),
    }


def length_rows(summary: Mapping[str, Any]) -> list[list[Any]]:
    """Name, count, mean and percentiles of each length, for a table."""
    rows = []
    for name, found in summary["lengths"].items():
        if found["count"]:
            marks = [round(found["percentiles"][str(p)]) for p in PERCENTILES]
            rows.append([name, found["count"], round(found["mean"]), *marks])
    return rows


HEADER = ["length", "count", "mean", "min", "5 %", "25 %", "median", "75 %", "95 %", "max"]
