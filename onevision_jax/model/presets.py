"""Shorthands for well-known shapes; a real checkpoint always brings its own config.json.

Numbers: the published config.json files (reference: qwen2_5_vl.md section 1). 32b and 72b take the
vision intermediate size 3456 that their weight shapes show.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.model.config import QwenVLConfig, TextConfig, VisionConfig


def _published(
    hidden: int, layers: int, heads: int, kv: int, mlp: int, vocab: int, tied: bool, vision_mlp: int
) -> QwenVLConfig:
    return QwenVLConfig(
        vision=VisionConfig(intermediate_size=vision_mlp, out_hidden_size=hidden),
        text=TextConfig(
            vocab_size=vocab,
            hidden_size=hidden,
            intermediate_size=mlp,
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=kv,
            norm_eps=1e-6,
            tie_word_embeddings=tied,
        ),
    )


# Every kind of layer at the smallest size: windowed and full vision layers, GQA, M-RoPE.
_DEBUG = QwenVLConfig(
    vision=VisionConfig(
        depth=3,
        hidden_size=32,
        intermediate_size=48,
        num_heads=2,
        out_hidden_size=64,
        full_attention_layers=(1,),
    ),
    text=TextConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        mrope_section=(2, 3, 3),
        norm_eps=1e-6,
        tie_word_embeddings=True,
    ),
    image_token_id=508,
    video_token_id=509,
    vision_start_token_id=505,
    vision_end_token_id=506,
)

PRESETS: Mapping[str, QwenVLConfig] = MappingProxyType(
    {
        "debug": _DEBUG,
        "3b": _published(2048, 36, 16, 2, 11_008, 151_936, True, 3420),
        "7b": _published(3584, 28, 28, 4, 18_944, 152_064, False, 3420),
        "32b": _published(5120, 64, 40, 8, 27_648, 152_064, False, 3456),
        "72b": _published(8192, 80, 64, 8, 29_568, 152_064, False, 3456),
    }
)


def preset(name: str) -> QwenVLConfig:
    """The named shape; raises InputError listing the names there are."""
    if name not in PRESETS:
        raise InputError(f"preset {name!r} is none of {', '.join(PRESETS)}")
    return PRESETS[name]


def to_hf(config: QwenVLConfig) -> dict[str, Any]:
    """The config.json (flat, as on the Hub) of a model that was not read from a folder."""
    vision, text = config.vision, config.text
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": text.num_heads,
        "num_key_value_heads": text.num_kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": text.norm_eps,
        "rope_theta": text.rope_theta,
        "rope_scaling": {"type": "mrope", "mrope_section": list(text.mrope_section)},
        "tie_word_embeddings": text.tie_word_embeddings,
        "use_sliding_window": False,
        "image_token_id": config.image_token_id,
        "video_token_id": config.video_token_id,
        "vision_start_token_id": config.vision_start_token_id,
        "vision_end_token_id": config.vision_end_token_id,
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "depth": vision.depth,
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "num_heads": vision.num_heads,
            "out_hidden_size": vision.out_hidden_size,
            "patch_size": vision.patch_size,
            "temporal_patch_size": vision.temporal_patch_size,
            "spatial_merge_size": vision.spatial_merge_size,
            "window_size": vision.window_size,
            "fullatt_block_indexes": list(vision.full_attention_layers),
            "hidden_act": "silu",
            "in_channels": 3,
        },
    }
