"""The ladder of patch budgets, and the rule for what is over a row's size, through the pipeline."""

import dataclasses

import numpy as np
import pytest

from onevision_jax.data.packing import Packing, unpack
from onevision_jax.data.pipeline import Pipeline, PipelineConfig
from onevision_jax.data.record import Record, write_jsonl
from onevision_jax.data.source import JsonlSource

BUDGETS = (0, 64, 128, 192)


def make(tmp_path, processor, records, **config) -> Pipeline:
    write_jsonl(tmp_path / "train.jsonl", records)
    packing = Packing(tokens_per_row=256, patch_budgets=BUDGETS, window=4)
    settings = PipelineConfig(
        packing=packing, rows_per_batch=1, num_shards=1, shuffle=False, num_epochs=1, **config
    )
    return Pipeline(JsonlSource((str(tmp_path / "train.jsonl"),)), processor, settings)


def asked(number: int, image: bytes | None, reasoning: str = "") -> Record:
    return Record(f"r{number}", image, "What is shown?", str(number), reasoning=reasoning)


@pytest.mark.parametrize("workers", [0, 1])
def test_as_many_shapes_as_budgets_and_no_more(tmp_path, processor, png, workers):
    """A step compiles once for each shape; the ladder bounds how many, and says so beforehand."""
    rng = np.random.default_rng(0)
    few, many = [asked(n, None, "First, a is 1. " * 6) for n in range(8)], []
    for number in range(8, 80):
        width, height = (int(side) for side in rng.integers(28, 200, 2))
        many.append(
            asked(number, png(width, height, number), "First, a is 1. " * int(rng.integers(6)))
        )
    pipeline = make(tmp_path, processor, [*few, *many], num_workers=workers)
    with pipeline.batches() as batches:
        seen = {(*b["tokens"].shape, b["patches"].shape[1]): b for b in batches}
    assert set(seen) == set(pipeline.shapes())
    assert len(seen) == len(BUDGETS)
    for shape in pipeline.shapes():
        assert str(shape) in str(pipeline)
    for (_, _, budget), batch in seen.items():
        used = int((batch["image_ids"] > 0).sum())
        assert used <= budget
        assert used > max((b for b in BUDGETS if b < budget), default=-1)


@pytest.mark.parametrize("workers", [0, 1])
def test_over_long_examples_shrink_or_are_counted(tmp_path, processor, png, workers):
    """192 patches are 48 vision tokens: larger images shrink; text over 256 tokens is dropped."""
    encode = make(tmp_path / "bare", processor, [asked(0, None)]).encode
    bare = len(encode.train(asked(0, None)).tokens)
    room = 256 - bare - 10 - 20  # for 10 tokens each: leaves some 20 vision tokens to an image
    records = [
        asked(0, png(60, 60)),
        asked(1, png(400, 400)),  # 48 vision tokens by the fixture's limit: fits as it is
        asked(2, png(400, 400), "First, a is 1. " * (room // 10)),  # leaves little room: shrinks
        asked(3, png(60, 60), "First, a is 1. " * 200),
        asked(4, None, "First, a is 1. " * 200),
        asked(5, png(28 * 60, 28)),  # 60 units at least: cannot shrink below its one row
    ]
    pipeline = make(tmp_path, processor, records, num_workers=workers)
    with pipeline.batches() as batches:
        found = [example for batch in batches for example in unpack(batch)]
        assert batches.dropped.counts == {"too long": 3}
        assert batches.num_examples == len(found) == 3
    units = {}
    for example in found:
        text = processor.tokenizer.decode(example.targets[example.loss_weights > 0])
        units[text.split("<answer>")[1][0]] = len(example.patches) // 4
        places = np.flatnonzero(example.tokens == processor.config.image_token_id)
        assert len(places) == len(example.patches) // 4
        np.testing.assert_array_equal(np.diff(places), 1)  # The span of an image is never cut.
        assert len(example.tokens) <= 256
    assert units["0"] == 4
    assert units["1"] > units["2"] >= 1
    alone = dataclasses.replace(pipeline.encode, max_tokens=10_000, max_patches=10_000)
    assert units["2"] < len(alone.train(records[2]).patches) // 4
    assert units["1"] == len(alone.train(records[1]).patches) // 4
