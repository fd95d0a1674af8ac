"""`onevision grpo`: reinforcement learning with verifiable rewards, from a config file."""

from argparse import Namespace
from pathlib import Path
from typing import Any

EXAMPLE = """examples:
  onevision grpo --config configs/grpo_debug.py --workdir runs/grpo_debug
  onevision grpo --config configs/grpo_3b.py --workdir runs/grpo_3b --config.group_size=16"""


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "grpo",
        description="Sample groups of answers, grade them, and learn from the better ones (GRPO).\n"
        "Writes D/metrics.jsonl, D/samples.jsonl and D/checkpoints/STEP; the same command\n"
        "goes on from the newest checkpoint, and D is accepted wherever a checkpoint is.",
        epilog=EXAMPLE,
    )
    parser.add_config()
    parser.add_argument("--workdir", required=True, metavar="D", help="folder of the run")


def run(args: Namespace) -> int:
    """Show the settings, then train."""
    from onevision_jax.config import describe, load
    from onevision_jax.train.grpo import GRPOConfig
    from onevision_jax.train.grpo import run as run_grpo

    config = load(GRPOConfig, args.config, args.overrides)
    print(describe(config))
    run_grpo(config, Path(args.workdir), lambda line: print(line, flush=True))
    return 0
