"""Tiny random transformers models in real folders, and ours read from them.

Shapes are odd on purpose: three query heads per kv head, vision depths that are no multiple of the
full-attention period, head widths 16 and 80, tied and untied heads.
"""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import jax.numpy as jnp
import torch
import transformers

from onevision_jax.convert import load_model
from onevision_jax.model import ModelOptions, QwenVL
from onevision_jax.processor import Processor
from onevision_jax.processor.tiny import train_tokenizer, write_processor_files

TEXTS = [
    "What is the angle at B? The area of the triangle is 12 cm. Read the chart, then answer.",
    "<think>Both bars are taller than 30, so the answer is two.</think><answer>2</answer>",
]


@dataclasses.dataclass(frozen=True)
class Shape:
    text: dict
    vision: dict


SHAPES = {
    "grouped": Shape(
        {
            "hidden_size": 96,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
            "tie_word_embeddings": False,
        },
        {
            "depth": 5,
            "hidden_size": 64,
            "intermediate_size": 80,
            "num_heads": 4,
            "out_hidden_size": 96,
            "fullatt_block_indexes": [1, 3],
        },
    ),
    "wide": Shape(
        {
            "hidden_size": 160,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_scaling": {"type": "mrope", "mrope_section": [10, 15, 15]},
            "tie_word_embeddings": True,
        },
        {
            "depth": 3,
            "hidden_size": 160,
            "intermediate_size": 96,
            "num_heads": 2,
            "out_hidden_size": 160,
            "fullatt_block_indexes": [2],
        },
    ),
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """The same weights twice, and the processor of their folder."""

    folder: str
    theirs: transformers.Qwen2_5_VLForConditionalGeneration
    ours: QwenVL
    processor: Processor
    image_processor: transformers.Qwen2VLImageProcessor

    def pixels(self, images) -> dict[str, torch.Tensor]:
        """pixel_values and image_grid_thw by transformers' own processor; {} without images."""
        if not images:
            return {}
        return dict(self.image_processor(images=images, return_tensors="pt"))


@pytest.fixture(scope="session", params=sorted(SHAPES))
def pair(request, tmp_path_factory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    shape = SHAPES[request.param]
    ids = write_processor_files(folder, train_tokenizer(TEXTS, num_merges=60), max_pixels=200_704)
    theirs = random_model(shape, ids)
    theirs.save_pretrained(folder)
    # The processor files name stop ids; save_pretrained wrote its own generation_config.json.
    stops = {"eos_token_id": ids["eos_token_id"], "pad_token_id": ids["bos_token_id"]}
    (folder / "generation_config.json").write_text(json.dumps(stops))
    options = ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    return Pair(
        folder=str(folder),
        theirs=theirs,
        ours=load_model(folder, options=options),
        processor=Processor.from_folder(folder),
        image_processor=transformers.Qwen2VLImageProcessor(
            min_pixels=settings["min_pixels"], max_pixels=settings["max_pixels"]
        ),
    )


def random_model(shape: Shape, ids: dict) -> transformers.Qwen2_5_VLForConditionalGeneration:
    """Weights large enough that answers vary; norms and biases away from 1 and 0."""
    config = transformers.Qwen2_5_VLConfig(
        text_config={"vocab_size": 400, "rms_norm_eps": 1e-6, "rope_theta": 1e6, **shape.text},
        vision_config={"tokens_per_second": 2, **shape.vision},
        **ids,
    )
    torch.manual_seed(0)
    model = transformers.Qwen2_5_VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif "embed_tokens" in name or "lm_head" in name:
                parameter.mul_(4.0)
            else:
                parameter.mul_(6.0)
    return model


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Random pictures whose windows are cut on both edges; heights and widths in pixels."""
    rng = np.random.default_rng(0)
    sizes = [(140, 196), (56, 56), (300, 90), (75, 333)]
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]
