"""Our education-tiered benchmark: junior high to university, five subjects, from a seed.

`onevision eval make-tiered` draws it (`evaluation.tiered`) and leaves a `card.json` beside the
rows, which says version, seed and the hash of the file: results of `tiered-v1-seed0` mean the same
questions and pictures everywhere, and a file that was changed is refused.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.data.record import image_path, read_rows
from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.score import count_cells
from onevision_jax.evaluation.statistics import Z95, wilson
from onevision_jax.evaluation.task import Rows, Task
from onevision_jax.evaluation.tasks import generic

VERSION = "v1"
TIERS = ("junior_high", "high_school", "college", "university", "social_test")
DIMENSIONS = ("tier", "subject", "family")
DATA = "the folder that `onevision eval make-tiered --out DIR` wrote"


def read(path: Path) -> Iterator[Question]:
    """The rows of the folder, or of its JSONL file; raises InputError where they were changed."""
    file = find_file(path)
    card = read_card(file)
    if hashlib.sha256(file.read_bytes()).hexdigest() != card["sha256"]:
        raise InputError(
            f"{file} is not the file that its card.json describes (sha256 differs); "
            f"make {card['name']} again"
        )
    for number, row in read_rows(file):
        try:
            yield from_row(row, file.parent, card["name"])
        except InputError as error:
            raise InputError(f"{file}, line {number}: {error}") from None


def find_file(path: Path) -> Path:
    """The JSONL file of a folder, which must hold just one; a file is itself."""
    if not path.is_dir():
        return path
    files = sorted(path.glob("tiered-*.jsonl"))
    if len(files) != 1:
        raise InputError(f"{path} holds {len(files)} files tiered-*.jsonl, not one; give {DATA}")
    return files[0]


def read_card(file: Path) -> dict[str, Any]:
    """The card beside the file, of this version."""
    place = file.with_name("card.json")
    if not place.is_file():
        raise InputError(f"{place} is missing; give {DATA}")
    try:
        card = json.loads(place.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is no JSON ({error}); make the benchmark again") from None
    if not isinstance(card, dict):
        raise InputError(f"{place} is no JSON object; make the benchmark again")
    for field in ("name", "version", "sha256"):
        if not isinstance(card.get(field), str):
            raise InputError(f"{place}: field {field!r} must be a string; make the benchmark again")
    if card["version"] != VERSION:
        raise InputError(
            f"{place}: field 'version' is {card['version']!r}, and this program knows {VERSION!r}; "
            "make the benchmark again"
        )
    return card


def from_row(row: Mapping[str, Any], folder: Path, name: str) -> Question:
    """One row with its tier, subject and family; the picture must have the hash of its name."""
    question = generic.from_row(row, folder)
    for dimension in DIMENSIONS:
        if not question.dimensions.get(dimension):
            raise InputError(f"field {dimension!r} is missing")
    image = question.image_bytes()
    if image is None or image_path(image) != question.image:
        raise InputError(f"field 'image' names {question.image!r}, whose content was changed")
    dimensions = {dimension: question.dimensions[dimension] for dimension in DIMENSIONS}
    return dataclasses.replace(question, dimensions=dimensions, facts={"benchmark": name})


def tables(questions: Sequence[Question], rows: Rows) -> dict[str, Any]:
    """The entry `tiered` of results.json: accuracy by tier, and the mean over (tier, subject)."""
    cells = count_cells(questions, [row["verdict"] == "correct" for row in rows])
    by_tier = []
    for tier in TIERS:
        counts = list(cells.get(tier, {}).values())
        n, correct = (sum(cell[key] for cell in counts) for key in ("n", "correct"))
        if n:
            line = {"tier": tier, "n": n, "correct": correct, "accuracy": correct / n}
            by_tier.append({**line, "ci95": list(wilson(correct, n))})
    counts = [(cell["correct"], cell["n"]) for row in cells.values() for cell in row.values()]
    mean, interval = macro_average(counts)
    macro = {
        "accuracy": mean,
        "ci95": list(interval),
        "cells": len(counts),
        "interval": "delta method; variance of a cell from Beta(correct + 1/2, wrong + 1/2)",
    }
    name = questions[0].facts.get("benchmark", "")
    return {"tiered": {"benchmark": name, "by_tier": by_tier, "macro_average": macro}}


def macro_average(
    cells: Sequence[tuple[int, int]], z: float = Z95
) -> tuple[float, tuple[float, float]]:
    """Mean of the cells' shares and its interval; cells are (correct, n), n from 1.

    The variance of the mean is the sum of the cells' variances over their number squared (delta
    method; the cells are independent). A cell's variance is that of its share under Jeffreys'
    prior, Beta(correct + 1/2, n - correct + 1/2), which is not 0 where all answers are wrong.
    """
    mean = sum(correct / n for correct, n in cells) / len(cells)
    variance = 0.0
    for correct, n in cells:
        share = (correct + 0.5) / (n + 1)
        variance += share * (1 - share) / (n + 2)
    half = z * math.sqrt(variance) / len(cells)
    return mean, (max(0.0, mean - half), min(1.0, mean + half))


TASK = Task(name="tiered", data=DATA, read=read, tables=tables)
