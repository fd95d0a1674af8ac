"""Which files a path of the command line names."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from onevision_jax.errors import InputError


def find_files(path: str, endings: Sequence[str]) -> tuple[str, ...]:
    """A file; what a glob pattern matches; or a folder's files, those in its folders included.

    A folder gives the files of the first of `endings` it has any of: parquet and not the notes in
    JSON beside it. The order is that of the names. Raises InputError when there is no such file.
    """
    if "://" in path:
        raise InputError(
            f"{path!r} is a remote path, and sources are read from local files; "
            "mount the bucket or copy it first"
        )
    if os.path.isfile(path):
        return (path,)
    if os.path.isdir(path):
        for ending in endings:
            found = sorted(map(str, _below(Path(path), ending)))
            if found:
                return tuple(found)
        raise InputError(
            f"folder {path!r} holds no file that ends in {' or '.join(endings)}; "
            "name the folder or file of a data set"
        )
    found = sorted(filter(os.path.isfile, glob.glob(path, recursive=True)))
    if not found:
        raise InputError(f"data file {path!r} does not exist; check the path")
    return tuple(found)


def _below(folder: Path, ending: str) -> Iterator[Path]:
    for path in folder.rglob(f"*{ending}"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def place(ends: np.ndarray, index: int) -> tuple[int, int]:
    """(file, place in it) of an index; ends [files]: rows of each file and those before it."""
    if not 0 <= index < (ends[-1] if len(ends) else 0):
        raise IndexError(f"record {index} of {ends[-1] if len(ends) else 0}")
    file = int(np.searchsorted(ends, index, side="right"))
    return file, int(index - (ends[file - 1] if file else 0))
