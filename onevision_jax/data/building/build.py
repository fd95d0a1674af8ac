"""Builds a data set: {train,validation,test}/*.arrayrecord, rejects.jsonl, card.json, card.html.

Workers read, clean and decode; this process compares, in the order of the mixture, and writes. So
the bytes of every file are the same for any number of workers. (Another version of the compressor
may write the same records to other bytes.) A few chunks a worker are under way at a time: memory
does not grow with the data but for some 50 bytes a record, by which duplicates are known. All is
written to `.NAME.partial` beside the target and renamed at the end: a target that exists is
complete, and a build that was killed starts again from nothing.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import IO, Any

from onevision_jax.data import remote
from onevision_jax.data.building.card import Card
from onevision_jax.data.building.compare import Benchmarks, Duplicates, Splits
from onevision_jax.data.building.examine import CHUNK, Kept, Refused, examine, refuse
from onevision_jax.data.building.settings import BuildSettings, open_all
from onevision_jax.data.building.write import Shards, write_reject
from onevision_jax.data.record import Split
from onevision_jax.data.source import Rejected
from onevision_jax.data.sources.array_record import pack, unpack
from onevision_jax.data.sources.mixed import MixedSource
from onevision_jax.data.synthetic.build import appearing, die_with_parent
from onevision_jax.errors import InputError

AHEAD = 3  # chunks under way for each worker
POOL_FROM = 1000  # rows from which starting processes pays

Progress = Callable[[int, int], None]  # rows done, rows in all
Render = Callable[[dict[str, Any]], str]  # the page of a card


@dataclasses.dataclass(frozen=True)
class BuildSummary:
    """What was written."""

    rows: int
    splits: Mapping[Split, int]
    files: int
    repairs: dict[str, int]
    rejects: dict[str, int]
    first: dict[str, str]  # complaint of each reason


def build_dataset(
    out: str | Path,
    settings: BuildSettings,
    workers: int = 1,
    progress: Progress | None = None,
    render: Render | None = None,
) -> BuildSummary:
    """Writes the data set to the folder `out`, which must be absent or empty.

    Raises InputError for sources that cannot be read as what they are said to be, and when no
    record is left.
    """
    mixture = open_all(settings)
    total = len(mixture)
    if not total:
        raise InputError("the sources have no rows; give one that is not empty")
    benchmarks = Benchmarks(settings.benchmarks)
    with _target(os.fspath(out)) as folder:
        card = Card(settings)
        with (
            contextlib.closing(Splits()) as splits,
            (folder / "rejects.jsonl").open("w", encoding="ascii", newline="\n") as rejects,
            Shards(folder, settings.shard_bytes) as shards,
            contextlib.closing(examine_all(mixture, settings, workers)) as chunks,
        ):
            writing = _Writing(settings, benchmarks, splits, card, shards, rejects)
            for chunk in chunks:
                for found in chunk:
                    writing.take(found)
                if progress:
                    progress(card.rows, total)
        if not card.written:
            reason, count = next(iter(card.rejected.items()))
            raise InputError(
                f"no record is left: {count:,} of {total:,} rows were refused as {reason!r}, "
                f"first {card.first(reason)}"
            )
        numbers = card.to_json(benchmarks.count)
        text = json.dumps(numbers, indent=2)
        (folder / "card.json").write_text(text + "\n", encoding="utf-8")
        if render:
            (folder / "card.html").write_text(render(numbers), encoding="utf-8")
    return BuildSummary(
        rows=card.rows,
        splits=dict(shards.counts),
        files=sum(shards.files.values()),
        repairs=numbers["repairs"],
        rejects=card.rejected,
        first={reason: card.first(reason) for reason in card.rejected},
    )


@contextlib.contextmanager
def _target(out: str) -> Iterator[Path]:
    """The folder to write, which appears at `out` when all is there: moved, or sent to a store."""
    out = remote.plain(out)
    with contextlib.ExitStack() as stack:
        if remote.is_remote(out):
            place = stack.enter_context(remote.sent_to(out))
        else:
            place = Path(out).resolve()
        yield stack.enter_context(appearing(place))


class _Writing:
    """Compares records with those before them, and writes what stays."""

    def __init__(
        self,
        settings: BuildSettings,
        benchmarks: Benchmarks,
        splits: Splits,
        card: Card,
        shards: Shards,
        rejects: IO[str],
    ):
        self._settings, self._benchmarks, self._card = settings, benchmarks, card
        self._splits, self._shards, self._rejects = splits, shards, rejects
        self._duplicates = Duplicates()
        self._ids: set[int] = set()
        self._repeats: dict[int, int] = {}  # how often an id was given, where more than once

    def take(self, found: Kept | Refused) -> None:
        """One row, in its turn."""
        if isinstance(found, Kept):
            try:
                self._benchmarks.check(found)
                self._duplicates.check(found)
                found = dataclasses.replace(found, split=self._splits.place(found))
            except Rejected as rejected:
                rejected.id = found.record.id
                found = refuse(found.source, found.where, rejected)
        if isinstance(found, Refused):
            self._card.refuse(found)
            write_reject(self._rejects, found, self._settings.sources[found.source].name)
            return
        entry, repairs = found.entry, found.repairs
        id = self._new_id(found.record.id)
        if id != found.record.id:
            entry = pack(dataclasses.replace(unpack(entry), id=id))
            repairs = (*repairs, "id doubled")
        self._shards.write(found.split, entry)
        self._card.keep(found, repairs)

    def _new_id(self, id: str) -> str:
        """The id, or with a number behind it when it was given before."""
        new, key = id, hash_of(id)
        while hash_of(new) in self._ids:
            self._repeats[key] = self._repeats.get(key, 1) + 1
            new = f"{id}#{self._repeats[key]}"
        self._ids.add(hash_of(new))
        return new


def hash_of(id: str) -> int:
    """64 bits, the same in every run."""
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest())


def examine_all(
    mixture: MixedSource, settings: BuildSettings, workers: int
) -> Generator[list[Kept | Refused]]:
    """All chunks in order, a bounded number of them under way."""
    one = functools.partial(examine, mixture, settings)
    starts = iter(range(0, len(mixture), CHUNK))
    if workers == 1 or len(mixture) < POOL_FROM:
        yield from map(one, starts)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=die_with_parent)
    waiting: collections.deque[Future[list[Kept | Refused]]] = collections.deque()
    try:
        for start in starts:
            waiting.append(pool.submit(one, start))
            if len(waiting) >= workers * AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
