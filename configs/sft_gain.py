"""Where GRPO helps, part 1: SFT on questions of which 40 % show formal text and reasoning.

onevision synth --out data/gain --num 36000 --difficulty 0 \
    --families charts,tables,flowcharts,scenes
onevision sft --config configs/sft_gain.py --workdir runs/gain/sft
onevision grpo --config configs/grpo_gain.py --workdir runs/gain/grpo
onevision sft --config configs/sft_gain_more.py --workdir runs/gain/more

The other 60 % show the answer alone, as most question sets about images do. The model learns both
ways and, asked greedily, answers at once; GRPO has to find out that describing the image first is
right more often. `sft_gain_more.py` is the control: SFT goes on for the time that GRPO takes.

Hardware: 2 CPU cores. Times and results: docs/performance.md, "RL: where it helps".
"""

from onevision_jax.config import defaults
from onevision_jax.quickstart.settings import QuickstartConfig
from onevision_jax.train.sft import SFTConfig


def get_config():
    """What differs from the defaults: the quickstart's model and optimizer, twice its steps."""
    config = defaults(SFTConfig)
    quickstart = defaults(QuickstartConfig)
    config.checkpoint = "runs/gain/start"
    config.scratch = quickstart.scratch
    config.data = ("data/gain/train.jsonl",)
    config.num_steps = 3000
    config.save_every = 1000
    config.log_every = 100
    config.model.dtype = "float32"
    config.optimizer = quickstart.sft_optimizer
    config.pipeline.target.worked = 0.4
    config.pipeline.rows_per_batch = 8
    config.pipeline.num_shards = 4
    config.pipeline.packing.tokens_per_row = 256
    # Bare answers are short, so more pictures fit a row than in the quickstart.
    config.pipeline.packing.patch_budgets = (144,)
    return config
