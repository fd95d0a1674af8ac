"""R1-Onevision in JAX: images to formal text, Qwen2.5-VL, SFT and GRPO on any GPU or TPU mesh."""

__version__ = "0.1.0"
