"""GRPO of Qwen2.5-VL-3B after SFT, all parameters.

onevision sft --config configs/sft_3b.py --workdir runs/sft_3b
onevision grpo --config configs/grpo_3b.py --workdir runs/grpo_3b

Hardware: one H200. Parameters, gradients and both moments are float32 (60 GB) and the sampler reads
a bfloat16 copy (8 GB); the KV cache of 64 completions of 2,048 tokens takes 5 GB. Memory, time and
result: not measured.
"""

from onevision_jax.config import defaults
from onevision_jax.train.grpo import GRPOConfig


def get_config():
    """What differs from the defaults."""
    config = defaults(GRPOConfig)
    config.checkpoint = "runs/sft_3b"
    config.data = ("data/synth/train.jsonl",)
    config.num_steps = 500
    config.save_every = 50
    config.model.remat = "full"
    # TRL's defaults and R1-Onevision's: 1e-6, constant.
    config.optimizer.peak_lr = 1e-6
    config.optimizer.warmup_steps = 10
    config.optimizer.schedule = "constant"
    config.prompts_per_step = 8
    config.group_size = 8
    config.max_new_tokens = 2048
    # DAPO: more room upwards; answers that were cut say nothing.
    config.loss.clip_high = 0.28
    config.rewards.mask_truncated = True
    config.max_pixels = 768 * 768
    config.packing.tokens_per_row = 4096
    config.packing.patch_budgets = (4096, 8192, 12288)
    config.rows_per_micro_batch = 2
    return config
