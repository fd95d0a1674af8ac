"""What a score is compared with: other results.json files, small JSON files, published tables.

A small file says shares from 0 to 1, or counts:

    {"name": "base", "accuracy": 0.321, "by": {"tier": {"college": 0.253, "high_school":
     {"n": 372, "correct": 138}}}}
"""

import dataclasses
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from onevision_jax.errors import InputError
from onevision_jax.report.levels import plain_name
from onevision_jax.report.page import is_number
from onevision_jax.report.reading import read_object, text_of

# What must be equal for two scores to be comparable, as results.json names it.
SETTINGS = ("task", "mode", "grader", "images")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Share:
    """A share of right answers; n = 0 where only the share is known."""

    value: float
    n: int = 0
    correct: float = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
    """The scores of another model; a dimension or value it lacks is not there."""

    name: str
    whole: Share
    by: Mapping[str, Mapping[str, Share]]  # {dimension: {plain name of the value: share}}
    note: str = ""  # how it differs from what it stands beside


def read_baselines(pairs: Sequence[str], results: Mapping[str, Any]) -> list[Baseline]:
    """Of words NAME=FOLDER_OR_FILE; results: what they stand beside.

    Raises InputError for a word without a name, a file that is not there, and damaged fields.
    """
    found = []
    for pair in pairs:
        name, mark, place = pair.partition("=")
        if not (name and mark and place):
            raise InputError(f"--baseline {pair} names no file; write --baseline NAME=FOLDER")
        path = Path(place)
        path = path / "results.json" if path.is_dir() else path
        if not path.is_file():
            raise InputError(
                f"--baseline {name}: {path} is no file; name a folder of onevision eval"
            )
        found.append(read_baseline(name, path, results))
    return found


def read_baseline(name: str, path: Path, results: Mapping[str, Any]) -> Baseline:
    """One results.json or small JSON file."""
    fields = read_object(path)
    return make_baseline(fields, path, name=name, note=difference(fields, results))


def difference(fields: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Which settings two results differ in; a file that names none has another grader's numbers."""
    if "grader" not in fields:
        return "its file does not say how it was graded"
    others = [key for key in SETTINGS if fields.get(key) != results.get(key)]
    return f"differs in {', '.join(others)}" if others else ""


def published(task: str) -> tuple[str, list[Baseline]]:
    """(where they are from and how graded, the scores); ("", []) where none are published."""
    folder = importlib.resources.files("onevision_jax.report") / "published"
    file = folder / f"{task.replace('-', '_')}.json"
    if not (task.replace("-", "").isalnum() and file.is_file()):
        return "", []
    fields = json.loads(file.read_text(encoding="utf-8"))
    models = [
        make_baseline(model, Path(file.name), name=model["name"], note="")
        for model in fields["models"]
    ]
    return f"{fields['source']}: {fields['note']}", models


def make_baseline(fields: Mapping[str, Any], path: Path, *, name: str, note: str) -> Baseline:
    """A baseline of checked shares."""
    by = fields.get("by") or {}
    if not isinstance(by, dict) or not all(isinstance(values, dict) for values in by.values()):
        complain(path, "by", "must hold an object for every dimension")
    return Baseline(
        name=name or text_of(dict(fields), "name"),
        whole=share_of(fields if "n" in fields else fields.get("accuracy"), path, "accuracy"),
        by={
            dimension: {
                plain_name(value): share_of(found, path, f"by.{dimension}.{value}")
                for value, found in values.items()
                if found != {"n": 0, "correct": 0}
            }
            for dimension, values in by.items()
        },
        note=note,
    )


def share_of(value: Any, path: Path, field: str) -> Share:
    """A number from 0 to 1, or an object of n and correct."""
    if isinstance(value, Mapping):
        n, correct = value.get("n"), value.get("correct")
        if isinstance(n, int) and isinstance(correct, int | float) and 0 <= correct <= n and n > 0:
            return Share(value=correct / n, n=n, correct=correct)
        complain(path, field, "must hold n of at least 1 and correct from 0 to n")
    if not (is_number(value) and 0 <= value <= 1):
        complain(path, field, f"is {str(value)[:40]}; give a share from 0 to 1, or n and correct")
    return Share(value=float(value))


def complain(path: Path, field: str, complaint: str) -> NoReturn:
    """Raises the InputError for one field of a baseline's file."""
    raise InputError(f"{path}: field {field!r} {complaint}")
