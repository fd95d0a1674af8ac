"""`onevision quickstart`: the whole pipeline on this machine, in minutes."""

from argparse import Namespace
from pathlib import Path
from typing import Any

EXAMPLE = """example:
  onevision quickstart --out runs/quickstart"""


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "quickstart",
        description="Draw images, train a small Qwen2.5-VL from nothing to turn them into formal\n"
        "text and answers (SFT, then GRPO), evaluate it with and without images, export it to\n"
        "Hugging Face's layout. Ten minutes on two idle cores. Writes DIR/results.json,\n"
        "DIR/report.html and DIR/hf; started again, it goes on where it stopped.",
        epilog=EXAMPLE,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/quickstart"),
        metavar="DIR",
        help="default %(default)s",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything (default 0)")


def run(args: Namespace) -> int:
    """Run it; the table comes last."""
    from onevision_jax.errors import InputError
    from onevision_jax.quickstart import QuickstartConfig, quickstart

    if not 0 <= args.seed < 2**31:
        raise InputError(f"--seed is {args.seed}; give a whole number from 0 below 2**31")
    config = QuickstartConfig(seed=args.seed)
    quickstart(args.out, config, lambda line: print(line, flush=True))
    return 0
