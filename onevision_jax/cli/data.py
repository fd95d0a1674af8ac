"""`onevision data`: data sets built from published ones, and looked at."""

from argparse import Namespace
from typing import Any

from onevision_jax.cli import data_build, data_show, data_tfds


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "data", description="Data sets of records.", epilog=data_build.EXAMPLE
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    data_build.register(actions)
    data_show.register(actions)
    data_tfds.register(actions)


def run(args: Namespace) -> int:
    """The action's own function."""
    return args.run(args)
