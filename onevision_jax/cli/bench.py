"""`onevision bench`: measurements, ours beside what you would run instead."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from onevision_jax.cli import bench_attention, bench_data, bench_gates

EXAMPLE = """examples:
  onevision bench rollout --checkpoint Qwen2.5-VL-3B-Instruct --rows 8 --json rollout.json
  onevision bench data data/r1_onevision --checkpoint Qwen2.5-VL-7B-Instruct --json data.json"""


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "bench",
        description="Time this project and, where it is installed, the peer you would run\n"
        "instead, interleaved in one run.",
        epilog=EXAMPLE,
    )
    subjects = parser.add_subparsers(dest="subject", metavar="SUBJECT", required=True)
    rollout = subjects.add_parser(
        "rollout", help="generation, against transformers", epilog=EXAMPLE
    )
    add = rollout.add_argument
    add("--checkpoint", required=True, metavar="D", help="Hugging Face folder or checkpoint")
    add("--prompt", default="Describe what you see, step by step.", metavar="P")
    add("--image", action="append", default=[], metavar="F", help="repeat for several")
    add("--rows", type=int, default=8, metavar="N", help="rows of the batch (default 8)")
    add("--new-tokens", type=int, default=64, metavar="N", help="per row (default 64)")
    add("--rounds", type=int, default=5, metavar="N", help="timed rounds of each (default 5)")
    add("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    add("--json", type=Path, metavar="FILE", help="write every measurement to this file")
    bench_attention.register(subjects)
    bench_data.register(subjects, EXAMPLE)
    bench_gates.register(subjects)


def run(args: Namespace) -> int:
    """Measure, print a table, write the JSON."""
    runs = {
        "attention": bench_attention.run,
        "data": bench_data.run,
        "gates": bench_gates.run,
        "rollout": run_rollout,
    }
    return runs[args.subject](args)


def run_rollout(args: Namespace) -> int:
    """Generation."""
    from onevision_jax.bench.rollout import RolloutBench
    from onevision_jax.bench.rollout import run as measure
    from onevision_jax.errors import InputError

    for name in ("rows", "new_tokens", "rounds"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be 1 or more")
    result = measure(
        RolloutBench(
            checkpoint=args.checkpoint,
            prompt=args.prompt,
            images=tuple(args.image),
            rows=args.rows,
            new_tokens=args.new_tokens,
            rounds=args.rounds,
            dtype=args.dtype,
        )
    )
    print(
        f"{result['device']} ({result['host']}), {result['settings']['dtype']}, "
        f"{result['prompt_tokens']} prompt tokens, {args.rows} rows x {args.new_tokens} tokens"
    )
    print(", ".join(f"{name} {number}" for name, number in result["versions"].items()))
    rates = result["tokens_per_second"]
    for name, rate in rates.items():
        times = result["seconds"][name]
        print(f"{name:13} {rate:9.1f} tokens/s   {min(times):.2f} to {max(times):.2f} s a round")
    if "transformers" in rates:
        print(f"{'ratio':13} {rates['onevision'] / rates['transformers']:9.2f}")
    else:
        print(result["peer"])
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0
