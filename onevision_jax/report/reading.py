"""Files of a run folder. They may come from strangers: whatever is wrong with one is said."""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds; raises InputError when it is something else."""
    try:
        value = json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); write it again or remove it") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object; write it again or remove it")
    return value


def read_lines(
    path: Path, *, newest: int | None = None, growing: bool = False
) -> list[dict[str, Any]]:
    """The JSON objects of a JSONL file in their order; blank lines are passed over.

    newest: only so many from the end are read. growing: a last line without a line feed is left
    out where it is no JSON, since a run may be writing it. Raises InputError naming the line.
    """
    with path.open("rb") as file:
        numbered = ((number, line) for number, line in enumerate(file, 1) if line.strip())
        lines = deque(numbered, maxlen=newest)
    rows = []
    for number, line in lines:
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError):
            if growing and not line.endswith(b"\n"):
                break
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number} is no JSON object; repair or remove the line")
        rows.append(row)
    return rows


def text_of(row: dict[str, Any], name: str) -> str:
    """The field as text; "" where it is missing or null."""
    value = row.get(name)
    return "" if value is None else str(value)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(a.b, value) for every value; lists and empty objects as JSON."""
    for name, value in leaves(settings, prefix):
        plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield name, plain


def leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(a.b, value) for every value that is no object, and for empty objects."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
