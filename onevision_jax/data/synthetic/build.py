"""Writes a data set of rendered examples: `{train,validation,test}.jsonl`, `images/`, `card.json`.

Example i of N is number i // F of family i mod F, a function of the seed alone; the order and the
bytes of every file are therefore the same for any number of processes. (Another build of Pillow may
compress the same pixels to other bytes, and so name and split them differently.) The split follows
from the image's hash; a picture that came before is dropped and counted. All is written to
`.NAME.partial` beside the target and renamed at the end: a target that exists is complete.
"""

import collections
import contextlib
import dataclasses
import difflib
import fcntl
import functools
import json
import multiprocessing
import shutil
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from onevision_jax import __version__
from onevision_jax.data.record import (
    SPLITS,
    Split,
    format_row,
    image_path,
    split_of,
    write_image,
)
from onevision_jax.data.synthetic import FAMILIES, SIDES, make_record
from onevision_jax.data.workers import die_with_parent
from onevision_jax.errors import InputError

MAX_SIZE = 2048  # pixels a side
CHUNK = 200  # examples a process draws at a time
POOL_FROM = 2000  # examples from which starting processes pays

Progress = Callable[[int, int], None]  # examples done, examples in all


def check_families(names: tuple[str, ...]) -> None:
    """Every name a known family, none twice."""
    for name in names:
        if name not in FAMILIES:
            close = difflib.get_close_matches(name, FAMILIES, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise InputError(f"there is no family {name!r} among {', '.join(FAMILIES)}{hint}")
    if not names or len(set(names)) < len(names):
        raise InputError(f"name one or more families, each once, not {','.join(names)!r}")


@dataclasses.dataclass(frozen=True)
class SynthSettings:
    """What to draw. Checked on construction; raises `InputError`."""

    num: int  # examples
    seed: int = 0
    families: tuple[str, ...] = tuple(FAMILIES)
    difficulty: int = 1  # 0, 1, 2 or 3
    size: int | None = None  # pixels a side; None = the least that is readable

    def __post_init__(self):
        check_families(self.families)
        if self.num < 1:
            raise InputError(f"the number of examples is {self.num}; give 1 or more")
        if self.difficulty not in SIDES:
            raise InputError(f"difficulty is {self.difficulty}; give 0, 1, 2 or 3")
        least = SIDES[self.difficulty]
        if self.size is not None and not least <= self.size <= MAX_SIZE:
            raise InputError(
                f"an image of {self.size} pixels a side is not drawn at difficulty "
                f"{self.difficulty}; give {least} to {MAX_SIZE}"
            )


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One row ready to be written; its image is stored already."""

    family: str
    tier: str
    split: Split
    image: str  # path below the folder
    line: str


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was written."""

    counts: dict[tuple[str, str, Split], int]  # by family, tier and split
    duplicates: int

    @property
    def written(self) -> int:
        """Rows in all."""
        return sum(self.counts.values())


def draw_range(settings: SynthSettings, folder: Path, start: int) -> list[Drawn]:
    """Draw a chunk of examples from `start` and store their images below `folder`."""
    drawn = []
    for i in range(start, min(start + CHUNK, settings.num)):
        index, family = divmod(i, len(settings.families))
        record = make_record(
            settings.families[family], settings.seed, index, settings.difficulty, settings.size
        )
        assert record.image is not None
        write_image(record.image, folder)
        name = settings.families[family]
        place = image_path(record.image)
        drawn.append(Drawn(name, record.tier, split_of(record), place, format_row(record)))
    return drawn


def draw_all(settings: SynthSettings, folder: Path, processes: int) -> Generator[list[Drawn]]:
    """All chunks in order."""
    draw = functools.partial(draw_range, settings, folder)
    starts = range(0, settings.num, CHUNK)
    if processes == 1:
        yield from map(draw, starts)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=die_with_parent)
    try:
        yield from pool.map(draw, starts)
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A folder beside `target` that becomes it at the end, or vanishes on failure.

    What a killed run left is thrown away; a run still at work on the same target is an error.
    """
    for place in (target, *target.parents):
        if place.exists() and not place.is_dir():
            raise InputError(f"{place} is a file; name a folder")
    if target.is_dir() and any(target.iterdir()):
        raise InputError(f"the folder {target} is not empty; choose another or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    lock_file = target.with_name(f".{target.name}.lock")
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another run is writing {target}; wait for it") from None
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            yield partial
            partial.rename(target)  # Replaces an empty folder.
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        finally:
            lock_file.unlink(missing_ok=True)


def build(
    out: str | Path, settings: SynthSettings, processes: int = 1, progress: Progress | None = None
) -> Summary:
    """Write the data set to the folder `out`, which must be absent or empty."""
    if settings.num < POOL_FROM:
        processes = 1
    counts: collections.Counter[tuple[str, str, Split]] = collections.Counter()
    seen: set[str] = set()
    done = 0
    with appearing(Path(out).resolve()) as folder, contextlib.ExitStack() as stack:
        (folder / "images").mkdir()
        files = {
            split: stack.enter_context(
                (folder / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n")
            )
            for split in SPLITS
        }
        chunks = stack.enter_context(contextlib.closing(draw_all(settings, folder, processes)))
        for chunk in chunks:
            for drawn in chunk:
                if drawn.image not in seen:
                    seen.add(drawn.image)
                    files[drawn.split].write(drawn.line)
                    counts[drawn.family, drawn.tier, drawn.split] += 1
            done += len(chunk)
            if progress:
                progress(done, settings.num)
        summary = Summary(dict(sorted(counts.items())), settings.num - len(seen))
        card = json.dumps(describe(settings, summary), indent=2)
        (folder / "card.json").write_text(card + "\n", encoding="utf-8")
        stack.close()  # Rows reach the disk before the folder gets its name.
    return summary


def describe(settings: SynthSettings, summary: Summary) -> dict[str, Any]:
    """The contents of `card.json`."""
    splits = dict.fromkeys(SPLITS, 0)
    for (_, _, split), count in summary.counts.items():
        splits[split] += count
    return {
        "made_by": f"onevision synth {__version__}",
        "licence": "CC0-1.0",
        **dataclasses.asdict(settings),
        "size": settings.size or SIDES[settings.difficulty],
        "written": summary.written,
        "duplicates_dropped": summary.duplicates,
        "splits": splits,
        "counts": [
            {"family": family, "tier": tier, "split": split, "count": count}
            for (family, tier, split), count in summary.counts.items()
        ],
    }
