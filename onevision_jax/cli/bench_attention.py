"""`onevision bench attention`: every implementation, beside cuDNN, tokamax and torch."""

import json
import shlex
import sys
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODELS = ("3b", "7b")


def register(subjects: Any, example: str) -> None:
    """Add the subject's parser."""
    parser = subjects.add_parser(
        "attention",
        help="attention, against cuDNN, tokamax and torch SDPA",
        description="Time attention forward and forward+backward with the masks of training:\n"
        "dense, packed and GRPO rows, vision windows and whole images. Every implementation that\n"
        "runs here is checked against float64 and takes turns with the others.",
        epilog=example,
    )
    add = parser.add_argument
    add(
        "--preset",
        action="append",
        choices=MODELS,
        help="whose heads; repeat for several (default 3b and 7b)",
    )
    add(
        "--tiny",
        action=BooleanOptionalAction,
        default=None,
        help="a 32nd of the tokens, few rounds, float32 (default on a CPU)",
    )
    add("--rounds", type=int, metavar="N", help="timed rounds of each (default 20; tiny: 3)")
    add("--dtype", choices=("bfloat16", "float16", "float32"), help="default bfloat16")
    add("--out", type=Path, metavar="FILE", help="write every measurement to this file as JSON")


def run(args: Namespace) -> int:
    """Measure, print a table for each mask, write the JSON."""
    import jax

    from onevision_jax.bench.attention import AttentionBench, about
    from onevision_jax.bench.attention import run as measure

    tiny = jax.default_backend() == "cpu" if args.tiny is None else args.tiny
    rounds = (3 if tiny else 20) if args.rounds is None else args.rounds
    dtype = args.dtype or ("float32" if tiny else "bfloat16")
    report = about() | {"command": shlex.join(["onevision", *sys.argv[1:]]), "results": []}
    print(f"{report['device']} ({report['host']}), {dtype}, median of {rounds} rounds")
    print(", ".join(f"{name} {number}" for name, number in report["versions"].items()))
    models = tuple(args.preset or MODELS)
    for result in measure(AttentionBench(models=models, tiny=tiny, rounds=rounds, dtype=dtype)):
        report["results"].append(result)
        print("\n".join(lines(result)), flush=True)
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def lines(result: dict[str, Any]) -> Iterator[str]:
    """One mask's measurements as a table."""
    shape = result["shape"]
    yield ""
    yield (
        f"{result['problem']}: {shape['heads']}/"
        f"{shape['kv_heads']} heads x {shape['head_dim']}, "
        f"{shape['visible_pairs']:,} visible pairs"
    )
    yield (
        f"  {'':20} {'pass':17}{'ms':>10}{'TFLOP/s':>10}{'GB/s':>9}{'x floor':>9}"
        f"{'max error':>11}{'grad error':>11}"
    )
    for name, errors in result["errors"].items():
        for pass_name, found in result["passes"].items():
            if name in found:
                yield "  " + row(name, pass_name, found[name], errors)
    for name, reason in result["skipped"].items():
        yield f"  {name:20} not timed: {reason}"


def row(name: str, pass_name: str, found: dict[str, Any], errors: dict[str, float]) -> str:
    """One implementation, one pass."""
    floor = found["times_the_floor"]
    return (
        f"{name:20} {pass_name:17}{found['median_ms']:10.3f}{found['useful_tflops']:10.3g}"
        f"{found['gb_per_second']:9.3g}{'-' if floor is None else format(floor, '.2f'):>9}"
        f"{errors['out_max']:11.1e}{errors['grad_rel_rms']:11.1e}"
    )
