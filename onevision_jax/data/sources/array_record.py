"""Records in ArrayRecord files, which any number of processes read at random places.

One entry is a record: the bytes `OVR1`, the length of the header (uint32, little endian), the
header (the JSON row of `Record` with `image` true or null), and the bytes of the encoded image.
"""

import dataclasses
import functools
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

# The stubs of this extension module are not shipped.
from array_record.python import (
    array_record_module,  # pyright: ignore[reportAttributeAccessIssue]
)

from onevision_jax.data.record import Record, from_row, parse_row, to_row
from onevision_jax.data.source import Place, Rejected, check_files, stamp
from onevision_jax.data.sources.files import place
from onevision_jax.errors import InputError

MAGIC = b"OVR1"
ENDING = ".arrayrecord"
# One record a group, as random access wants it. Images are compressed already, texts are not.
WRITER_OPTIONS = "group_size:1,zstd:3"
_HEAD = struct.Struct("<4sI")


def pack(record: Record) -> bytes:
    """The entry of a record."""
    row = {**to_row(dataclasses.replace(record, image=None)), "image": record.image is not None}
    header = json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    return _HEAD.pack(MAGIC, len(header)) + header + (record.image or b"")


def open_writer(path: str | Path) -> Any:
    """A writer with `write(entry)` and `close()`; both raise RuntimeError when the disk is full."""
    return array_record_module.ArrayRecordWriter(str(path), WRITER_OPTIONS)


def unpack(entry: bytes) -> Record:
    """The record of an entry; raises InputError when it is none of ours."""
    if len(entry) < _HEAD.size or not entry.startswith(MAGIC):
        raise InputError(f"the entry does not start with {MAGIC.decode()}: it is no record of ours")
    end = _HEAD.size + _HEAD.unpack_from(entry)[1]
    if end > len(entry):
        raise InputError("the entry ends inside its header")
    row = parse_row(entry[_HEAD.size : end])
    has_image = row.get("image")
    record = from_row({**row, "image": None}, "")
    if has_image is True:
        return dataclasses.replace(record, image=entry[end:])
    if has_image is not None and has_image is not False:
        raise InputError("field 'image' must be true or null")
    return record


@dataclasses.dataclass(frozen=True)
class ArrayRecordSource:
    """The records of ArrayRecord files, one file after the other."""

    paths: tuple[str, ...]

    def __post_init__(self) -> None:
        check_files(self.paths)

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([_reader(os.getpid(), *stamp(p)).num_records() for p in self.paths])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.paths else 0

    def __getitem__(self, index: int) -> Record:
        file, row = place(self._ends, index)
        where = self.locate(index)
        try:
            entry = _reader(os.getpid(), *stamp(self.paths[file])).read([row])[0]
        except (RuntimeError, ValueError, IndexError) as error:  # The library's: a damaged chunk.
            said = str(error).split(";")[0]
            raise Rejected("row", f"{where}: cannot be read ({said})") from None
        try:
            return unpack(entry)
        except InputError as error:
            raise Rejected("row", f"{where}: {error}") from None

    def locate(self, index: int) -> Place:
        """The file and row of a number."""
        file, row = place(self._ends, index)
        return Place(self.paths[file], f"row {row + 1}")

    def fingerprint(self) -> dict[str, int]:
        return {"records": len(self), "bytes": sum(stamp(path)[1] for path in self.paths)}

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths}  # A worker opens the files again by itself.


@functools.lru_cache(maxsize=1024)
def _reader(process: int, path: str, size: int, modified: int) -> Any:
    """An open file; it may be read by several threads. A forked process opens its own."""
    del process, size, modified  # Only part of the key.
    try:
        reader = array_record_module.ArrayRecordReader(
            path, options="readahead_buffer_size:0", file_reader_buffer_size=1 << 15
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(f"data file {path!r} cannot be opened ({error})") from None
    if not reader.ok():
        raise InputError(f"data file {path!r} is no ArrayRecord file, or is damaged")
    return reader
