"""`onevision sft`: supervised fine-tuning from a config file."""

import functools
from argparse import Namespace
from pathlib import Path
from typing import Any

from onevision_jax.cli.failure import report_failure

EXAMPLE = """examples:
  onevision synth --out data/debug --num 600 --seed 0
  onevision sft --config configs/sft_debug.py --workdir runs/sft_debug
  onevision sft --config configs/sft_3b.py --workdir runs/3b --config.optimizer.peak_lr=2e-5
  launch/local.sh 2 onevision sft --config configs/sft_debug.py --workdir runs/two"""


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "sft",
        description="Train on records with images, packed, on all devices. Writes D/metrics.jsonl\n"
        "and D/checkpoints/STEP; the same command goes on from the newest checkpoint, and\n"
        "D is accepted wherever a checkpoint is.",
        epilog=EXAMPLE,
    )
    parser.add_config()
    parser.add_argument("--workdir", required=True, metavar="D", help="folder of the run")


def run(args: Namespace) -> int:
    """Show the settings, then train; together with others where the environment says so."""
    import jax

    from onevision_jax.config import describe, load
    from onevision_jax.parallel.processes import explain, is_first, join_processes, leave
    from onevision_jax.train.sft import SFTConfig
    from onevision_jax.train.sft import run as run_sft

    config = load(SFTConfig, args.config, args.overrides)
    join_processes()
    say = functools.partial(print, flush=True) if is_first() else lambda line: None
    say(describe(config))
    try:
        run_sft(config, Path(args.workdir), say)
    except BaseException as error:
        if jax.distributed.is_initialized():
            leave(report_failure(explain(error), args.debug))
        raise
    return 0
