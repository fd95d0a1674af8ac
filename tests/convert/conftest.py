"""Tiny Hugging Face folders with random bits, written with safetensors' own writer."""

import dataclasses
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from onevision_jax.convert import keymap
from onevision_jax.model import QwenVLConfig, preset, to_hf

BF16 = np.dtype(ml_dtypes.bfloat16)
EXTRA_FILES = {
    "tokenizer.json": b'{"version": "1.0"}\n',
    "preprocessor_config.json": b'{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 1.0]}',
    "chat_template.jinja": "{% for m in messages %}…{% endfor %}".encode(),
    "generation_config.json": b"{ }",
    "README.md": b"kept\r\nbyte for byte",
}


@dataclasses.dataclass(frozen=True)
class Folders:
    """Writes and reads Hugging Face folders."""

    root: Path

    @staticmethod
    def config(*, tied: bool = True) -> QwenVLConfig:
        debug = preset("debug")
        return dataclasses.replace(
            debug, text=dataclasses.replace(debug.text, tie_word_embeddings=tied)
        )

    @staticmethod
    def tensors(config: QwenVLConfig, layout: str = "hub", dtype=BF16) -> dict[str, np.ndarray]:
        """Random bit patterns, NaN and infinity too: conversion must not look at values."""
        rng = np.random.default_rng(0)
        words = np.dtype(f"u{dtype.itemsize}")
        return {
            name: rng.integers(0, 2 ** (8 * dtype.itemsize), shape, words).view(dtype)
            for name, shape in keymap.hf_shapes(config, layout).items()
        }

    def write(self, name, config, tensors, *, shards: int = 1, extras: bool = True) -> Path:
        folder = self.root / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(to_hf(config)))
        for file, content in EXTRA_FILES.items() if extras else ():
            (folder / file).write_bytes(content)
        if shards == 1:
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
            return folder
        where = {}
        for shard in range(shards):
            # Every n-th tensor: the layers of one stack lie in different files.
            names = list(tensors)[shard::shards]
            file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
            save_file({n: tensors[n] for n in names}, folder / file, metadata={"format": "pt"})
            where |= dict.fromkeys(names, file)
        index = {"metadata": {}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    @staticmethod
    def read(folder: Path) -> dict[str, np.ndarray]:
        tensors = {}
        for file in sorted(folder.glob("*.safetensors")):
            shard = load_file(file)
            assert not tensors.keys() & shard.keys()
            tensors |= shard
        return tensors


@pytest.fixture
def folders(tmp_path) -> Folders:
    return Folders(tmp_path)


@pytest.fixture
def sample(folders) -> Path:
    """A tied bf16 folder in the Hub layout."""
    config = folders.config()
    return folders.write("sample", config, folders.tensors(config))
