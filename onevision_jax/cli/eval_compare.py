"""`onevision eval compare`: two results over the same questions, side by side."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

EXAMPLE = """example:
  onevision eval compare scores/sft scores/grpo --out scores/change"""


def register(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "compare",
        help="paired tests of two results",
        description="Paired differences, B minus A: Newcombe's interval, exact McNemar test,\n"
        "bootstrap by image, and every category with Holm's and Benjamini-Hochberg's correction.",
        epilog=EXAMPLE,
    )
    what = "folder of onevision eval, or a JSON file of booleans"
    parser.add_argument("a", type=Path, metavar="A", help=what)
    parser.add_argument("b", type=Path, metavar="B", help=what)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for compare.json")
    parser.add_argument("--json", action="store_true", help="print compare.json, not the table")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default 0)")
    parser.set_defaults(perform=run)


def run(args: Namespace) -> int:
    """Read both, compare, print, write."""
    from onevision_jax.errors import InputError
    from onevision_jax.evaluation.compare import compare, comparison_table, write_comparison
    from onevision_jax.evaluation.sides import read_side

    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}; give 0 or more")
    found = compare(read_side(args.a), read_side(args.b), seed=args.seed)
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(comparison_table(found)))
    if args.out is not None:
        write_comparison(args.out, found)
        if not args.json:
            print(f"wrote {args.out / 'compare.json'}")
    return 0
