"""`onevision data`: look at data sets."""

from argparse import Namespace
from typing import Any

from onevision_jax.cli import data_show


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "data", description="Look at data sets.", epilog=data_show.EXAMPLE
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    data_show.register(actions)


def run(args: Namespace) -> int:
    """The action's own function."""
    return args.run(args)
