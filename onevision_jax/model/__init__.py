"""Qwen2.5-VL in Flax NNX."""

from onevision_jax.model.config import QwenVLConfig, TextConfig, VisionConfig, from_folder, from_hf
from onevision_jax.model.layers import ModelOptions, num_parameters
from onevision_jax.model.presets import PRESETS, preset, to_hf
from onevision_jax.model.qwen_vl import QwenVL, abstract, initialise

__all__ = [
    "PRESETS",
    "ModelOptions",
    "QwenVL",
    "QwenVLConfig",
    "TextConfig",
    "VisionConfig",
    "abstract",
    "from_folder",
    "from_hf",
    "initialise",
    "num_parameters",
    "preset",
    "to_hf",
]
