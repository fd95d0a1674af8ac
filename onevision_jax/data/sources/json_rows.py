"""Rows of JSON files by number: one array of objects, or one object a line.

Only where each row lies is kept in memory (24 bytes a row), so files may be larger than memory.
"""

import dataclasses
import functools
import mmap
import re
from typing import Any

import numpy as np

from onevision_jax.data.record import parse_row
from onevision_jax.data.remote import local_copy, parent
from onevision_jax.data.source import Place, Rejected, line_table, stamp
from onevision_jax.data.sources.files import place
from onevision_jax.errors import InputError

MAX_ROW_BYTES = 96 * 2**20  # The largest image in base64, and its text.
# A string, a bracket, or a run of anything else but white space, commas and colons. Possessive:
# nothing is remembered for backtracking, so that a string of gigabytes costs no memory.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{]|[\]}]|[^\s,:\[\]{}"]++', re.DOTALL)
_BOM = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True)
class JsonRows:
    """The rows of files, one file after the other; each is an array or JSON lines."""

    paths: tuple[str, ...]

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([len(row_table(*stamp(path))) for path in self.paths])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def locate(self, index: int) -> Place:
        """The file and row of a number."""
        file, row = place(self._ends, index)
        table = row_table(*stamp(self.paths[file]))
        return Place(
            self.paths[file], f"{'row' if self._is_array(file) else 'line'} {table[row, 2]}"
        )

    def read(self, index: int) -> dict[str, Any]:
        """The object; raises `Rejected` when it is none."""
        file, row = place(self._ends, index)
        start, end, _ = row_table(*stamp(self.paths[file]))[row]
        if end - start > MAX_ROW_BYTES:
            raise Rejected("row", f"longer than {MAX_ROW_BYTES >> 20} MiB")
        with open(local_copy(self.paths[file]), "rb") as stream:
            stream.seek(start)
            text = stream.read(end - start)
        try:
            return parse_row(text)
        except InputError as error:
            raise Rejected("row", str(error)) from None

    def folder(self, index: int) -> str:
        """Where the row's file lies."""
        return parent(self.locate(index).file)

    def fingerprint(self) -> dict[str, int]:
        return {"records": len(self), "bytes": sum(stamp(path)[1] for path in self.paths)}

    def _is_array(self, file: int) -> bool:
        return _starts_array(*stamp(self.paths[file]))

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths}  # A worker finds the rows again by itself.


@functools.lru_cache(maxsize=256)
def row_table(path: str, size: int, modified: int) -> np.ndarray:
    """int64 [rows, 3]: start, end and number (from 1) of each row of a file."""
    if not _starts_array(path, size, modified):
        return line_table(path, size, modified)
    rows, depth, start = [], 0, 0
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for token in _TOKEN.finditer(data):
            first = data[token.start()]
            if first in b"[{":
                start = token.start() if depth == 1 else start
                depth += 1
            elif first in b"]}":
                depth -= 1
                if depth == 0:
                    break
            else:
                start = token.start() if depth == 1 else start
            if depth == 1 and start:  # An element has ended; the array's bracket is none.
                rows.append((start, token.end(), len(rows) + 1))
    if depth:
        raise InputError(f"data file {path!r} breaks off inside its array; fetch it again")
    return np.array(rows, np.int64).reshape(-1, 3)


@functools.lru_cache(maxsize=256)
def _starts_array(path: str, size: int, modified: int) -> bool:
    del size, modified  # Only part of the key.
    with open(path, "rb") as file:
        return file.read(4096).removeprefix(_BOM).lstrip()[:1] == b"["
