"""GRPO of Qwen2.5-VL-7B after SFT, all parameters, split over eight devices.

onevision sft --config configs/sft_7b.py --workdir runs/sft_7b
onevision grpo --config configs/grpo_7b.py --workdir runs/grpo_7b

Hardware: eight H200 of one machine. Parameters, gradients and both moments are float32 (133 GB, 17
GB on each device) and the sampler reads a bfloat16 copy (2 GB on each). Memory, time and result:
not measured.
"""

from onevision_jax.config import defaults
from onevision_jax.train.grpo import GRPOConfig


def get_config():
    """What differs from the defaults."""
    config = defaults(GRPOConfig)
    config.checkpoint = "runs/sft_7b"
    config.data = ("data/synth/train.jsonl",)
    config.num_steps = 500
    config.save_every = 50
    config.model.remat = "full"
    # TRL's defaults and R1-Onevision's: 1e-6, constant.
    config.optimizer.peak_lr = 1e-6
    config.optimizer.warmup_steps = 10
    config.optimizer.schedule = "constant"
    config.prompts_per_step = 32
    config.group_size = 8
    config.max_new_tokens = 2048
    # DAPO: more room upwards; answers that were cut say nothing.
    config.loss.clip_high = 0.28
    config.rewards.mask_truncated = True
    config.max_pixels = 768 * 768
    config.packing.tokens_per_row = 4096
    config.packing.patch_budgets = (4096, 8192, 12288)
    config.rows_per_micro_batch = 8
    return config
