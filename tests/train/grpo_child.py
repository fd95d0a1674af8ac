"""A run of GRPO in a process of its own, killed without warning; started by `test_grpo`.

    python grpo_child.py WORKDIR RECORDS START STEP [SHARE]

Kills itself when step STEP is reported and a checkpoint is on disk. With SHARE, prompts are settled
after one group.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main(workdir: Path, records: Path, start: Path, last: int, share: str | None) -> None:
    import jax

    jax.config.update("jax_platforms", "cpu")

    from onevision_jax.train.grpo import run

    def say(line: str) -> None:
        print(line, flush=True)
        if line.startswith(f"step {last}/"):
            while not any((workdir / "checkpoints").glob("[0-9]")):
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)

    changes = {}
    if share is not None:
        from onevision_jax.train.pass_rates import PassRateConfig

        changes["pass_rates"] = PassRateConfig(settled_after=4, settled_share=float(share))
    run(short_run(records, start, **changes), workdir, say)


def short_run(records: Path, start: Path, **changes: Any):
    """Eight steps, a checkpoint after every fourth. Short answers are rewarded, and nothing else.

    A random model ends one in ten early, by chance: that is all there is to learn from.
    """
    import jax.numpy as jnp

    from onevision_jax.data.packing import Packing
    from onevision_jax.model import ModelOptions
    from onevision_jax.rewards import RewardConfig
    from onevision_jax.train import OptimizerConfig
    from onevision_jax.train.grpo import GRPOConfig

    fields = {
        "checkpoint": str(start),
        "data": (str(records),),
        "num_steps": 8,
        "model": ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32),
        "optimizer": OptimizerConfig(peak_lr=1e-2, schedule="constant", weight_decay=0.1),
        "prompts_per_step": 4,
        "group_size": 4,
        "max_new_tokens": 12,
        "rewards": RewardConfig(
            overlong_weight=1.0, max_response_tokens=12, overlong_cache_tokens=11
        ),
        "packing": Packing(tokens_per_row=320, patch_budgets=(192,)),
        "save_every": 4,
        "samples_every": 5,
        "log_every": 1,
        "keep": 1,
        "seed": 3,
    }
    return GRPOConfig(**{**fields, **changes})


if __name__ == "__main__":
    last, *share = sys.argv[4:]
    main(*(Path(word) for word in sys.argv[1:4]), last=int(last), share=share[0] if share else None)
