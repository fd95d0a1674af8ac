"""`onevision bench decode`: attention of one decode step, with prompts shared and not."""

import json
import shlex
import sys
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIZES = ("prompts", "answers", "prompt_tokens", "answer_tokens", "steps", "rounds")
MODELS = ("3b", "7b", "32b", "72b")


def register(subjects: Any, example: str) -> None:
    """Add the subject's parser."""
    parser = subjects.add_parser(
        "decode",
        help="decode attention with shared prompts, against torch SDPA",
        description="Time the attention of one decode step: every implementation with the keys\n"
        "and values of a prompt held once for all its answers, the same with a copy for each\n"
        "answer, and torch's scaled_dot_product_attention sequence by sequence, interleaved.",
        epilog=example,
    )
    add = parser.add_argument
    add("--preset", action="append", choices=MODELS, help="shape of heads (default 3b and 7b)")
    add(
        "--tiny",
        action=BooleanOptionalAction,
        default=None,
        help="few, short rows instead of the numbers below (default on a CPU)",
    )
    add("--prompts", type=int, metavar="N", help="default 16")
    add("--answers", type=int, metavar="N", help="of each prompt (default 8)")
    add("--prompt-tokens", type=int, metavar="N", help="default 1500")
    add("--answer-tokens", type=int, metavar="N", help="of the longest answer (default 512)")
    add("--steps", type=int, metavar="N", help="timed together (default 8)")
    add("--rounds", type=int, metavar="N", help="timed rounds of each (default 20)")
    add("--dtype", choices=("bfloat16", "float16", "float32"), help="default bfloat16")
    add("--out", type=Path, metavar="FILE", help="write every measurement to this file as JSON")


def run(args: Namespace) -> int:
    """Measure, print a table a model, write the JSON."""
    import dataclasses

    import jax

    from onevision_jax.bench.decode import DecodeBench, tiny
    from onevision_jax.bench.decode import run as measure

    small = jax.default_backend() == "cpu" if args.tiny is None else args.tiny
    given = {name: getattr(args, name) for name in (*SIZES, "dtype")}
    given = {name: value for name, value in given.items() if value is not None}
    results = []
    for model in args.preset or ("3b", "7b"):
        bench = dataclasses.replace(tiny(model) if small else DecodeBench(model=model), **given)
        results.append(measure(bench))
        for line in lines(results[-1]):
            print(line)
    if args.out:
        report = {"command": shlex.join(["onevision", *sys.argv[1:]]), "runs": results}
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The measurements as a table."""
    settings, heads = result["settings"], result["heads"]
    yield (
        f"{settings['model']}, {heads['query']} query and {heads['kv']} kv heads of "
        f"{heads['width']}, {settings['dtype']}; {settings['prompts']} prompts of "
        f"{settings['prompt_tokens']} tokens x {settings['answers']} answers of 1 to "
        f"{settings['answer_tokens']}; {result['device']} ({result['host']})"
    )
    yield f"{'':26}{'us/step':>11}{'GB/s unique':>13}{'x floor':>9}{'max error':>11}"
    for name, found in result["results"].items():
        floor = found["times_the_floor"]
        yield (
            f"{name:26}{found['us_a_step']:11.1f}{found['unique_gb_per_second']:13.2f}"
            f"{'-' if floor is None else format(floor, '.2f'):>9}{found['max_error']:11.1e}"
        )
    for name, reason in result["skipped"].items():
        yield f"{name:26} skipped: {reason}"
    yield ""
