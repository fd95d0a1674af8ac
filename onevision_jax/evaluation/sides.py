"""What `eval compare` holds against each other: a result folder, or a JSON file of booleans."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from onevision_jax.data.record import read_rows
from onevision_jax.errors import InputError
from onevision_jax.rewards import Verdict

MAX_BYTES = 256 << 20  # of one JSON file
MAX_DEPTH = 16
NAMES = ("id", "question_id", "idx", "index", "query_sha256")  # what tells items of a list apart
SETTINGS = ("task", "mode", "metric", "dataset")  # what two sides must not differ in


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two: how much of every question is right."""

    path: Path
    shares: Mapping[str, float]  # by id: 1 or 0, or the share of its samples that are right
    golds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    split: Mapping[str, str] = dataclasses.field(default_factory=dict)  # by id, of list files
    results: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # SETTINGS and more

    @property
    def is_boolean(self) -> bool:
        """Right or wrong, nothing between."""
        return all(share in (0, 1) for share in self.shares.values())


def read_side(path: Path) -> Side:
    """A folder with items.jsonl and results.json, or a JSON file of per-item booleans.

    The file is a list of booleans or of objects with a boolean `correct`, or an object that holds
    such lists, each then a split named by where it stands. Items are told apart by the fields
    `NAMES`, or by their place.

    Raises InputError naming the file and the field.
    """
    return read_folder(path) if path.is_dir() else read_list_file(path)


def read_folder(folder: Path) -> Side:
    """What `onevision eval` has written."""
    for name in ("results.json", "items.jsonl"):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} has no {name}; give a folder that onevision eval has written"
            )
    results = read_json(folder / "results.json")
    if not isinstance(results, dict):
        raise InputError(f"{folder / 'results.json'} holds no object; run onevision eval again")
    path = folder / "items.jsonl"
    verdicts: dict[str, list[bool]] = {}
    golds: dict[str, str] = {}
    for number, row in read_rows(path):
        name, verdict = row.get("id"), row.get("verdict")
        if not isinstance(name, str):
            raise InputError(f"{path}, line {number}: field 'id' must be a string")
        if verdict not in get_args(Verdict):
            allowed = ", ".join(get_args(Verdict))
            raise InputError(f"{path}, line {number}: field 'verdict' is none of {allowed}")
        verdicts.setdefault(name, []).append(verdict == "correct")
        golds[name] = str(row.get("gold"))
    if not verdicts:
        raise InputError(f"{path} has no rows; run onevision eval again")
    samples = {len(found) for found in verdicts.values()}
    if len(samples) > 1 or (samples != {1} and "samples" not in results):
        raise InputError(f"{path}: field 'id' repeats unevenly; run onevision eval again")
    shares = {name: sum(found) / len(found) for name, found in verdicts.items()}
    return Side(path=folder, shares=shares, golds=golds, results=results)


def read_list_file(path: Path) -> Side:
    """Per-item booleans that some other tool has written."""
    if not path.is_file():
        raise InputError(f"{path} is not there; give a result folder or a JSON file of booleans")
    held = read_json(path)
    lists = list(find_lists(held, ()))
    if not lists:
        raise InputError(
            f"{path} holds no list of booleans or of objects with a boolean 'correct'; give one"
        )
    shares: dict[str, float] = {}
    split: dict[str, str] = {}
    for keys, items in lists:
        name = split_name(keys, [other for other, _ in lists])
        for place, item in enumerate(items):
            label, right = read_item(item, place, f"{path}: {'.'.join(keys) or 'list'}[{place}]")
            label = f"{name} {label}" if name else label
            if label in shares:
                raise InputError(f"{path}: item {label!r} repeats; ids must differ")
            shares[label] = float(right)
            if name:
                split[label] = name
    results = held if isinstance(held, dict) else {}
    return Side(path=path, shares=shares, split=split, results=results)


def read_json(path: Path) -> Any:
    """The value of a JSON file; raises InputError."""
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES >> 20} MiB; give a smaller file")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); give a JSON file") from None


def find_lists(held: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Every list of items in it, with the keys that lead there."""
    if isinstance(held, list) and held:
        first = held[0]
        if isinstance(first, bool) or (isinstance(first, dict) and "correct" in first):
            yield keys, held
    elif isinstance(held, dict) and len(keys) < MAX_DEPTH:
        for key, value in held.items():
            yield from find_lists(value, (*keys, key))


def split_name(keys: tuple[str, ...], others: list[tuple[str, ...]]) -> str:
    """The keys in which the lists differ: `human` of splits.human.items and splits.test.items."""
    if len(others) < 2:
        return ""
    apart = [
        key
        for place, key in enumerate(keys)
        if any(place >= len(other) or other[place] != key for other in others)
    ]
    return ".".join(apart) or ".".join(keys)


def read_item(item: Any, place: int, where: str) -> tuple[str, bool]:
    """What tells the item apart, and whether it is right."""
    right = item.get("correct") if isinstance(item, dict) else item
    if not isinstance(right, bool):
        raise InputError(f"{where}: expected true or false, or an object with 'correct' so")
    names = [item[name] for name in NAMES if name in item] if isinstance(item, dict) else []
    return " ".join(map(str, names or [place])), right
