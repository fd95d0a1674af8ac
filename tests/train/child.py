"""A training run in a process of its own, killed without warning; started by `test_run`.

    python child.py WORKDIR RECORDS START STEP

Kills itself when step STEP is reported and the checkpoint of the step before is on disk.
"""

import os
import signal
import sys
import time
from pathlib import Path


def main(workdir: Path, records: Path, start: Path, last: int) -> None:
    import jax

    jax.config.update("jax_platforms", "cpu")

    from onevision_jax.train.sft import train

    def say(line: str) -> None:
        print(line, flush=True)
        if line.startswith(f"step {last}/"):
            while not (workdir / "checkpoints" / str(last - 1)).is_dir():
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)

    train(short_run(start), workdir, make_batches(records, start), say)


def short_run(start: Path):
    """Four steps, a checkpoint after every second."""
    import jax.numpy as jnp

    from onevision_jax.model import ModelOptions
    from onevision_jax.train import OptimizerConfig, TrainConfig

    return TrainConfig(
        checkpoint=str(start),
        num_steps=4,
        model=ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32),
        optimizer=OptimizerConfig(peak_lr=1e-3, warmup_steps=2, weight_decay=0.1),
        save_every=2,
        log_every=1,
        keep=1,
    )


def make_batches(records: Path, start: Path):
    """The packed pipeline over records on disk."""
    from onevision_jax.data.packing import Packing
    from onevision_jax.data.pipeline import Pipeline
    from onevision_jax.data.settings import PipelineConfig
    from onevision_jax.data.source import JsonlSource
    from onevision_jax.processor import Processor

    packing = Packing(tokens_per_row=320, patch_budgets=(192,), window=8)
    pipeline = Pipeline(
        JsonlSource((str(records),)),
        Processor.from_folder(start / "assets"),
        PipelineConfig(packing=packing, rows_per_batch=8, num_shards=4, seed=3),
    )
    return lambda rules: pipeline.batches()


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]), last=int(sys.argv[4]))
