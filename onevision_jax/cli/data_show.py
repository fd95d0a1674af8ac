"""`onevision data stats` and `data show`: what a data set holds, how a packed row looks."""

import argparse
import contextlib
import itertools
import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EXAMPLE = """examples:
  onevision data stats data/synth --tokens-per-row 2048 --out stats
  onevision data show data/synth --row 3 --out row.png --tokens-per-row 1024"""


def register(actions: Any) -> None:
    """Add the parsers of both actions."""
    stats = actions.add_parser(
        "stats",
        help="counts, token lengths, image sizes, packing efficiency",
        description="Read and encode every record as training would, and say what there is.\n"
        "Writes DIR/stats.json and DIR/stats.html.",
        epilog=EXAMPLE,
    )
    _add_common(stats)
    stats.add_argument("--out", type=Path, metavar="DIR", help="folder for stats.json, stats.html")
    stats.add_argument("--rows-per-batch", type=count, default=8, metavar="B", help="default 8")
    stats.set_defaults(run=run_stats)
    show = actions.add_parser(
        "show",
        help="a packed row as a picture",
        description="Draw one packed row: the strip of tokens, positions, and every segment's\n"
        "image beside its text. Rows are packed in the order of the files.",
        epilog=EXAMPLE,
    )
    _add_common(show)
    show.add_argument("--row", type=whole, default=0, metavar="N", help="from 0 (default 0)")
    show.add_argument("--out", type=Path, required=True, metavar="F.png", help="file to write")
    show.set_defaults(run=run_show)


def _add_common(parser: Any) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="a data set's folder or JSONL file")
    add(
        "--checkpoint",
        "--tokenizer",
        metavar="D",
        help="model folder or checkpoint with the processor (default: learnt from the data)",
    )
    add("--tokens-per-row", type=count, default=8192, metavar="N", help="default 8192")
    add(
        "--patch-budgets",
        type=budgets,
        default=(0, 2560, 5120, 7680, 10240),
        metavar="A,B",
        help="default 0,2560,5120,7680,10240",
    )
    add("--limit", type=count, metavar="N", help="so many records, spread evenly over the data")


def whole(text: str) -> int:
    """A whole number from 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def count(text: str) -> int:
    """A whole number from 1."""
    if whole(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def budgets(text: str) -> tuple[int, ...]:
    """Whole numbers between commas."""
    return tuple(whole(word.strip()) for word in text.split(","))


def run_stats(args: Namespace) -> int:
    """Print a table; write the JSON and the page."""
    from onevision_jax.data.packing import Packing
    from onevision_jax.data.summary import summarise
    from onevision_jax.report.data import data_page

    packing = Packing(args.tokens_per_row, args.patch_budgets)
    with opened(args) as (source, processor, said):
        summary = {"data": args.data, "processor": said}
        summary |= summarise(source, processor, packing, args.rows_per_batch)
    for line in lines(summary):
        print(line)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
        (args.out / "stats.json").write_text(text, encoding="utf-8")
        title = f"Data: {args.data}"
        (args.out / "stats.html").write_text(data_page(title, summary), encoding="utf-8")
        print(f"wrote {args.out / 'stats.json'} and {args.out / 'stats.html'}")
    return 0


def run_show(args: Namespace) -> int:
    """Pack up to the row that is asked for, draw it."""
    from onevision_jax.data.packing import Packing
    from onevision_jax.data.pipeline import Pipeline
    from onevision_jax.data.settings import PipelineConfig
    from onevision_jax.errors import InputError
    from onevision_jax.report.packed_row import draw_row

    if args.out.suffix.lower() != ".png":
        raise InputError(f"--out is {str(args.out)!r}; give the name of a .png file")
    packing = Packing(args.tokens_per_row, args.patch_budgets)
    config = PipelineConfig(
        packing=packing, rows_per_batch=1, num_shards=1, shuffle=False, num_epochs=1
    )
    with opened(args) as (source, processor, said):
        with contextlib.closing(Pipeline(source, processor, config).batches()) as batches:
            batch = next(itertools.islice(batches, args.row, None), None)
            if batch is None:
                raise InputError(
                    f"--row is {args.row}, but the data give {batches.num_batches} rows"
                )
        image = draw_row(batch, 0, processor)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    image.save(args.out)
    print(f"wrote {args.out}: row {args.row}; {said}")
    return 0


@contextlib.contextmanager
def opened(args: Namespace) -> Iterator[tuple[Any, Any, str]]:
    """The source, the processor, and where the latter comes from."""
    from onevision_jax.data.opening import Some, open_path, write_stand_in
    from onevision_jax.processor import Processor

    source = open_path(args.data)
    if args.limit:
        source = Some(source, args.limit)
    if args.checkpoint:
        from onevision_jax.convert import read_assets_folder

        folder = read_assets_folder(args.checkpoint)
        yield source, Processor.from_folder(folder), f"processor of {args.checkpoint}"
        return
    with tempfile.TemporaryDirectory() as name:
        write_stand_in(source, Path(name))
        yield source, Processor.from_folder(name), "tokenizer learnt from these texts"


def lines(summary: dict[str, Any]) -> Iterator[str]:
    """What the console shows."""
    from onevision_jax.data.summary import HEADER, length_rows

    for name in ("records", "usable", "with image", "text only", "images shrunk to fit a row"):
        yield f"{name:28}{summary[name]:>12,}"
    for why, number in summary["dropped"]["counts"].items():
        yield f"{'dropped: ' + why:28}{number:>12,}   {summary['dropped']['first'][why]}"
    for name, found in summary["counts"].items():
        yield ""
        yield name.replace("_", " ")
        for value, number in found.items():
            yield f"  {value[:60]:26}{number:>12,}"
    yield ""
    yield f"{HEADER[0]:18}" + "".join(f"{word:>9}" for word in HEADER[1:])
    for row in length_rows(summary):
        yield f"{row[0]:18}" + "".join(f"{value:>9,}" for value in row[1:])
    packing = summary["packing"]
    yield ""
    yield (
        f"packed into {packing['rows']:,} rows of {packing['tokens_per_row']:,} tokens: "
        f"{packing['tokens']:.1%} of the tokens, {packing['patches']:.1%} of the patches used"
    )
    yield f"({summary['processor']})"
