"""SFT of Qwen2.5-VL-3B, all parameters, with the settings R1-Onevision published where they apply.

onevision convert from-hf Qwen2.5-VL-3B-Instruct checkpoints/3b
onevision synth --out data/synth --num 100000 --seed 0
onevision sft --config configs/sft_3b.py --workdir runs/sft_3b

Hardware: one H200. Parameters, gradients and both moments are float32: 3.75 G x 16 bytes = 60 GB
before activations, which are recomputed layer by layer. Memory, time and result: not measured.
"""

from onevision_jax.config import defaults
from onevision_jax.train.sft import SFTConfig


def get_config():
    """What differs from the defaults."""
    config = defaults(SFTConfig)
    config.checkpoint = "checkpoints/3b"
    config.data = ("data/synth/train.jsonl",)
    config.num_steps = 2000
    config.accumulation = 8
    config.model.remat = "full"
    # R1-Onevision: 1e-5, cosine, 5 % warmup, nothing frozen.
    config.optimizer.peak_lr = 1e-5
    config.optimizer.warmup_steps = 100
    config.max_pixels = 768 * 768
    # About 128 examples a step, as there.
    config.pipeline.rows_per_batch = 16
    config.pipeline.packing.tokens_per_row = 8192
    config.pipeline.packing.patch_budgets = (4096, 8192, 16384, 24576)
    config.pipeline.num_workers = 8
    return config
