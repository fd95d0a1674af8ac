"""`onevision bench data`: the input pipeline, ours beside torch's DataLoader with transformers."""

import argparse
import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def register(subjects: Any, example: str) -> None:
    """Add the subject's parser."""
    parser = subjects.add_parser(
        "data",
        help="the input pipeline, against a torch DataLoader with transformers",
        description="Decode, preprocess, tokenise and pack the same records as a torch DataLoader\n"
        "with transformers' processor does, interleaved in one run; count CPU time.",
        epilog=example,
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="a data set's folder or JSONL file")
    add("--checkpoint", metavar="D", help="processor files (default: learnt from the data)")
    add("--records", type=int, default=256, metavar="N", help="of a round (default 256)")
    add("--rounds", type=int, default=5, metavar="N", help="timed rounds of each (default 5)")
    add("--workers", type=numbers, default=(0, 1, 2), metavar="A,B", help="default 0,1,2")
    add("--seconds", type=float, default=5.0, metavar="S", help="for each of --workers (default 5)")
    add("--tokens-per-row", type=int, default=8192, metavar="N", help="default 8192")
    add(
        "--patch-budgets",
        type=numbers,
        default=(0, 2560, 5120, 7680, 10240),
        metavar="A,B",
        help="patches per row that batches may have (default 0,2560,5120,7680,10240)",
    )
    add("--no-peer", action="store_true", help="ours alone")
    add("--json", type=Path, metavar="FILE", help="write every measurement to this file")


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 0 between commas."""
    words = text.split(",")
    if not all(word.strip().isascii() and word.strip().isdigit() for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers, such as 0,1,2")
    return tuple(map(int, words))


def run(args: Namespace) -> int:
    """Measure, print a table, write the JSON."""
    from onevision_jax.bench.data import DataBench
    from onevision_jax.bench.data import run as measure
    from onevision_jax.errors import InputError

    for name in ("records", "rounds", "seconds"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} must be 1 or more")
    result = measure(
        DataBench(
            data=args.data,
            checkpoint=args.checkpoint,
            records=args.records,
            rounds=args.rounds,
            workers=args.workers,
            seconds=args.seconds,
            tokens_per_row=args.tokens_per_row,
            patch_budgets=args.patch_budgets,
            peer=not args.no_peer,
        )
    )
    result["command"] = shlex.join(["onevision", *sys.argv[1:]])
    for line in lines(result):
        print(line)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The measurements as a table."""
    yield f"{result['host']}, {result['date']}; processor: {result['processor']}"
    yield ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    yield ""
    parts = {"one_core": "one core, CPU time", "one_core_images": "the same, images only"}
    for part, title in parts.items():
        yield (
            f"{title:22}{'ms/example':>11}{'examples/s':>12}{'images/s':>10}"
            f"{'tokens/s':>11}{'ratio':>8}"
        )
        for name, found in result[part].items():
            ratio = f"{found['ratio']:8.2f}" if "ratio" in found else ""
            yield f"{name:22}{found['median_cpu_ms_per_example']:11.2f}{_rates(found)}{ratio}"
    yield from _notes(result)
    yield ""
    yield (
        f"{'wall clock':22}{'workers':>11}{'examples/s':>12}{'images/s':>10}"
        f"{'tokens/s':>11}{'MiB a worker':>14}"
    )
    for row in result["workers"]:
        memory = row["peak_mib_of_a_worker"]
        held = f"{memory:14.0f}" if memory else ""
        yield f"{row['name']:22}{row['workers']:11}{_rates(row)}{held}"
    step, ours = result["step_7b"], result["one_core"]["onevision"]
    yield ""
    yield (
        f"an SFT step of the 7B on one H200 at 55 % MFU (assumed) eats "
        f"{step['examples_per_second']:.1f} examples/s, {step['tokens_per_second']:,.0f} tokens/s:"
    )
    share = ours["examples_per_second"] / step["examples_per_second"]
    yield f"one core of ours gives {share:.1f} times as many"


def _notes(result: dict[str, Any]) -> Iterator[str]:
    if "equality" in result:
        equal = result["equality"]
        yield (
            f"normalised pixels of {equal['images']} images: largest difference "
            f"{equal['largest_difference']:.1e}"
        )
    if result["peer"] != "transformers":
        yield result["peer"]
    elif result["torchvision"] != "measured":
        yield f"torchvision's processor: {result['torchvision']}"
    packing = result["packing"]
    yield (
        f"packing: {packing['tokens']:.1%} of the tokens, {packing['patches']:.1%} of the patches "
        f"used, {packing['examples']:,} examples in {packing['rows']:,} rows"
    )
    if result["dropped"]:
        yield "dropped: " + ", ".join(f"{n} x {why}" for why, n in result["dropped"].items())


def _rates(found: dict[str, Any]) -> str:
    return (
        f"{found['examples_per_second']:12,.1f}{found['images_per_second']:10,.1f}"
        f"{found['tokens_per_second']:11,.0f}"
    )
