"""`onevision convert`: weights between Hugging Face folders and checkpoints."""

import argparse
import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

EXAMPLE = """examples:
  onevision convert from-hf Qwen2.5-VL-3B-Instruct checkpoints/3b
  onevision convert to-hf runs/sft exported --dtype bfloat16"""
DTYPES = ("float32", "bfloat16", "float16")
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]I?B)?", re.IGNORECASE)
LINE_EVERY = 10.0  # seconds between lines where there is no terminal for a bar


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "convert",
        description="Copy weights between a Hugging Face folder (safetensors) and a checkpoint.\n"
        "Memory stays near the largest stacked tensor; config, tokenizer and processor\n"
        "files are carried along; the target appears whole or not at all.",
        epilog=EXAMPLE,
    )
    directions = parser.add_subparsers(dest="direction", metavar="DIRECTION", required=True)
    add = directions.add_parser
    inward = add("from-hf", help="Hugging Face folder -> checkpoint", epilog=EXAMPLE)
    inward.add_argument("source", metavar="HF_DIR", help="folder with config.json and safetensors")
    inward.add_argument("target", metavar="CKPT", help="checkpoint to write")
    outward = add("to-hf", help="checkpoint -> Hugging Face folder", epilog=EXAMPLE)
    outward.add_argument("source", metavar="CKPT", help="checkpoint, or workdir (its latest step)")
    outward.add_argument("target", metavar="HF_DIR", help="folder to write")
    outward.add_argument(
        "--layout",
        choices=("hub", "transformers"),
        default="hub",
        help="names of the tensors: as in files on the Hub (default), or as in the state_dict of "
        "transformers since 4.52; transformers reads both",
    )
    outward.add_argument(
        "--max-shard-size",
        type=parse_size,
        default="5GB",
        metavar="SIZE",
        help="of one safetensors file, such as 500MB or 2GiB (default 5GB)",
    )
    for direction in (inward, outward):
        direction.add_argument(
            "--dtype", choices=DTYPES, help="of the weights (default: as stored)"
        )
        direction.add_argument(
            "--force", action="store_true", help="replace a target of the same kind"
        )


def run(args: Namespace) -> int:
    """Convert, with a progress bar on stderr and the sums on stdout."""
    import jax

    # Weights pass through host memory only; an accelerator would be claimed for nothing.
    jax.config.update("jax_platforms", "cpu")

    from onevision_jax.convert import from_hf, to_hf
    from onevision_jax.convert.progress import PeakMemory

    settings: dict[str, Any] = {"dtype": args.dtype, "force": args.force}
    if args.direction == "to-hf":
        settings |= {"layout": args.layout, "max_shard_bytes": args.max_shard_size}
    convert = from_hf if args.direction == "from-hf" else to_hf
    with PeakMemory() as memory, shown_progress() as progress:
        report = convert(args.source, args.target, progress=progress, **settings)
    for note in report.notes:
        print(f"note: {note}")
    print(f"wrote        {args.target}")
    print(f"tensors      {report.tensors:,}")
    print(f"parameters   {report.parameters:,}")
    print(f"bytes        {report.bytes:,}")
    print(f"seconds      {report.seconds:.1f}")
    print(f"rate         {report.bytes / report.seconds / 1e6:.0f} MB/s")
    peak = "not known on this system" if memory.bytes is None else f"{memory.bytes / 1e6:,.0f} MB"
    print(f"peak memory  {peak}")
    return 0


def parse_size(text: str) -> int:
    """Bytes from `500MB`, `2GiB` or a plain number."""
    match = SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * UNITS[(match[2] or "").upper()]) if match else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 500MB, 5GB or 2GiB")
    return size


@contextmanager
def shown_progress() -> Iterator[Callable[[int, int, str], None]]:
    """Yields what to call after each tensor: a bar with rate and time left, or lines of text."""
    from rich import progress as rich_progress
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield line_printer()
        return
    columns = (
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.description}"),
    )
    with rich_progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, name: bar.update(
            task, completed=done, total=total, description=name
        )


def line_printer() -> Callable[[int, int, str], None]:
    """Prints a line to stderr every ten seconds: done, rate, time left."""
    start = last = time.monotonic()

    def show(done: int, total: int, name: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_EVERY:
            return
        last = now
        rate = done / (now - start)
        print(
            f"{done / 1e9:.2f} of {total / 1e9:.2f} GB, {rate / 1e6:.0f} MB/s, "
            f"{(total - done) / rate:.0f} s left ({name})",
            file=sys.stderr,
            flush=True,
        )

    return show
