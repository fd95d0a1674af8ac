"""Where GRPO helps, part 2: from `sft_gain.py`, with answers as the only signal.

onevision grpo --config configs/grpo_gain.py --workdir runs/gain/grpo

Hardware: 2 CPU cores. Times and results: docs/performance.md, "RL: where it helps". The settings
were chosen on the validation split.
"""

from onevision_jax.config import defaults
from onevision_jax.train.grpo import GRPOConfig


def get_config():
    """What differs from the defaults."""
    config = defaults(GRPOConfig)
    config.checkpoint = "runs/gain/sft"
    config.data = ("data/gain/train.jsonl",)
    config.num_steps = 40
    config.save_every = 20
    config.log_every = 5
    config.model.dtype = "float32"
    config.optimizer.peak_lr = 2e-4
    config.optimizer.warmup_steps = 5
    config.optimizer.schedule = "constant"
    config.prompts_per_step = 32
    config.max_new_tokens = 96
    config.packing.tokens_per_row = 256
    config.packing.patch_budgets = (108,)
    config.seed = 1
    return config
