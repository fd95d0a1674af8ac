"""`onevision report`: one HTML page of a run or an evaluation."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

EXAMPLE = """examples:
  onevision report runs/sft_debug
  onevision report runs/scores --out scores.html
  onevision report runs/scores --baseline before=runs/before --baseline paper=paper.json"""


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "report",
        description="Write one HTML file that needs nothing else: the curves of a run, its\n"
        "settings and sampled completions, or the scores and answers of an evaluation.",
        epilog=EXAMPLE,
    )
    parser.add_argument("folder", type=Path, metavar="D", help="folder of a run or an evaluation")
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="scores to show beside: an evaluation's folder, its results.json, or a JSON file\n"
        'like {"accuracy": 0.32, "by": {"tier": {"college": 0.25}}}; repeat for several',
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="page to write (default D/report.html)"
    )


def run(args: Namespace) -> int:
    """Make the page, then put it in its place."""
    from onevision_jax.errors import InputError
    from onevision_jax.report import run_report

    out = args.folder / "report.html" if args.out is None else args.out
    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file")
    write_whole(out, run_report(args.folder, args.baseline))
    print(f"wrote {out}")
    return 0


def write_whole(path: Path, text: str) -> None:
    """The file appears whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
