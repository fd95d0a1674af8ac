"""Checkpoints made from nothing: what they are told about text and pixels reaches the model."""

import json

import numpy as np
import pytest

from onevision_jax.model import from_folder
from onevision_jax.processor import Processor
from onevision_jax.train.scratch import ScratchConfig, write_scratch

TEXTS = ["row K is 4, row M is 7. K,4\nM,7\nWhat is K plus M?\n" * 20]
ASK = [{"role": "user", "content": "row K"}]


def folder_of(tmp_path, **settings):
    write_scratch(tmp_path / "start", TEXTS, ScratchConfig(**settings))
    return tmp_path / "start" / "assets"


def test_pixel_statistics_reach_model_and_processor_file(tmp_path):
    white = {"image_mean": (1.0, 1.0, 1.0), "image_std": (0.3, 0.3, 0.3)}
    assets = folder_of(tmp_path, **white)
    assert from_folder(assets).vision.image_mean == (1.0, 1.0, 1.0)
    stored = json.loads((assets / "preprocessor_config.json").read_text())
    assert stored["image_std"] == [0.3, 0.3, 0.3]


@pytest.mark.parametrize("plain", [True, False])
def test_a_letter_of_the_plain_pattern_is_one_token_wherever_it_stands(tmp_path, plain):
    tokenizer = Processor.from_folder(folder_of(tmp_path, plain_pattern=plain)).tokenizer
    letter = set(tokenizer.encode("K"))
    found = [set(tokenizer.encode(text)) & letter for text in ("row K", "\nK,4", "(K", "is K plus")]
    assert all(found) == plain
    assert (len(tokenizer.encode("K,4")) == 2) == plain
    text = "row K is 4,\tthe KM of it."
    assert tokenizer.decode(list(tokenizer.encode(text))) == text


@pytest.mark.parametrize("default_system", [True, False])
def test_the_system_prompt_can_be_left_out(tmp_path, default_system):
    processor = Processor.from_folder(folder_of(tmp_path, default_system=default_system))
    assert ("You are a helpful" in processor.render(ASK)) == default_system
    asked = [{"role": "system", "content": "Be brief."}, *ASK]
    assert "Be brief." in processor.render(asked)
    assert np.asarray(processor(ASK).tokens).size > 3
