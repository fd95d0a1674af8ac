"""Where records come from: random access by number, so that any process can read any of them.

A source is a frozen value with `__len__` and `__getitem__(i) -> Record`; a record that cannot be
read raises `Rejected`, which says why. Other layouts (ArrayRecord, parquet) need only these two.
"""

import collections
import dataclasses
import errno
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from onevision_jax.data.record import MAX_LINE_BYTES, Record, from_row, parse_row, read_image
from onevision_jax.data.remote import is_remote, local_copy, parent, plain
from onevision_jax.errors import InputError

Reason = Literal[
    "row",  # not a valid row
    "image file",  # the image's path, file or base64 text
    "image",  # cannot be decoded
    "text",  # the tokenizer or template refuses it
    "target",  # no usable response
    "too long",  # over the row's size
    # What cleaning finds in conversations.
    "turns",  # not one question and one response
    "images",  # not one image where one is spoken of
    "no question",  # nothing is left of it
    "tags",  # broken pairs of <think> or <answer>
    "no answer",  # none is stated
    "unclear answer",  # several, or one that cannot be told from the reasoning
    "not a choice",  # the answer is none of the choices
    "no reasoning",
    "residue",  # more text about the revision than reasoning
    # What `onevision data build` finds between records.
    "duplicate",
    "near duplicate",
    "benchmark image",
    "benchmark text",
]
"""Why a record was left out."""

MAX_MESSAGE = 240  # Characters kept of the first complaint of each reason.
# A disk or network that fails for a moment must stop the run, not thin out the data.
TRANSIENT = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}
_CHUNK = 1 << 24


class Rejected(InputError):
    """A record that is left out, and why."""

    def __init__(self, reason: Reason, message: str, id: str = ""):
        super().__init__(message)
        self.reason: Reason = reason
        self.id = id  # of the record; "" = not known

    def __reduce__(self):
        return Rejected, (self.reason, str(self), self.id)


class Place(NamedTuple):
    """Where a record lies."""

    file: str
    row: str  # "line 7", "row 7", counted from 1

    def __str__(self) -> str:
        return f"{self.file}, {self.row}"


class Source(Protocol):
    """Records by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Record: ...

    def fingerprint(self) -> Mapping[str, int]:
        """Numbers that change when the data do; a resumed run compares them."""
        ...


@dataclasses.dataclass(frozen=True)
class RecordSource:
    """Records held in memory."""

    records: Sequence[Record] = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    def fingerprint(self) -> dict[str, int]:
        return {"records": len(self), "bytes": sum(len(r.question) for r in self.records)}


@dataclasses.dataclass(frozen=True)
class JsonlSource:
    """The rows of JSONL files in the `Record` schema, one file after the other.

    Only where each line lies is kept in memory (16 bytes a row); rows and images are read when they
    are asked for. Blank lines do not count.
    """

    paths: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.paths, str | os.PathLike):
            object.__setattr__(self, "paths", (self.paths,))
        object.__setattr__(self, "paths", tuple(plain(path) for path in self.paths))
        check_files(self.paths)

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        """How many rows lie in each file and those before it."""
        return np.cumsum([len(line_table(*stamp(path))) for path in self.paths])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.paths else 0

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        path, (start, end, number) = self._find(index)
        where = f"{path}, line {number}"
        if end - start > MAX_LINE_BYTES:
            raise Rejected("row", f"{where}: longer than {MAX_LINE_BYTES >> 20} MiB")
        with open(local_copy(path), "rb") as stream:
            stream.seek(start)
            line = stream.read(end - start)
        return _record(line, parent(path), where)

    def locate(self, index: int) -> Place:
        """The file and row of a number."""
        path, (_, _, number) = self._find(index)
        return Place(path, f"line {number}")

    def _find(self, index: int) -> tuple[str, np.ndarray]:
        """The file of a record, and its row of the `line_table`."""
        file = int(np.searchsorted(self._ends, index, side="right"))
        before = self._ends[file - 1] if file else 0
        return self.paths[file], line_table(*stamp(self.paths[file]))[index - before]

    def fingerprint(self) -> dict[str, int]:
        return {"records": len(self), "bytes": sum(stamp(path)[1] for path in self.paths)}

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths}  # A worker finds the lines again by itself.


def _record(line: bytes, folder: str, where: str) -> Record:
    """A row's record; the image is read apart, so that its faults have their own reason."""
    id = ""
    try:
        row = parse_row(line)
        image = row.get("image")
        id = row["id"] if isinstance(row.get("id"), str) else ""
        record = from_row({**row, "image": None} if "image" in row else row, folder)
    except InputError as error:
        raise Rejected("row", f"{where}: {error}", id) from None
    if image is None:
        return record
    try:
        return dataclasses.replace(record, image=read_file(image, folder))
    except Rejected as rejected:
        raise Rejected(rejected.reason, f"{where}: {rejected}", id) from None


