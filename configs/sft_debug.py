"""A model of 0.2 M random parameters learns the form of answers: the whole path of SFT, quickly.

onevision synth --out data/debug --num 600 --seed 0
onevision sft --config configs/sft_debug.py --workdir runs/sft_debug

Hardware: 2 CPU cores, a few minutes. Expected: the loss falls steadily; the answers are not right
yet. For a model that answers, see `onevision quickstart`.
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
    config.num_steps = 200
    config.save_every = 100
    config.model.dtype = "float32"
    config.optimizer.peak_lr = 3e-3
    config.optimizer.warmup_steps = 10
    config.pipeline.rows_per_batch = 8
    config.pipeline.num_shards = 8
    config.pipeline.packing.tokens_per_row = 1024
    config.pipeline.packing.patch_budgets = (128, 256)
    return config
