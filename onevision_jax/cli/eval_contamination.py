"""`onevision eval contamination`: which rows of a benchmark a training set holds."""

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

EXAMPLE = """example:
  onevision eval contamination --task generic --data test.jsonl --training train.jsonl --out seen"""
LINE_EVERY = 5.0  # seconds


def register(actions: Any, tasks: Sequence[str]) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "contamination",
        help="rows that a training set holds",
        description="Hold every row of a benchmark against training files: runs of words of the\n"
        "question, the image file, and images that look the same. Writes contamination.json.",
        epilog=EXAMPLE,
    )
    add = parser.add_argument
    add("--task", required=True, choices=tasks, help="of the benchmark")
    add("--data", required=True, type=Path, metavar="PATH", help="its file")
    add("--training", required=True, type=Path, nargs="+", metavar="FILE", help="JSONL of records")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for contamination.json")
    add("--limit", type=int, metavar="N", help="only the first N rows of the benchmark")
    add("--words", type=int, default=8, metavar="N", help="of a run (default 8)")
    add("--share", type=float, default=0.7, help="of a question's runs (default 0.7)")
    add("--distance", type=int, default=10, metavar="BITS", help="between hashes (default 10)")
    add("--correlation", type=float, default=0.98, help="of thumbnails (default 0.98)")
    parser.set_defaults(perform=run)


def run(args: Namespace) -> int:
    """Search, print the counts, write the file."""
    from onevision_jax.errors import InputError
    from onevision_jax.evaluation import TASKS, read_task
    from onevision_jax.evaluation.contamination import (
        ContaminationConfig,
        contamination_table,
        find_contamination,
        write_contamination,
    )

    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit is {args.limit}; give 1 or more")
    names = ("words", "share", "distance", "correlation")
    config = ContaminationConfig(**{name: getattr(args, name) for name in names})
    questions = read_task(TASKS[args.task], args.data, args.limit)
    found = find_contamination(questions, args.training, config, _progress())
    settings = {
        "task": args.task,
        "data": str(args.data),
        "training": [str(path) for path in args.training],
    }
    write_contamination(args.out, {**settings, **found})
    print("\n".join(contamination_table(found)))
    print(f"wrote {args.out / 'contamination.json'}")
    return 0


def _progress() -> Callable[[int, int], None]:
    """A line on stderr every few seconds: done, rate, time left."""
    begun = shown = 0.0

    def show(done: int, total: int) -> None:
        nonlocal begun, shown
        now = time.monotonic()
        begun, shown = begun or now, shown or now  # The benchmark has been read before the first.
        if now - shown < LINE_EVERY:
            return
        shown, rate = now, done / (now - begun)
        print(
            f"{done:,} of {total:,} training rows, {rate:.0f} rows/s, "
            f"{(total - done) / rate:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    return show
