"""A checkpoint to start from when there is none: a small model with random parameters.

Its tokenizer is learned from the texts it will meet, so the vocabulary is small too.
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax.numpy as jnp

from onevision_jax.checkpoint import by_path, save_params
from onevision_jax.checkpoint.folders import ASSETS
from onevision_jax.checkpoint.publish import new_folder
from onevision_jax.data.source import Source
from onevision_jax.data.target import TargetConfig, response_text
from onevision_jax.errors import InputError
from onevision_jax.model import ModelOptions, QwenVLConfig, initialise, preset, to_hf
from onevision_jax.processor.tiny import (
    CLIP_MEAN,
    CLIP_STD,
    PLAIN_PATTERN,
    SPLIT_PATTERN,
    train_tokenizer,
    write_processor_files,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScratchConfig:
    """The shape of a model made from nothing, and how it is fed."""

    # Its vocabulary is what the tokenizer turns out to be, rounded up to vocab_multiple.
    shape: QwenVLConfig = dataclasses.field(default_factory=lambda: preset("debug"))
    num_merges: int = 200  # of the tokenizer, on top of single bytes
    plain_pattern: bool = False  # letters apart, digits with the sign before them: PLAIN_PATTERN
    vocab_multiple: int = 64
    default_system: bool = True  # prompts without a system prompt get Qwen's
    min_pixels: int = 28 * 28
    max_pixels: int = 28 * 28 * 64
    # What pixels are normalised with, 0 to 1. Where images are mostly white, white should come out
    # near 0: else every patch is one large constant, and what is drawn on it a small change of it.
    image_mean: tuple[float, float, float] = CLIP_MEAN
    image_std: tuple[float, float, float] = CLIP_STD
    init_scale: float = 0.02
    seed: int = 0


def scratch_texts(source: Source, target: TargetConfig, most: int = 2000) -> Iterator[str]:
    """What the tokenizer learns from: questions and responses of up to `most` records."""
    for index in range(min(len(source), most)):
        try:
            record = source[index]
            yield f"{record.question}\n{response_text(record, target)}"
        except InputError:
            continue  # The pipeline leaves the record out too, counts it and says why.


def write_scratch(
    folder: str | os.PathLike[str], texts: Iterable[str], config: ScratchConfig
) -> None:
    """Writes a checkpoint (model/ and assets/), whole or not at all; the folder must be new."""
    pattern = PLAIN_PATTERN if config.plain_pattern else SPLIT_PATTERN
    backend = train_tokenizer(texts, num_merges=config.num_merges, pattern=pattern)
    size = backend.get_vocab_size(with_added_tokens=True)
    with new_folder(Path(folder)) as new:
        assets = new / ASSETS
        ids = write_processor_files(
            assets,
            backend,
            min_pixels=config.min_pixels,
            max_pixels=config.max_pixels,
            image_mean=config.image_mean,
            image_std=config.image_std,
            default_system=config.default_system,
        )
        text = dataclasses.replace(
            config.shape.text, vocab_size=-(-size // config.vocab_multiple) * config.vocab_multiple
        )
        vision_ids = {
            name: ids[name]
            for name in (
                "image_token_id",
                "video_token_id",
                "vision_start_token_id",
                "vision_end_token_id",
            )
        }
        shape = dataclasses.replace(config.shape, text=text, **vision_ids)
        fields = {**to_hf(shape), **ids}
        (assets / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
        options = ModelOptions(param_dtype=jnp.float32, init_scale=config.init_scale)
        save_params(new.parent / "params", by_path(initialise(shape, options, config.seed)))
        (new.parent / "params" / "model").rename(new / "model")
