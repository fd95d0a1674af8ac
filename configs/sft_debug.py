"""A model of 0.2 M random parameters learns the form of answers: the whole path of SFT, quickly.

onevision synth --out data/debug --num 600 --seed 0
onevision sft --config configs/sft_debug.py --workdir runs/sft_debug

Hardware: 2 CPU cores; 2 min 40 s on two cores that had other work too. Expected: loss 6.2 at the
first step, 2.8 at the last. It learns the form of answers, not yet the right ones.
"""

from onevision_jax.config import defaults
from onevision_jax.train.scratch import ScratchConfig
from onevision_jax.train.sft import SFTConfig


def get_config():
    """What differs from the defaults."""
    config = defaults(SFTConfig)
    config.checkpoint = "runs/scratch_debug"
    config.scratch = defaults(ScratchConfig)
    config.data = ("data/debug/train.jsonl",)
    config.num_steps = 60
    config.save_every = 30
    config.model.dtype = "float32"
    config.optimizer.peak_lr = 3e-3
    config.optimizer.warmup_steps = 10
    config.pipeline.rows_per_batch = 8
    config.pipeline.num_shards = 8
    config.pipeline.packing.tokens_per_row = 1024
    config.pipeline.packing.patch_budgets = (128, 256)
    return config
