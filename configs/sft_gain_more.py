"""Where GRPO helps, the control: SFT goes on from `sft_gain.py` for as long as GRPO takes.

onevision sft --config configs/sft_gain_more.py --workdir runs/gain/more

Hardware: 2 CPU cores. Times and results: docs/performance.md, "RL: where it helps".
"""

from onevision_jax.config import defaults
from onevision_jax.quickstart.settings import QuickstartConfig
from onevision_jax.train.sft import SFTConfig


def get_config():
    """What differs from the defaults: all as in `sft_gain.py`, but for start, steps and rate."""
    config = defaults(SFTConfig)
    config.checkpoint = "runs/gain/sft"
    config.data = ("data/gain/train.jsonl",)
    config.num_steps = 1000
    config.log_every = 100
    config.model.dtype = "float32"
    config.optimizer = defaults(QuickstartConfig).sft_optimizer
    config.optimizer.peak_lr = 2e-3
    config.pipeline.target.worked = 0.4
    config.pipeline.rows_per_batch = 8
    config.pipeline.num_shards = 4
    # Another order of the data than the first time.
    config.pipeline.seed = 9
    config.pipeline.packing.tokens_per_row = 256
    config.pipeline.packing.patch_budgets = (144,)
    return config
