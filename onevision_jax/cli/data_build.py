"""`onevision data build`: published data sets, cleaned and compared, as ArrayRecord shards."""

import argparse
import os
from argparse import Namespace
from typing import Any

from onevision_jax.cli.synth import parse_count, shown_progress

EXAMPLE = """examples:
  onevision data build --source r1-onevision:R1-Onevision/data --out data/r1
  onevision data build --source r1-onevision:r1.parquet,3 --source synth:data/synth/train.jsonl,1 \\
      --benchmark bench/mathvision.jsonl --out data/mixed
  onevision data build --source tfds:clevr:train --out gs://bucket/clevr
  onevision sft --config configs/sft_3b.py --config.data=data/r1/train --workdir runs/sft"""
MAX_WORKERS = 16


def register(actions: Any) -> None:
    """Add the action's parser."""
    build = actions.add_parser(
        "build",
        help="import, clean and compare sources; write shards, rejects and a card",
        description="Import sources, clean them, drop duplicates and benchmark problems. Writes\n"
        "DIR/{train,validation,test}/*.arrayrecord, rejects.jsonl, card.json and card.html;\n"
        "same input, same bytes. A build that was killed leaves no DIR: start it again.",
        epilog=EXAMPLE,
    )
    add = build.add_argument
    add(
        "--source",
        required=True,
        action="append",
        type=parse_source,
        dest="sources",
        metavar="KIND:PATH[,WEIGHT]",
        help="file, folder or pattern, local or gs://, s3://; for tfds NAME[/CONFIG][:SPLIT]. KIND "
        "is r1-onevision, sharegpt, vlm-r1, jsonl, array-record, tfds or synth. Several times for "
        "several sources: without weights every row is taken, with weights rows in these "
        "proportions until one source is used up",
    )
    add(
        "--out", required=True, metavar="DIR", help="folder to write, absent or empty; may be gs://"
    )
    for split in ("validation", "test"):
        add(
            f"--{split}",
            type=parse_share,
            default=0.1,
            metavar="F",
            help="share of the images (default 0.1); 0 for none",
        )
    add(
        "--benchmark",
        action="append",
        default=[],
        dest="benchmarks",
        metavar="FILE",
        help="JSONL of problems (question, image) that must not get in; several times for more",
    )
    add(
        "--image-folder",
        metavar="DIR",
        help="where the paths of sharegpt and vlm-r1 start (default: beside their file)",
    )
    add("--tokenizer", metavar="DIR", help="checkpoint folder: count lengths in its tokens too")
    add(
        "--workers",
        type=parse_count,
        metavar="N",
        help="processes that read and decode (default: one a core); the result does not depend "
        "on it",
    )
    build.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Build, with progress on stderr and what was written on stdout."""
    from onevision_jax.data.building import BuildSettings, build_dataset
    from onevision_jax.report.dataset import dataset_page

    settings = BuildSettings(
        sources=tuple(args.sources),
        validation=args.validation,
        test=args.test,
        benchmarks=tuple(args.benchmarks),
        image_folder=args.image_folder,
        tokenizer=args.tokenizer,
    )
    workers = args.workers or min(os.cpu_count() or 1, MAX_WORKERS)
    with shown_progress("rows") as progress:
        summary = build_dataset(args.out, settings, workers, progress, dataset_page)
    for title, counts in (("repaired", summary.repairs), ("left out", summary.rejects)):
        for name, count in counts.items():
            first = f", first {summary.first[name]}" if title == "left out" else ""
            print(f"{title}    {count:>9,} {name}{first}")
    splits = ", ".join(f"{count:,} {split}" for split, count in summary.splits.items())
    print(f"wrote       {sum(summary.splits.values()):>9,} of {summary.rows:,} rows: {splits}")
    print(f"to          {args.out}: {summary.files} shards, rejects.jsonl, card.html")
    return 0


def parse_source(text: str) -> Any:
    """A `SourceSpec`."""
    from onevision_jax.data.building.settings import parse_spec
    from onevision_jax.errors import InputError

    try:
        return parse_spec(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_share(text: str) -> float:
    """A number from 0, below 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; give 0 or more, below 1")
    return share
