"""The files of a data set: shards of ArrayRecord for each split, and the rejects."""

import json
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from onevision_jax.data.building.examine import Refused
from onevision_jax.data.record import SPLITS, Split
from onevision_jax.data.sources.array_record import ENDING, open_writer


class Shards:
    """`train/00000.arrayrecord`, ...: a new file where the next entry would exceed the size.

    A context: leaving it closes all files. Every split has a file, be it empty of records.
    """

    def __init__(self, folder: Path, shard_bytes: int):
        self._folder, self._most = folder, shard_bytes
        self._writers: dict[Split, Any] = {}
        self._filled: dict[Split, int] = {}
        self.counts: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        self.files: dict[Split, int] = dict.fromkeys(SPLITS, 0)

    def __enter__(self) -> "Shards":
        for split in SPLITS:
            (self._folder / split).mkdir()
            self._open(split)
        return self

    def write(self, split: Split, entry: bytes) -> None:
        """Adds an entry behind the last one of its split."""
        if self._filled[split] and self._filled[split] + len(entry) > self._most:
            self._writers[split].close()
            self._open(split)
        self._writers[split].write(entry)
        self._filled[split] += len(entry)
        self.counts[split] += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            if writer.is_open():
                writer.close()

    def _open(self, split: Split) -> None:
        name = self._folder / split / f"{self.files[split]:05d}{ENDING}"
        self._writers[split] = open_writer(name)
        self._filled[split] = 0
        self.files[split] += 1


def write_reject(file: IO[str], refused: Refused, source: str) -> None:
    """A line of the rejects file, in ASCII: an id may hold half of a surrogate pair."""
    path, _, line = refused.where.rpartition(", ")
    row = {
        "id": refused.id,
        "source": source,
        "file": path,
        "line": line,
        "reason": refused.reason,
        "message": refused.message,
    }
    file.write(json.dumps(row) + "\n")
