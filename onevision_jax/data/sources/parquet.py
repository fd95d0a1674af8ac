"""Rows of parquet files by number, through pyarrow (the extra `parquet`).

A row is read with its row group, and the last two groups are kept: reading in order is fast, and
memory holds two groups (of published data sets: 100 to 1,000 rows each). Reading at random reads a
group a row; for training, `onevision data build` writes ArrayRecord.
"""

import dataclasses
import functools
import importlib
from typing import Any

import numpy as np

from onevision_jax.data.remote import parent
from onevision_jax.data.source import TRANSIENT, Place, Rejected, stamp
from onevision_jax.data.sources.files import place
from onevision_jax.errors import InputError


def _parquet() -> Any:
    """The module pyarrow.parquet, imported when it is needed."""
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(
            "reading parquet needs pyarrow; run pip install 'onevision-jax[parquet]'"
        ) from None


@dataclasses.dataclass(frozen=True)
class ParquetRows:
    """The rows of files, one file after the other, with the columns that are there."""

    paths: tuple[str, ...]
    columns: tuple[str, ...]

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([_group_ends(*stamp(path))[-1] for path in self.paths])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def locate(self, index: int) -> Place:
        """The file and row of a number."""
        file, row = place(self._ends, index)
        return Place(self.paths[file], f"row {row + 1}")

    def read(self, index: int) -> dict[str, Any]:
        """The values of a row; raises `Rejected` when its row group is damaged."""
        file, row = place(self._ends, index)
        at = stamp(self.paths[file])
        group, within = place(_group_ends(*at)[1:], row)
        try:
            table = _row_group(*at, group, self.columns)
            return {name: table.column(name)[within].as_py() for name in table.column_names}
        except (ValueError, OSError, RuntimeError, NotImplementedError) as error:  # Arrow's own.
            if isinstance(error, OSError) and error.errno in TRANSIENT:
                raise
            raise Rejected("row", f"cannot be read ({' '.join(str(error).split())})") from None

    def folder(self, index: int) -> str:
        """Where the row's file lies."""
        return parent(self.locate(index).file)

    def fingerprint(self) -> dict[str, int]:
        return {"records": len(self), "bytes": sum(stamp(path)[1] for path in self.paths)}

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "columns": self.columns}


@functools.lru_cache(maxsize=256)
def _group_ends(path: str, size: int, modified: int) -> np.ndarray:
    """int64 [row groups + 1]: 0, then the rows of each group and those before it."""
    del size, modified  # Only part of the key.
    with _opened(path) as file:
        data = file.metadata
        counts = [data.row_group(group).num_rows for group in range(data.num_row_groups)]
    return np.cumsum([0, *counts])


@functools.lru_cache(maxsize=2)
def _row_group(path: str, size: int, modified: int, group: int, columns: tuple[str, ...]) -> Any:
    del size, modified
    with _opened(path) as file:
        present = [name for name in columns if name in file.schema_arrow.names]
        return file.read_row_group(group, columns=present, use_threads=False)


def _opened(path: str) -> Any:
    parquet = _parquet()
    try:
        return parquet.ParquetFile(path)
    except (ValueError, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in TRANSIENT:
            raise
        said = " ".join(str(error).split())
        raise InputError(f"data file {path!r} is no readable parquet ({said})") from None
