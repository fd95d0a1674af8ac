"""The rows that `eval regrade` takes, which every import makes."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from onevision_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """One response to one question."""

    id: str
    response: str
    sample: int | None = None  # tells several responses to one question apart
    finish_reason: str | None = None  # "length" = cut off

    def row(self) -> dict[str, Any]:
        """With what is known only."""
        return {name: v for name, v in dataclasses.asdict(self).items() if v is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
    """The answers of a file, and sentences on what a reader should know of them."""

    answers: Sequence[Answer]
    notes: Sequence[str] = ()


def write_answers(answers: Sequence[Answer], path: Path) -> None:
    """A JSONL file for `eval regrade --outputs`; it appears whole or not at all.

    Raises InputError where an id repeats with the same sample, or nothing was read.
    """
    if not answers:
        raise InputError("the file holds no answers; nothing was written")
    seen = set()
    for one in answers:
        if (one.id, one.sample) in seen:
            raise InputError(
                f"id {one.id!r} repeats in the file; its rows must have ids of their own"
            )
        seen.add((one.id, one.sample))
    write_whole(path, "".join(f"{json.dumps(one.row())}\n" for one in answers))


def write_whole(path: Path, text: str) -> None:
    """The file appears whole or not at all; its folder is made. Line ends stay as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", errors="replace", newline="")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def refuse(path: Path, where: str, complaint: str) -> NoReturn:
    """Raises the InputError for one place of a file."""
    raise InputError(f"{path}, {where}: {complaint}")


def name_of(value: Any, path: Path, where: str, field: str) -> str:
    """An id: a string, or a whole number (3.0 too, as tables write one) in digits."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        refuse(path, where, f"field {field!r} must be a string or a whole number")
    return str(value)