def read_file(name: Any, folder: str) -> bytes:
    """The image file `name` below `folder`; raises `Rejected`."""
    try:
        image = read_image(name, folder)
    except InputError as error:
        raise Rejected("image file", str(error)) from None
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links.
        if isinstance(error, OSError) and error.errno in TRANSIENT:
            raise
        raise Rejected("image file", f"field 'image' cannot be read ({error})") from None
    if not image:
        raise Rejected("image file", f"field 'image' names {name!r}, which is empty")
    return image


def check_files(paths: Iterable[str]) -> None:
    """Raises InputError for a local file that does not exist; a remote one says so when read."""
    for path in paths:
        if not is_remote(path) and not Path(path).is_file():
            raise InputError(f"data file {path!r} does not exist; check the path")


def stamp(path: str) -> tuple[str, int, int]:
    """(local path, bytes, time of change): what a file's tables are remembered by.

    A remote file is copied first, see `data.remote`.
    """
    path = local_copy(path)
    status = os.stat(path)
    return path, status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=256)
def line_table(path: str, size: int, modified: int) -> np.ndarray:
    """int64 [rows, 3]: start, end and line number (from 1) of each line that is not blank."""
    del modified  # Only part of the key: a file that changed is scanned again.
    breaks = []
    with open(path, "rb") as stream:
        for start in range(0, size, _CHUNK):
            chunk = np.frombuffer(stream.read(_CHUNK), np.uint8)
            breaks.append(np.flatnonzero(chunk == ord("\n")) + start)
        ends = np.concatenate([*breaks, np.array([size])]).astype(np.int64)
        starts = np.concatenate([[0], ends[:-1] + 1])
        filled = ends > starts
        for short in np.flatnonzero(filled & (ends - starts < 64)):
            stream.seek(starts[short])
            filled[short] = bool(stream.read(ends[short] - starts[short]).strip())
    numbers = np.arange(1, len(ends) + 1)
    return np.stack([starts, ends, numbers], axis=1)[filled]


@dataclasses.dataclass
class Tally:
    """How many records were left out for each reason, with the first complaint of each."""

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    first: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, rejected: Rejected) -> None:
        self.counts[rejected.reason] = self.counts.get(rejected.reason, 0) + 1
        self.first.setdefault(rejected.reason, str(rejected)[:MAX_MESSAGE])

    def total(self) -> int:
        return sum(self.counts.values())

    @classmethod
    def sum(cls, tallies: Iterable["Tally"]) -> "Tally":
        """Several together; the first complaints are those of the earliest."""
        counts: collections.Counter[str] = collections.Counter()
        first: dict[str, str] = {}
        for tally in tallies:
            counts.update(tally.counts)
            first = {**tally.first, **first}
        return cls(dict(counts), first)

    def copy(self) -> "Tally":
        return Tally(dict(self.counts), dict(self.first))

    def to_json(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "first": dict(self.first)}

    def __str__(self) -> str:
        return "; ".join(f"{n} x {why} ({self.first[why]})" for why, n in self.counts.items())
