"""Every layout records are read from, each by number."""

import os
from collections.abc import Sequence

from onevision_jax.data.record import SPLITS
from onevision_jax.data.remote import is_file, is_folder, join, plain
from onevision_jax.data.source import JsonlSource, Source
from onevision_jax.data.sources.array_record import ENDING, ArrayRecordSource
from onevision_jax.data.sources.files import find_files
from onevision_jax.data.sources.mixed import MixedSource
from onevision_jax.data.sources.tfds import PREFIX, TfdsSource, open_tfds
from onevision_jax.errors import InputError

__all__ = ["ArrayRecordSource", "MixedSource", "TfdsSource", "open_source"]


def open_source(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Source:
    """The records that training reads: JSONL files, ArrayRecord files, folders of either, patterns.

    Paths are local or of an object store (`data.remote`); `tfds:NAME:SPLIT` is a data set of TFDS.
    Files come one after the other, those of JSON lines first, data sets of TFDS last.
    Raises InputError when nothing is there, or when a folder holds splits that must stay apart.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    names = [os.fspath(path) for path in given]
    files = [file for name in names if not name.startswith(PREFIX) for file in _files(name)]
    shards = tuple(file for file in files if file.endswith(ENDING))
    lines = tuple(file for file in files if not file.endswith(ENDING))
    sources: list[Source] = [JsonlSource(lines)] * bool(lines)
    sources += [ArrayRecordSource(shards)] * bool(shards)
    sources += [open_tfds(name) for name in names if name.startswith(PREFIX)]
    return sources[0] if len(sources) == 1 else MixedSource(tuple(sources))


def _files(path: str) -> tuple[str, ...]:
    """The files of one path."""
    path = plain(path)
    if is_folder(path):
        for split in SPLITS:
            whole = is_folder(join(path, split))
            if whole or is_file(join(path, f"{split}.jsonl")):
                raise InputError(
                    f"{path!r} is a data set with its splits; name one, such as "
                    f"{join(path, split)}{'/' if whole else '.jsonl'}"
                )
    return find_files(path, (ENDING, ".jsonl"))
