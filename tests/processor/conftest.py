"""A small tokenizer learnt once, and a model folder (without weights) around it."""

import json

import pytest

from onevision_jax.processor import Tokenizer
from onevision_jax.processor.tiny import train_tokenizer, write_processor_files

TEXTS = [
    "In triangle ABC, angle A = 35 degrees; find angle B. What does the image show?",
    "The answer is \\boxed{42}. <think>First, read the chart.</think>",
    "数学题：求面积 12.5 cm²。图中显示了什么？ 你好，世界！",
    "Привет, мир! مرحبا بالعالم 😀🚀👩‍👩‍👧 naïve café",
]


@pytest.fixture(scope="session")
def backend():
    return train_tokenizer(TEXTS * 5, num_merges=200)


@pytest.fixture
def model_folder(tmp_path, backend):
    folder = tmp_path / "model"
    ids = write_processor_files(folder, backend, max_pixels=12845056)
    vision = {"patch_size": 14, "spatial_merge_size": 2, "window_size": 112}
    (folder / "config.json").write_text(json.dumps({**ids, "vision_config": vision}))
    return folder


@pytest.fixture
def tokenizer(model_folder):
    return Tokenizer.from_folder(model_folder)
