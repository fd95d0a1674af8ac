"""A tiny model with its own tokenizer, records with and without images, packed batches of them."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from onevision_jax.data.packing import Packing
from onevision_jax.data.pipeline import Pipeline
from onevision_jax.data.record import Record
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.data.source import RecordSource
from onevision_jax.model import ModelOptions
from onevision_jax.processor import Processor
from onevision_jax.train import OptimizerConfig, TrainConfig
from onevision_jax.train.scratch import ScratchConfig, write_scratch
from onevision_jax.types import Batch

FLOAT32 = ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32)


def make_record(number: int, rng: np.random.Generator) -> Record:
    """Every third has no image."""
    height, width = (int(side) for side in rng.integers(28, 120, 2))
    stream = io.BytesIO()
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return Record(
        id=f"r{number}",
        image=stream.getvalue() if number % 3 else None,
        question=f"What is value {number}?",
        answer=str(number),
        answer_kind="number",
        formal_text=f"label,value\na,{number}",
        formal_language="csv",
        reasoning="First, a is 1. " * int(rng.integers(1, 4)),
    )


@pytest.fixture(scope="session")
def records() -> list[Record]:
    rng = np.random.default_rng(0)
    return [make_record(number, rng) for number in range(48)]


@pytest.fixture(scope="session")
def start(records, tmp_path_factory):
    """The checkpoint training starts from; weights large enough that everything matters."""
    folder = tmp_path_factory.mktemp("scratch") / "start"
    texts = [f"{r.question} {r.formal_text} {r.reasoning}<think></think><answer>" for r in records]
    write_scratch(folder, texts, ScratchConfig(init_scale=0.2, num_merges=60))
    return folder


@pytest.fixture(scope="session")
def pipeline(records, start) -> Pipeline:
    packing = Packing(tokens_per_row=320, patch_budgets=(192,), window=16)
    return Pipeline(
        RecordSource(records),
        Processor.from_folder(start / "assets"),
        PipelineConfig(packing=packing, rows_per_batch=8, num_shards=4),
    )


@pytest.fixture(scope="session")
def arrays(pipeline):
    """The first packed batch: 8 rows."""
    return next(pipeline.batches())


@pytest.fixture(scope="session")
def batch(arrays) -> Batch:
    return Batch(**{name: jnp.asarray(array) for name, array in arrays.items()})


@pytest.fixture(scope="session")
def settings(start):
    """A short run in float32 on one device mesh of all."""

    def make(**changes) -> TrainConfig:
        fields = {
            "checkpoint": str(start),
            "num_steps": 4,
            "model": FLOAT32,
            "optimizer": OptimizerConfig(peak_lr=1e-3, warmup_steps=2, weight_decay=0.1),
            "save_every": 2,
            "log_every": 1,
        }
        return TrainConfig(**{**fields, **changes})

    return make
