"""`onevision data tfds`: a built data set as TensorFlow Datasets hold it, without tensorflow."""

from argparse import Namespace
from pathlib import Path
from typing import Any

EXAMPLE = """examples:
  onevision data tfds data/r1
  onevision data build --source tfds:r1_onevision/pictures:train --out data/again"""


def register(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "tfds",
        help="prepare the tfds data set r1_onevision from a built data set",
        description="What `tfds build r1_onevision` does, without tensorflow, which its command\n"
        "line needs. Writes DIR/r1_onevision/{pictures,text}/1.0.0, in ArrayRecord.",
        epilog=EXAMPLE,
    )
    parser.add_argument("data", metavar="DATA", help="folder that `onevision data build` wrote")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where tfds looks (default: $TFDS_DATA_DIR, else ~/tensorflow_datasets)",
    )
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Build both configs, say what there is."""
    import contextlib
    import sys

    from onevision_jax.data.tfds_builder.r1_onevision.r1_onevision_dataset_builder import prepare
    from onevision_jax.errors import InputError

    try:
        with contextlib.redirect_stdout(sys.stderr):  # What tfds says of its progress.
            made = prepare(args.data, args.data_dir)
    except ValueError as error:
        raise InputError(str(error)) from None
    if not made:
        raise InputError(f"{args.data} has no records; give what `onevision data build` wrote")
    for folder, counts in made:
        splits = ", ".join(f"{count:,} {split}" for split, count in counts.items())
        print(f"{folder}: {splits}")
    return 0
