"""What a Qwen2.5-VL is made of, read from the folder's own config.json.

The architecture always comes from a config.json, flat (Hub files) or nested (newer
transformers); the presets are shorthands for tests, planning and training from scratch. Missing
fields take the defaults of transformers 4.57's Qwen2_5_VL config classes, as loading there would.
"""

import dataclasses
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.model.fields import Section

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
    rope_theta: float = 10_000.0  # a config field since 5.x
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
    config = _from_section(Section.read(folder / "config.json"))
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            vision = _with_statistics(config.vision, Section.read(folder / name))
            return dataclasses.replace(config, vision=vision)
    return config


def from_hf(fields: Mapping[str, Any], source: str = "config.json") -> QwenVLConfig:
    """The config in the words of transformers, flat or nested (`text_config`).

    Raises InputError when the model is no Qwen2.5-VL or needs what is not built here.
    """
    return _from_section(Section(fields, source))


def _from_section(root: Section) -> QwenVLConfig:
    model_type = root.fields.get("model_type")
    if model_type != "qwen2_5_vl":
        raise InputError(
            f"{root.source}: model_type is {reprlib.repr(model_type)}, expected 'qwen2_5_vl'; only "
            "Qwen2.5-VL folders can be read"
        )
    nested = root.section("text_config")
    text = nested if nested.fields else root
    for section in (root, text):
        if section.fields.get("quantization_config"):
            raise InputError(
                f"{root.source}: quantization_config is set; give the unquantised checkpoint "
                "instead"
            )
    ids = {
        name: root.integer(name, text.integer(name, default, least=0), least=0)
        for name, default in (
            ("image_token_id", 151_655),
            ("video_token_id", 151_656),
            ("vision_start_token_id", 151_652),
            ("vision_end_token_id", 151_653),
        )
    }
    try:
        vision = _vision_from_hf(root.section("vision_config"))
        return QwenVLConfig(vision=vision, text=_text_from_hf(text, root), **ids)
    except InputError as error:  # The classes above know the fields, not the file.
        message = str(error)
        named = message.startswith(root.source)
        raise InputError(message if named else f"{root.source}: {message}") from None


def _vision_from_hf(fields: Section) -> VisionConfig:
    fields.only("hidden_act", "silu")
    fields.only("in_channels", 3)
    rope = fields.section("rope_parameters")  # Since 5.x; before, its content was fixed.
    rope.only("rope_type", "axial", "default")
    return VisionConfig(
        depth=fields.integer("depth", 32),
        hidden_size=fields.integer("hidden_size", 3584),
        intermediate_size=fields.integer("intermediate_size", 3420),
        num_heads=fields.integer("num_heads", 16),
        out_hidden_size=fields.integer("out_hidden_size", 3584),
        patch_size=fields.integer("patch_size", 14),
        temporal_patch_size=fields.integer("temporal_patch_size", 2),
        spatial_merge_size=fields.integer("spatial_merge_size", 2),
        window_size=fields.integer("window_size", 112),
        full_attention_layers=fields.integers("fullatt_block_indexes", (7, 15, 23, 31)),
        rope_theta=rope.number("rope_theta", 10_000.0),
    )


def _text_from_hf(fields: Section, root: Section) -> TextConfig:
    fields.only("hidden_act", "silu")
    fields.only("use_sliding_window", False)
    layers = fields.integer("num_hidden_layers", 80)
    fields.only("layer_types", ["full_attention"] * layers)
    rope = fields.section("rope_scaling" if "rope_scaling" in fields else "rope_parameters")
    for name in ("rope_type", "type"):  # Files carry either or both; both must be plain M-RoPE.
        rope.only(name, "default", "mrope")
    section = rope.integers("mrope_section", (16, 24, 24))
    if len(section) != 3:
        raise rope.wrong("mrope_section", "three whole numbers")
    width, heads = fields.integer("hidden_size", 8192), fields.integer("num_attention_heads", 64)
    fields.only("head_dim", width // heads)
    kv_heads = 8 if "num_key_value_heads" not in fields.fields else heads  # null means all.
    return TextConfig(
        vocab_size=fields.integer("vocab_size", 152_064),
        hidden_size=width,
        intermediate_size=fields.integer("intermediate_size", 29_568),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=fields.integer("num_key_value_heads", kv_heads),
        rope_theta=rope.number("rope_theta", fields.number("rope_theta", 1_000_000.0)),
        mrope_section=(section[0], section[1], section[2]),
        norm_eps=fields.number("rms_norm_eps", 1e-5),
        tie_word_embeddings=_is_tied(fields, root),
    )


def _is_tied(text: Section, root: Section) -> bool:
    """Whether the head is the embedding, as the transformers that wrote the file ties it.

    Flat files say it in the root. Nested files of 4.x say it in text_config, and what stands in the
    root means nothing; since 5.0 either may say so.
    """
    inner, outer = text.flag("tie_word_embeddings"), root.flag("tie_word_embeddings")
    if text is not root and str(root.fields.get("transformers_version")).startswith("4."):
        return bool(inner)
    return bool(inner or outer)


def _with_statistics(vision: VisionConfig, fields: Section) -> VisionConfig:
    """The means and deviations that pixels are normalised with, from the image processor's file."""
    nested = fields.section("image_processor")
    fields = nested if nested.fields else fields
    mean = fields.numbers("image_mean", CLIP_MEAN)
    std = fields.numbers("image_std", CLIP_STD)
    if min(std) <= 0:
        raise fields.wrong("image_std", "numbers above 0")
    return dataclasses.replace(
        vision, image_mean=(mean[0], mean[1], mean[2]), image_std=(std[0], std[1], std[2])
    )
