"""`onevision synth`: rendered examples with exact formal text, reasoning and answers."""

import argparse
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from onevision_jax.errors import InputError

EXAMPLE = """examples:
  onevision synth --out data/synth --num 30000 --seed 0
  onevision synth --out data/hard --num 6000 --seed 1 --difficulty 3 --families circuits,geometry"""
LINE_EVERY = 5.0  # seconds between lines where there is no terminal for a bar
MAX_PROCESSES = 16


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "synth",
        description="Draw charts, circuits, molecules, pedigrees and other figures, with exact\n"
        "formal text, a question, worked reasoning and an answer. Writes DIR/train.jsonl,\n"
        "validation.jsonl, test.jsonl, images/ and card.json; same seed, same bytes.",
        epilog=EXAMPLE,
    )
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder to write: absent or empty")
    add("--num", required=True, type=parse_count, metavar="N", help="examples, all splits together")
    add("--seed", type=parse_seed, default=0, metavar="S", help="whole number (default 0)")
    add(
        "--families",
        type=parse_families,
        metavar="A,B",
        help="of charts, tables, circuits, flowcharts, geometry, scenes, molecules, pedigrees, "
        "foodwebs, matrices (default: all)",
    )
    add(
        "--difficulty", type=int, choices=(0, 1, 2, 3), default=1, help="default 1; 0: 1 held still"
    )
    add(
        "--size",
        type=parse_count,
        metavar="PX",
        help="side of the images in pixels, at least and by default 84, 168 or 280 "
        "at difficulty 0 or 1, 2, 3",
    )
    add(
        "--processes",
        type=parse_count,
        metavar="P",
        help="that draw (default: one a core); the result does not depend on it",
    )


def run(args: Namespace) -> int:
    """Draw, with progress on stderr and the table on stdout."""
    from onevision_jax.data.synthetic.build import SynthSettings, build

    chosen = {} if args.families is None else {"families": args.families}
    settings = SynthSettings(
        num=args.num, seed=args.seed, difficulty=args.difficulty, size=args.size, **chosen
    )
    processes = args.processes or min(os.cpu_count() or 1, MAX_PROCESSES)
    start = time.monotonic()
    with shown_progress() as progress:
        summary = build(args.out, settings, processes, progress)
    seconds = time.monotonic() - start
    for line in format_table(summary.counts):
        print(line)
    print(f"wrote       {summary.written:,} examples to {args.out}")
    print(f"duplicates  {summary.duplicates:,} dropped: their image came before")
    print(f"seconds     {seconds:.1f} ({settings.num / seconds:,.0f} images/s)")
    return 0


def parse_count(text: str) -> int:
    """A whole number above 0."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def parse_seed(text: str) -> int:
    """A whole number from 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def parse_families(text: str) -> tuple[str, ...]:
    """Known family names between commas."""
    from onevision_jax.data.synthetic.build import check_families

    names = tuple(name.strip() for name in text.split(","))
    try:
        check_families(names)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names


def format_table(counts: dict[tuple[str, str, Any], int]) -> list[str]:
    """Counts by family and tier, a column for each split, and the sums."""
    splits = ("train", "validation", "test")
    rows = sorted({(family, tier) for family, tier, _ in counts})
    lines = [f"{'family':<12}{'tier':<14}" + "".join(f"{split:>12}" for split in splits)]
    for family, tier in rows:
        cells = "".join(f"{counts.get((family, tier, split), 0):>12,}" for split in splits)
        lines.append(f"{family:<12}{tier:<14}{cells}")
    sums = [sum(n for (_, _, place), n in counts.items() if place == split) for split in splits]
    return [*lines, f"{'all':<26}" + "".join(f"{total:>12,}" for total in sums)]


@contextmanager
def shown_progress(things: str = "images") -> Iterator[Callable[[int, int], None]]:
    """Yields what to call after each piece: a bar with rate and time left, or lines of text."""
    from rich import progress as rich_progress
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield line_printer(things)
        return
    columns = (
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}"),
        rich_progress.TimeRemainingColumn(),
    )
    start = time.monotonic()
    with rich_progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, rate="")

        def show(done: int, total: int) -> None:
            rate = f"{done / max(time.monotonic() - start, 1e-9):,.0f} {things}/s"
            bar.update(task, completed=done, total=total, rate=rate)

        yield show


def line_printer(things: str) -> Callable[[int, int], None]:
    """Prints a line to stderr every few seconds: done, rate, time left."""
    start = last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_EVERY:
            return
        last = now
        rate = done / (now - start)
        print(
            f"{done:,} of {total:,} {things}, {rate:,.0f}/s, {(total - done) / rate:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    return show
