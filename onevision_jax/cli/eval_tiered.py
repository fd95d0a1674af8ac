"""`onevision eval make-tiered`: draws the education-tiered benchmark."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from onevision_jax.cli.synth import parse_count, parse_seed, shown_progress

EXAMPLE = """example:
  onevision eval make-tiered --out data/tiered --seed 0
  onevision eval run --task tiered --data data/tiered --checkpoint runs/sft --out scores"""


def register(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "make-tiered",
        help="draw the tiered benchmark: junior high to university, five subjects",
        description="Draw the education-tiered benchmark from the synthetic families: as many\n"
        "questions for every tier and subject, all of the test split, none of which any\n"
        "`onevision synth` trains on. Same seed, same bytes.",
        epilog=EXAMPLE,
    )
    add = parser.add_argument
    add("--out", required=True, type=Path, metavar="DIR", help="folder to write: absent or empty")
    add("--seed", type=parse_seed, default=0, metavar="S", help="whole number (default 0)")
    add("--num", type=parse_count, default=1000, metavar="N", help="questions (default 1000)")
    parser.set_defaults(perform=run)


def run(args: Namespace) -> int:
    """Draw, with progress on stderr and the counts on stdout."""
    from onevision_jax.evaluation.tiered import TieredSettings, make_tiered

    with shown_progress() as progress:
        card = make_tiered(args.out, TieredSettings(args.num, args.seed), progress)
    for cell in card["cells"]:
        families = ", ".join(f"{name} {count}" for name, count in sorted(cell["families"].items()))
        print(f"{cell['tier']:12} {cell['subject']:10} {cell['count']:5}  {families}")
    print(f"wrote {card['name']}, {card['num']:,} questions, to {args.out}")
    return 0
