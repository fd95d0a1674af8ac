"""A processor with a small tokenizer, and records with and without images."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from onevision_jax.data.record import Record
from onevision_jax.processor import Processor
from onevision_jax.processor.tiny import train_tokenizer, write_processor_files

TEXTS = ["What is the largest value? label,value\na,1\nb,22\n<think>First, a is 1.</think>"] * 5


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    backend = train_tokenizer(TEXTS, num_merges=100)
    ids = write_processor_files(folder, backend, min_pixels=784, max_pixels=784 * 48)
    vision = {"patch_size": 14, "spatial_merge_size": 2, "window_size": 112}
    (folder / "config.json").write_text(json.dumps({**ids, "vision_config": vision}))
    return folder


@pytest.fixture(scope="session")
def processor(model_folder):
    return Processor.from_folder(model_folder)


def make_png(width: int, height: int, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


def record(number: int, rng: np.random.Generator) -> Record:
    """One of five has no image; lengths and sizes vary several-fold."""
    width, height = (int(side) for side in rng.integers(28, 230, 2))
    return Record(
        id=f"r{number}",
        image=None if number % 5 == 0 else make_png(width, height, number),
        question=f"What is value {number}?",
        answer=str(number),
        answer_kind="number",
        formal_text=f"label,value\na,{number}",
        formal_language="csv",
        reasoning="First, a is 1. " * int(rng.integers(1, 12)),
    )


@pytest.fixture(scope="session")
def png():
    """Encodes noise: (width, height, seed=0) -> bytes."""
    return make_png


@pytest.fixture(scope="session")
def records():
    rng = np.random.default_rng(0)
    return [record(number, rng) for number in range(61)]
