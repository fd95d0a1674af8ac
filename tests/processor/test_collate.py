"""Batches: padding on either side, limits, and the ladder of sizes."""

import numpy as np
import pytest
from PIL import Image

from onevision_jax.errors import InputError
from onevision_jax.processor import Processor, bucket, collate

NAMES = ["tokens", "positions", "segment_ids", "vision_index"]
NAMES += ["patches", "patch_positions", "image_ids", "window_ids"]


@pytest.fixture
def examples(model_folder):
    processor = Processor.from_folder(model_folder)
    turn = "<|vision_start|><|image_pad|><|vision_end|>"
    images = [Image.new("RGB", (84, 56), "red"), Image.new("RGB", (196, 140), "blue")]
    return [
        processor.process_text("only text"),
        processor.process_text(f"a{turn}", images[:1]),
        processor.process_text(f"a{turn}b{turn}c", images),
    ]


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_are_the_examples(examples, side):
    batch = collate(examples, pad_to_tokens=64, pad_to_patches=176, side=side, pad_id=5)
    assert list(batch) == NAMES
    for row, example in enumerate(examples):
        real = batch["segment_ids"][row] == 1
        num_tokens = len(example.tokens)
        assert real.sum() == num_tokens
        assert real[0 if side == "right" else -1]
        np.testing.assert_array_equal(batch["tokens"][row, real], example.tokens)
        np.testing.assert_array_equal(batch["positions"][:, row, real], example.positions)
        np.testing.assert_array_equal(batch["vision_index"][row, real], example.vision_index)
        assert np.all(batch["tokens"][row, ~real] == 5)
        assert np.all(batch["vision_index"][row, ~real] == -1)
        num_patches = len(example.patches)
        for name in ("patches", "patch_positions", "image_ids", "window_ids"):
            np.testing.assert_array_equal(batch[name][row, :num_patches], getattr(example, name))
            assert not batch[name][row, num_patches:].any()


def test_shapes_and_dtypes(examples):
    batch = collate(examples, pad_to_tokens=64, pad_to_patches=200)
    shapes = {name: array.shape for name, array in batch.items()}
    assert shapes == {
        "tokens": (3, 64),
        "positions": (3, 3, 64),
        "segment_ids": (3, 64),
        "vision_index": (3, 64),
        "patches": (3, 200, 588),
        "patch_positions": (3, 200, 2),
        "image_ids": (3, 200),
        "window_ids": (3, 200),
    }
    for name, array in batch.items():
        assert array.dtype == (np.uint8 if name == "patches" else np.int32), name


def test_ids_are_contiguous_from_one_in_a_row(examples):
    batch = collate(examples, pad_to_tokens=64, pad_to_patches=200)
    for name, counts in (("image_ids", 2), ("window_ids", 5)):
        ids = batch[name][2]
        assert sorted(set(ids)) == list(range(counts + 1))
        assert np.all(np.diff(ids[ids > 0]) >= 0)


def test_text_only_batch_has_no_patches(examples):
    batch = collate(examples[:1], pad_to_tokens=16, pad_to_patches=0)
    assert batch["patches"].shape == (1, 0, 588)


def test_what_does_not_fit(examples):
    num_tokens = len(examples[2].tokens)
    with pytest.raises(InputError, match=f"example 2 has {num_tokens} tokens but the row holds 41"):
        collate(examples, pad_to_tokens=41, pad_to_patches=200)
    with pytest.raises(InputError, match="example 2 has 164 patches but the row holds 160"):
        collate(examples, pad_to_tokens=64, pad_to_patches=160)
    with pytest.raises(InputError, match="side"):
        collate(examples, pad_to_tokens=64, pad_to_patches=200, side="top")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="no examples"):
        collate([], pad_to_tokens=64, pad_to_patches=200)


def test_buckets():
    assert [bucket(n, 64) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]
    assert [bucket(n, [0, 256, 1024]) for n in (0, 1, 256, 257)] == [0, 256, 256, 1024]
    with pytest.raises(InputError, match=r"1025.*1024"):
        bucket(1025, [256, 1024])
    with pytest.raises(InputError, match="step"):
        bucket(3, 0)
