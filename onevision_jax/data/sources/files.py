"""Which files a path of the command line names."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onevision_jax.data import remote
from onevision_jax.errors import InputError


def find_files(path: str, endings: Sequence[str]) -> tuple[str, ...]:
    """A file; what a glob pattern matches; or a folder's files, those in its folders included.

    A folder gives the files of the first of `endings` it has any of: parquet and not the notes in
    JSON beside it. The order is that of the names. Raises InputError when there is no such file.
    """
    path = remote.plain(path)
    if remote.is_file(path):
        return (path,)
    if remote.is_folder(path):
        for ending in endings:
            found = _below(path, ending)
            if found:
                return tuple(found)
        raise InputError(
            f"folder {path!r} holds no file that ends in {' or '.join(endings)}; "
            "name the folder or file of a data set"
        )
    if remote.is_remote(path):
        found = remote.matches(path)
    else:
        found = sorted(filter(os.path.isfile, glob.glob(path, recursive=True)))
    if not found:
        raise InputError(f"data file {path!r} does not exist; check the path")
    return tuple(found)


def _below(folder: str, ending: str) -> list[str]:
    if remote.is_remote(folder):
        return [name for name in remote.list_below(folder) if name.endswith(ending)]
    files = (path for path in Path(folder).rglob(f"*{ending}") if path.is_file())
    parts = ((path, path.relative_to(folder).parts) for path in files)
    return sorted(str(path) for path, names in parts if not any(n[:1] == "." for n in names))


def place(ends: np.ndarray, index: int) -> tuple[int, int]:
    """(file, place in it) of an index; ends [files]: rows of each file and those before it."""
    if not 0 <= index < (ends[-1] if len(ends) else 0):
        raise IndexError(f"record {index} of {ends[-1] if len(ends) else 0}")
    file = int(np.searchsorted(ends, index, side="right"))
    return file, int(index - (ends[file - 1] if file else 0))
