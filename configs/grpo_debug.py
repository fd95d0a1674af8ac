"""GRPO from the debug run of SFT: the whole path of reinforcement learning, quickly.

onevision synth --out data/debug --num 600 --seed 0
onevision sft --config configs/sft_debug.py --workdir runs/sft_debug
onevision grpo --config configs/grpo_debug.py --workdir runs/grpo_debug

Hardware: 2 CPU cores. It shows the path; time and result were not measured. The debug run of SFT
scored 0 of 32, so expect nothing that RL could reinforce; `onevision quickstart` starts from more.
"""

from onevision_jax.config import defaults
from onevision_jax.train.grpo import GRPOConfig


def get_config():
    """What differs from the defaults."""
    config = defaults(GRPOConfig)
    config.checkpoint = "runs/sft_debug"
    config.data = ("data/debug/train.jsonl",)
    config.num_steps = 4
    config.log_every = 1
    config.model.dtype = "float32"
    config.optimizer.peak_lr = 1e-4
    config.optimizer.schedule = "constant"
    config.prompts_per_step = 4
    config.group_size = 4
    config.max_new_tokens = 128
    config.packing.tokens_per_row = 384
    config.packing.patch_budgets = (128,)
    return config
