"""`onevision bench`: measurements, ours beside what you would run instead."""

from argparse import Namespace
from typing import Any

from onevision_jax.cli import (
    bench_attention,
    bench_data,
    bench_decode,
    bench_gates,
    bench_logprob,
    bench_rollout,
    bench_step,
)

EXAMPLE = """examples:
  onevision bench attention --preset 7b --out attention.json
  onevision bench rollout --checkpoint Qwen2.5-VL-3B-Instruct --rows 8 --json rollout.json
  onevision bench data data/r1_onevision --checkpoint Qwen2.5-VL-7B-Instruct --json data.json
  onevision bench decode --preset 7b --out decode.json
  onevision bench gates --target h200,v6e --case 'attention*'
  onevision bench logprob --preset 7b --out logprob.json
  onevision bench step --preset 7b --topology v6e:4x4 --json step.json"""
# Each with register(subjects, example) and run(args).
SUBJECTS = {
    "attention": bench_attention,
    "data": bench_data,
    "decode": bench_decode,
    "gates": bench_gates,
    "logprob": bench_logprob,
    "rollout": bench_rollout,
    "step": bench_step,
}


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "bench",
        description="Time this project and, where it is installed, the peer you would run\n"
        "instead, interleaved in one run.",
        epilog=EXAMPLE,
    )
    subjects = parser.add_subparsers(dest="subject", metavar="SUBJECT", required=True)
    for module in SUBJECTS.values():
        module.register(subjects, EXAMPLE)


def run(args: Namespace) -> int:
    """Measure, print a table, write the JSON."""
    return SUBJECTS[args.subject].run(args)
