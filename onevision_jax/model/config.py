"""What a Qwen2.5-VL is made of, read from the folder's own config.json.

The architecture always comes from a config.json, flat (Hub files) or nested (newer
transformers); the presets are shorthands for tests, planning and training from scratch. Missing
fields take the defaults of transformers 4.57's Qwen2_5_VL config classes, as loading there would.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError

# OpenAI CLIP statistics: the defaults of transformers' Qwen2VLImageProcessor.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The vision tower: patch embedding, windowed and full layers, merger."""

    depth: int = 32  # layers
    hidden_size: int = 1280
    intermediate_size: int = 3420
    num_heads: int = 16
    out_hidden_size: int = 3584  # width of the decoder
    patch_size: int = 14  # pixels
    temporal_patch_size: int = 2  # frames per patch; a still image fills both with itself
    spatial_merge_size: int = 2  # patches per side that become one token
    window_size: int = 112  # pixels
    full_attention_layers: tuple[int, ...] = (7, 15, 23, 31)
    norm_eps: float = 1e-6  # fixed in transformers, not a config field there
    rope_theta: float = 10_000.0  # likewise
    image_mean: tuple[float, float, float] = CLIP_MEAN  # from preprocessor_config.json
    image_std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self):
        if self.hidden_size % self.num_heads or self.head_dim % 4:
            raise InputError(
                f"vision_config.hidden_size {self.hidden_size} over num_heads {self.num_heads} "
                "must be a whole multiple of 4 (2-D rotary embedding)"
            )
        if self.window_size % (self.patch_size * self.spatial_merge_size):
            raise InputError(
                f"vision_config.window_size {self.window_size} must be a multiple of "
                f"patch_size x spatial_merge_size = {self.patch_size * self.spatial_merge_size}"
            )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def patch_values(self) -> int:
        """Numbers in one raw patch: 14 x 14 x 3."""
        return self.patch_size**2 * 3

    @property
    def merge_unit(self) -> int:
        """Patches that become one token."""
        return self.spatial_merge_size**2

    @property
    def window_patches(self) -> int:
        """The most patches a window holds."""
        return (self.window_size // self.patch_size) ** 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The decoder."""

    vocab_size: int = 152_064
    hidden_size: int = 8192
    intermediate_size: int = 29_568
    num_layers: int = 80
    num_heads: int = 64
    num_kv_heads: int = 8
    rope_theta: float = 1_000_000.0
    mrope_section: tuple[int, int, int] = (16, 24, 24)  # rotary channels for t, h, w
    norm_eps: float = 1e-5
    tie_word_embeddings: bool = False

    def __post_init__(self):
        if self.hidden_size % self.num_heads or self.num_heads % self.num_kv_heads:
            raise InputError(
                f"hidden_size {self.hidden_size}, num_attention_heads {self.num_heads} and "
                f"num_key_value_heads {self.num_kv_heads} must divide one another in this order"
            )
        if 2 * sum(self.mrope_section) != self.head_dim:
            raise InputError(
                f"mrope_section {list(self.mrope_section)} must add up to half the head width "
                f"{self.head_dim}"
            )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class QwenVLConfig:
    """A whole Qwen2.5-VL."""

    vision: VisionConfig
    text: TextConfig
    image_token_id: int = 151_655
    video_token_id: int = 151_656
    vision_start_token_id: int = 151_652
    vision_end_token_id: int = 151_653

    def __post_init__(self):
        if self.vision.out_hidden_size != self.text.hidden_size:
            raise InputError(
                f"vision_config.out_hidden_size {self.vision.out_hidden_size} must equal the "
                f"decoder's hidden_size {self.text.hidden_size}"
            )

    @property
    def vision_token_ids(self) -> tuple[int, ...]:
        """Ids that stand for vision input and are never sampled."""
        return (
            self.vision_start_token_id,
            self.vision_end_token_id,
            self.image_token_id,
            self.video_token_id,
        )


def from_folder(folder: str | os.PathLike[str]) -> QwenVLConfig:
    """The config of a Hugging Face folder (or of a checkpoint's assets/).

    Reads config.json and, for the pixel statistics, preprocessor_config.json or
    processor_config.json where there is one. Raises InputError naming file and field.
    """
    folder = Path(folder)
    config = from_hf(_read_json(folder / "config.json"), source=str(folder / "config.json"))
    for name in ("preprocessor_config.json", "processor_config.json"):
        if not (folder / name).is_file():
            continue
        fields = _read_json(folder / name)
        fields = fields.get("image_processor", fields)
        mean = tuple(fields.get("image_mean") or CLIP_MEAN)
        std = tuple(fields.get("image_std") or CLIP_STD)
        if len(mean) != 3 or len(std) != 3:
            raise InputError(f"{folder / name}: image_mean and image_std need three numbers each")
        vision = dataclasses.replace(config.vision, image_mean=mean, image_std=std)
        return dataclasses.replace(config, vision=vision)
    return config


def from_hf(fields: Mapping[str, Any], source: str = "config.json") -> QwenVLConfig:
    """The config in the words of transformers, flat or nested (`text_config`).

    Raises InputError when the model is no Qwen2.5-VL or needs what is not built here.
    """
    model_type = fields.get("model_type")
    if model_type != "qwen2_5_vl":
        raise InputError(
            f"{source}: model_type is {model_type!r}, expected 'qwen2_5_vl'; only Qwen2.5-VL "
            "folders can be read"
        )
    if fields.get("quantization_config"):
        raise InputError(
            f"{source}: quantization_config is set; give the unquantised checkpoint instead"
        )
    text_fields = fields.get("text_config") or fields
    try:
        vision = _vision_from_hf(fields.get("vision_config") or {}, source)
        text = _text_from_hf(text_fields, fields, source)
        ids = {
            name: int(fields.get(name, text_fields.get(name, default)))
            for name, default in (
                ("image_token_id", 151_655),
                ("video_token_id", 151_656),
                ("vision_start_token_id", 151_652),
                ("vision_end_token_id", 151_653),
            )
        }
        return QwenVLConfig(vision=vision, text=text, **ids)
    except InputError as error:
        message = str(error)
        raise InputError(
            message if message.startswith(source) else f"{source}: {message}"
        ) from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: a field has the wrong type ({error})") from None


def _vision_from_hf(fields: Mapping[str, Any], source: str) -> VisionConfig:
    _refuse_other(fields, source, "vision_config.", hidden_act="silu", in_channels=3)
    full = fields.get("fullatt_block_indexes", (7, 15, 23, 31))
    return VisionConfig(
        depth=int(fields.get("depth", 32)),
        hidden_size=int(fields.get("hidden_size", 3584)),
        intermediate_size=int(fields.get("intermediate_size", 3420)),
        num_heads=int(fields.get("num_heads", 16)),
        out_hidden_size=int(fields.get("out_hidden_size", 3584)),
        patch_size=int(fields.get("patch_size", 14)),
        temporal_patch_size=int(fields.get("temporal_patch_size", 2)),
        spatial_merge_size=int(fields.get("spatial_merge_size", 2)),
        window_size=int(fields.get("window_size", 112)),
        full_attention_layers=tuple(int(i) for i in full),
    )


def _text_from_hf(fields: Mapping[str, Any], root: Mapping[str, Any], source: str) -> TextConfig:
    _refuse_other(fields, source, "", hidden_act="silu", use_sliding_window=False)
    rope = fields.get("rope_scaling") or fields.get("rope_parameters") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type not in ("default", "mrope"):
        raise InputError(f"{source}: rope type {rope_type!r} is not supported, only 'mrope'")
    heads = int(fields.get("num_attention_heads", 64))
    width = int(fields.get("hidden_size", 8192))
    if fields.get("head_dim") not in (None, width // heads):
        raise InputError(
            f"{source}: head_dim {fields['head_dim']} differs from hidden_size / "
            f"num_attention_heads = {width // heads}"
        )
    # Nested files of transformers 4.5x keep the tie in text_config, with a meaningless default in
    # the root; flat Hub files keep it in the root.
    tied = fields.get("tie_word_embeddings", root.get("tie_word_embeddings", False))
    t, h, w = rope.get("mrope_section", (16, 24, 24))
    return TextConfig(
        vocab_size=int(fields.get("vocab_size", 152_064)),
        hidden_size=width,
        intermediate_size=int(fields.get("intermediate_size", 29_568)),
        num_layers=int(fields.get("num_hidden_layers", 80)),
        num_heads=heads,
        num_kv_heads=int(fields.get("num_key_value_heads", 8) or heads),
        rope_theta=float(fields.get("rope_theta", rope.get("rope_theta", 1_000_000.0))),
        mrope_section=(int(t), int(h), int(w)),
        norm_eps=float(fields.get("rms_norm_eps", 1e-5)),
        tie_word_embeddings=bool(tied),
    )


def _refuse_other(fields: Mapping[str, Any], source: str, prefix: str, **supported: Any) -> None:
    for name, value in supported.items():
        if fields.get(name, value) not in (value, None):
            raise InputError(
                f"{source}: {prefix}{name} is {fields[name]!r}, only {value!r} is supported"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give a folder with a config.json") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); fetch the file again") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path} must hold a JSON object, not a {type(fields).__name__}")
    return fields
