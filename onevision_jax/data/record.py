"""`Record`, the one example schema, and its JSONL files with images beside them.

A row is one JSON object with the names of `Record`'s fields; `image` is a path relative to the
file's folder, or null. Rows come from strangers: unknown fields, wrong types and paths that leave
the folder are refused, and every error names file, line and field.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NoReturn, get_args

from onevision_jax.data import remote
from onevision_jax.errors import InputError

AnswerKind = Literal["number", "choice", "text", "expression"]
# The levels of R1-Onevision-Bench, with university above college; "" = not said.
Tier = Literal["junior_high", "high_school", "college", "university", "social_test", ""]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

MAX_IMAGE_BYTES = 64 * 2**20  # of one encoded file
MAX_LINE_BYTES = 16 * 2**20  # of one row
# First bytes of an encoded image -> ending of its file.
SIGNATURES = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpg"), (b"GIF8", "gif"), (b"RIFF", "webp"))


@dataclasses.dataclass(frozen=True)
class Record:
    """One example. Construction checks every field and raises `InputError` naming it."""

    id: str  # unique within a data set
    image: bytes | None  # an encoded file (PNG, JPEG, ...); None = text only
    question: str
    answer: str  # with answer_kind "choice": one of `choices`, or its letter A, B, ...
    answer_kind: AnswerKind = "text"
    choices: tuple[str, ...] = ()  # () = free-form
    formal_text: str = ""  # the image in a formal language; "" = none
    formal_language: str = ""  # "csv", "html", "spice", "mermaid", "logic_form", "scene_json", ...
    reasoning: str = ""
    tier: Tier = ""
    subject: str = ""
    source: str = ""  # where the example comes from, such as "synth" or a data set's name
    licence: str = ""  # SPDX identifier
    provenance: Mapping[str, str | int | float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in TEXT_FIELDS:
            check_text(name, getattr(self, name))
        for name in ("id", "question", "answer"):
            if not getattr(self, name).strip():
                fail(name, "is empty; give it a value")
        for name, allowed in (("answer_kind", get_args(AnswerKind)), ("tier", get_args(Tier))):
            value = getattr(self, name)
            if value not in allowed:
                fail(name, f"is {value!r}, not one of {', '.join(filter(None, allowed))}")
        if self.image is not None and not (isinstance(self.image, bytes) and self.image):
            fail("image", "must be the bytes of an encoded image file, or None")
        if not isinstance(self.choices, tuple):
            fail("choices", "must be a list of strings")
        for choice in self.choices:
            check_text("choices", choice)
        check_provenance(self.provenance)


TEXT_FIELDS = tuple(
    field.name
    for field in dataclasses.fields(Record)
    if field.name not in ("image", "choices", "provenance")
)
FIELDS = tuple(field.name for field in dataclasses.fields(Record))
REQUIRED = ("id", "image", "question", "answer")


def fail(field: str, complaint: str) -> NoReturn:
    """Raise the `InputError` for one field."""
    raise InputError(f"field {field!r} {complaint}")


def check_text(name: str, value: Any) -> None:
    """A string that UTF-8 can hold (JSON may smuggle in half of a surrogate pair)."""
    if not isinstance(value, str):
        fail(name, f"must be a string, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        fail(name, "holds half of a surrogate pair, which is no text; remove that character")


def check_provenance(provenance: Any) -> None:
    """A flat mapping from names to strings and finite numbers."""
    if not isinstance(provenance, Mapping):
        fail("provenance", "must be an object")
    for key, value in provenance.items():
        check_text("provenance", key)
        if isinstance(value, str):
            check_text("provenance", value)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            fail("provenance", f"holds {key!r}, which is neither a string nor a number")
        elif isinstance(value, float) and not math.isfinite(value):
            fail("provenance", f"holds {key!r} = {value}, which JSON cannot hold")


def image_hash(image: bytes) -> str:
    """The name of an image: SHA-256 of the encoded file, as 64 hexadecimal digits."""
    return hashlib.sha256(image).hexdigest()


def split_of(record: Record, validation_fraction: float = 0.1, test_fraction: float = 0.1) -> Split:
    """The split a record belongs to, from the hash of its image (of its question without one).

    Every question about one image lands in the same split, in every data set and run.
    """
    digest = image_hash(record.question.encode() if record.image is None else record.image)
    place = int(digest[:13], 16) / 16**13  # 52 bits: exact in a float
    if place < test_fraction:
        return "test"
    return "validation" if place < test_fraction + validation_fraction else "train"


def image_path(image: bytes) -> str:
    """Where an image is stored, relative to the JSONL file: named after its content."""
    ending = next((ending for start, ending in SIGNATURES if image.startswith(start)), "bin")
    return f"images/{image_hash(image)[:32]}.{ending}"


def to_row(record: Record) -> dict[str, Any]:
    """The JSON object of a record; the image becomes its `image_path`."""
    row: dict[str, Any] = {name: getattr(record, name) for name in FIELDS}
    row["image"] = None if record.image is None else image_path(record.image)
    row["choices"] = list(record.choices)
    row["provenance"] = dict(record.provenance)
    return row


def from_row(row: Mapping[str, Any], folder: str | Path) -> Record:
    """The record of a JSON object, its image read from below `folder`.

    Raises `InputError` for unknown, missing and ill-typed fields and for hostile paths.
    """
    for name in row:
        if name not in FIELDS:
            close = difflib.get_close_matches(name, FIELDS, n=1)
            fail(name, f"is unknown{f'; did you mean {close[0]!r}?' if close else ''}")
    for name in REQUIRED:
        if name not in row:
            fail(name, "is missing")
    values = dict(row)
    if values["image"] is not None:
        values["image"] = read_image(values["image"], folder)
    if not isinstance(values.get("choices", []), list):
        fail("choices", "must be a list of strings")
    values["choices"] = tuple(values.get("choices", []))
    return Record(**values)


def read_image(name: Any, folder: str | Path) -> bytes:
    """The bytes of the file `name`, which must lie below `folder`, links followed.

    folder: local, or of an object store.
    """
    check_text("image", name)
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0"):
        fail("image", f"is {name!r}; expected a relative path below the file's folder")
    if remote.is_remote(folder):
        return _read_object(path.as_posix(), str(folder))
    folder = Path(folder)
    file = folder / path
    if not file.resolve().is_relative_to(folder.resolve()):
        fail("image", f"is {name!r}, which a link leads out of the file's folder")
    if not file.is_file():
        fail("image", f"names {name!r}, which is no file below {folder}")
    if file.stat().st_size > MAX_IMAGE_BYTES:
        fail("image", f"names {name!r}, which is larger than {MAX_IMAGE_BYTES >> 20} MiB")
    return file.read_bytes()


def _read_object(name: str, folder: str) -> bytes:
    try:
        data = remote.read_below(name, folder, MAX_IMAGE_BYTES)
    except FileNotFoundError:
        fail("image", f"names {name!r}, which is no file below {folder}")
    if len(data) > MAX_IMAGE_BYTES:
        fail("image", f"names {name!r}, which is larger than {MAX_IMAGE_BYTES >> 20} MiB")
    return data


def parse_row(line: bytes) -> dict[str, Any]:
    """One JSON object; NaN and infinities are refused."""

    def refuse(constant: str) -> NoReturn:
        raise InputError(f"holds {constant}, which is not JSON")

    try:
        row = json.loads(line.decode(), parse_constant=refuse)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not a JSON object ({error})") from None
    if not isinstance(row, dict):
        raise InputError(f"is a JSON {type(row).__name__}, not an object")
    return row


def read_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and JSON objects of a file; blank lines are passed over."""
    path = Path(path)
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{path}, line {number}: longer than {MAX_LINE_BYTES >> 20} MiB")
            if not line.strip():
                continue
            try:
                row = parse_row(line)
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
            yield number, row


def read_jsonl(path: str | Path) -> Iterator[Record]:
    """The records of a file, one at a time, with their images."""
    path = Path(path)
    for number, row in read_rows(path):
        try:
            record = from_row(row, path.parent)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        yield record


def write_image(image: bytes, folder: str | Path) -> None:
    """Store an image under its `image_path` below `folder`, unless it is there already."""
    target = Path(folder) / image_path(image)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        partial.write_bytes(image)
        os.replace(partial, target)


def format_row(record: Record) -> str:
    """One line of a JSONL file, with its line feed."""
    return json.dumps(to_row(record), ensure_ascii=False, allow_nan=False) + "\n"


def write_jsonl(path: str | Path, records: Iterable[Record]) -> int:
    """Write records and their images; returns how many. The file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    count = 0
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            for record in records:
                if record.image is not None:
                    write_image(record.image, path.parent)
                file.write(format_row(record))
                count += 1
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return count
