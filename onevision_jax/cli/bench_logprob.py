"""`onevision bench logprob`: log-probs of tokens from hidden states, without and with logits."""

import json
import shlex
import sys
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PRESETS = ("3b", "7b")
TINY_TOKENS, TINY_ROUNDS = 128, 3


def register(subjects: Any, example: str) -> None:
    """Add the subject's parser."""
    parser = subjects.add_parser(
        "logprob",
        help="log-probs from hidden states, against XLA, torch and tokamax",
        description="Time linear -> log-prob at the model's head, forward and with gradients:\n"
        "every implementation that runs here, XLA and torch with all the logits, and tokamax\n"
        "where it is installed, interleaved; compare each with float64.",
        epilog=example,
    )
    add = parser.add_argument
    add("--preset", action="append", choices=PRESETS, help="whose head (default both)")
    add("--tokens", type=int, metavar="N", help=f"default 16384, {TINY_TOKENS} when tiny")
    add("--rounds", type=int, metavar="N", help=f"default 20, {TINY_ROUNDS} when tiny")
    add("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    add(
        "--tiny",
        action=BooleanOptionalAction,
        default=None,
        help="a sixteenth of the vocabulary, a quarter of the width (default on a CPU)",
    )
    add("--out", type=Path, metavar="FILE", help="write every measurement to this file as JSON")


def run(args: Namespace) -> int:
    """Measure, print a table a preset, write the JSON."""
    import jax

    from onevision_jax.bench.logprob import LogprobBench
    from onevision_jax.bench.logprob import run as measure

    tiny = jax.default_backend() == "cpu" if args.tiny is None else args.tiny
    sizes = {"tokens": TINY_TOKENS, "rounds": TINY_ROUNDS} if tiny else {}
    asked = {"tokens": args.tokens, "rounds": args.rounds}
    sizes |= {name: number for name, number in asked.items() if number is not None}
    results = []
    for preset in args.preset or PRESETS:
        bench = LogprobBench(preset=preset, tiny=tiny, dtype=args.dtype, **sizes)
        results.append(measure(bench))
        for line in lines(results[-1]):
            print(line)
    if args.out:
        report = {"command": shlex.join(["onevision", *sys.argv[1:]]), "runs": results}
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The measurements as a table."""
    settings, shape = result["settings"], result["shape"]
    yield (
        f"{settings['preset']}{' (tiny)' if settings['tiny'] else ''}: {shape['N']} tokens, width "
        f"{shape['D']}, vocabulary {shape['V']}, {settings['dtype']}; {result['device']} "
        f"({result['host']})"
    )
    yield ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    for name, table in result["results"].items():
        yield f"{name:22}{'ms':>10}{'TFLOP/s':>10}{'GB/s':>9}{'x floor':>9}{'max error':>11}"
        for who, found in table.items():
            floor = found["times_the_floor"]
            yield (
                f"  {who:20}{found['milliseconds']:10.2f}{found['tflops_per_second']:10.3f}"
                f"{found['gb_per_second']:9.2f}{'-' if floor is None else f'{floor:.2f}':>9}"
                f"{found['max_error']:11.1e}"
            )
    for who, reason in result["skipped"].items():
        yield f"{who} skipped: {reason}"
    yield ""
