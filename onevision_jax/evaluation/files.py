"""Rows of downloaded benchmark files (TSV, Parquet, JSONL, JSON), and fields that many share.

Every row comes with the place it stands at, so that an error can name file, row and field. Files
come from strangers: sizes are bounded, nothing is executed, and images are only named here; they
are read, and paths out of the folder refused, when a question is asked.
"""

import base64
import csv
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from onevision_jax.data.record import read_rows
from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question

Row = dict[str, Any]
MAX_CELL = 100 << 20  # characters of one TSV cell: a whole image in base64
MAX_JSON_BYTES = 1 << 30
MAX_PATH = 1024  # characters
ENDINGS = ".tsv, .parquet, .jsonl or .json"


def read_questions(
    path: Path, from_row: Callable[[Row, Path], Question], key: str = ""
) -> Iterator[Question]:
    """The questions of a file; from_row(row, the file's folder) raises InputError by field."""
    for where, row in read_table(path, key):
        yield question_at(f"{path}, {where}", from_row, row, path.parent)


def question_at(
    where: str, from_row: Callable[[Row, Path], Question], row: Row, folder: Path
) -> Question:
    """One question; the error of a bad row begins with its place."""
    try:
        return from_row(row, folder)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def read_table(path: Path, key: str = "") -> Iterator[tuple[str, Row]]:
    """Places ("line 3", "row 3", "entry '17'") and rows of a file, by the ending of its name.

    key: the field that takes a row's name where the rows are the values of one JSON object.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give one ending in {ENDINGS}")
    match path.suffix.lower():
        case ".tsv":
            yield from read_tsv(path)
        case ".parquet":
            yield from read_parquet(path)
        case ".jsonl":
            yield from ((f"line {number}", row) for number, row in read_rows(path))
        case ".json":
            yield from read_json_rows(path, key)
        case ending:
            raise InputError(f"{path} ends in {ending!r}; give a file ending in {ENDINGS}")


def read_tsv(path: Path) -> Iterator[tuple[str, Row]]:
    """Rows as pandas writes them (`to_csv(sep="\\t")`): a header, quotes around line feeds."""
    csv.field_size_limit(MAX_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        try:
            for number, row in enumerate(reader, 1):
                if None in row:
                    raise InputError(f"{path}, row {number}: more cells than the header names")
                yield f"row {number}", {str(name): cell for name, cell in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path}, near line {reader.line_num}: no TSV ({error})") from None


def read_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    """Rows with pyarrow, which the extra `parquet` installs."""
    try:
        pyarrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(
            f"{path}: Parquet needs pyarrow; run pip install 'onevision-jax[parquet]'"
        ) from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}, after row {number}: no Parquet ({reason})") from None


def read_json(path: Path) -> Any:
    """A whole JSON file; NaN and infinities are refused."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"it holds {constant}")

    if not path.is_file():
        raise InputError(f"{path} is not there")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB; give it as JSONL")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error})") from None


def read_json_rows(path: Path, key: str = "") -> Iterator[tuple[str, Row]]:
    """Rows of a JSON list, or of a JSON object from names to rows."""
    value = read_json(path)
    if isinstance(value, dict):
        named = [(f"entry {name!r}", name, row) for name, row in value.items()]
    elif isinstance(value, list):
        named = [(f"row {number}", "", row) for number, row in enumerate(value, 1)]
    else:
        raise InputError(f"{path} holds a JSON {type(value).__name__}; give a list of rows")
    for where, name, row in named:
        if not isinstance(row, dict):
            raise InputError(f"{path}, {where}: a {type(row).__name__}; give an object")
        yield where, {key: name, **row} if key and name else row


def image_of(value: Any, folder: Path, places: Sequence[str] = ()) -> tuple[str | None, str]:
    """`image` and `image_base64` of a question whose row holds a path or an encoded file.

    value: a path, bytes, Hugging Face's {"bytes", "path"}, or nothing. places: folders beside the
    file, one of which may hold the image though the path does not say so.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return None, base64.b64encode(value).decode()
    if not value:
        return None, ""
    if not isinstance(value, str):
        raise InputError(f"field 'image' must be a path or a file, not {type(value).__name__}")
    parts = [*PurePosixPath(value).parts, value[:1]]
    if len(value) > MAX_PATH or any(len(part.encode(errors="replace")) > 255 for part in parts):
        raise InputError(f"field 'image' is no path, but {len(value)} characters")
    if value.startswith("/") or ".." in parts:
        return value, ""  # Refused by name when it is to be read.
    names = [value, *(f"{place}/{value}" for place in places)]
    return next((name for name in names if (folder / name).is_file()), value), ""


def choices_of(value: Any) -> tuple[str, ...]:
    """A list of strings; () for null."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(choice, str) for choice in value):
        raise InputError("field 'choices' must be a list of strings or null")
    return tuple(value)


def dimensions_of(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, str | tuple[str, ...]]:
    """What results are broken down by: strings, lists of strings; without those left empty."""
    found: dict[str, str | tuple[str, ...]] = {}
    for name in names:
        value = row.get(name)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            found[name] = tuple(dict.fromkeys(value))
        elif isinstance(value, str | int | float) and value != "":
            found[name] = str(value)
        elif value is not None and value != "":
            raise InputError(f"field {name!r} must be a string or a list of strings")
    return found


def object_field(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that holds an object; {} where it is missing or null."""
    value = row.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"field {name!r} must be an object, not {type(value).__name__}")
    return value
