"""A conversation with images to arrays: against the definitions, and mismatches."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from onevision_jax.errors import InputError
from onevision_jax.processor import Processor

TURN = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.fixture
def processor(model_folder):
    return Processor.from_folder(model_folder)


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def ask(*images, text="What is this?"):
    items = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*items, {"type": "text", "text": text}]}]


def test_text_only(processor):
    example = processor([{"role": "user", "content": "hi"}])
    num_tokens = len(example.tokens)
    assert example.positions.tolist() == [list(range(num_tokens))] * 3
    assert example.next_position == num_tokens
    assert np.all(example.vision_index == -1)
    assert example.patches.shape == (0, 588)
    assert example.patch_positions.shape == (0, 2)
    assert example.image_ids.shape == example.window_ids.shape == (0,)


def test_two_images_with_cut_windows(processor):
    """Images of 5 x 7 and 2 x 3 units, whose sizes need no resize: every pixel can be followed."""
    images = [picture(140, 196), picture(56, 84, seed=1)]
    example = processor(ask(*images))
    image_tokens = example.tokens == processor.config.image_token_id
    assert image_tokens.sum() == 35 + 6
    assert sorted(example.vision_index[image_tokens]) == list(range(41))
    assert example.image_ids.tolist() == [1] * 140 + [2] * 24
    assert np.bincount(example.window_ids)[1:].tolist() == [64, 48, 16, 12, 24]
    # The n-th image token shows the n-th unit in reading order: its position says which.
    h, w = example.positions[1:, image_tokens] - example.positions[0, image_tokens]
    units = example.patch_positions.reshape(-1, 4, 2)[example.vision_index[image_tokens]]
    np.testing.assert_array_equal(units[:, 0], np.stack([2 * h, 2 * w], -1))
    # Every patch is the crop its position names.
    for image_id, patch, (row, column) in zip(
        example.image_ids, example.patches, example.patch_positions, strict=True
    ):
        pixels = np.asarray(images[image_id - 1])
        crop = pixels[14 * row : 14 * row + 14, 14 * column : 14 * column + 14]
        np.testing.assert_array_equal(patch, crop.reshape(-1))


def test_dtypes_and_shapes(processor):
    example = processor(ask(picture(56, 84)))
    num_tokens = len(example.tokens)
    assert example.positions.shape == (3, num_tokens)
    assert example.patches.dtype == np.uint8
    for name in ("tokens", "positions", "vision_index", "patch_positions"):
        assert getattr(example, name).dtype == np.int32, name
    assert example.image_ids.dtype == example.window_ids.dtype == np.int32
    assert isinstance(example.next_position, int)


def test_images_inside_beside_and_mixed_are_the_same(processor, tmp_path):
    first, second = picture(56, 84), picture(84, 56, seed=1)
    stream = io.BytesIO()
    second.save(stream, "PNG")
    first.save(tmp_path / "first.png")
    ways = [
        processor(ask(first, second)),
        processor(ask(None, None), [first, second]),
        processor(ask(tmp_path / "first.png", None), [stream.getvalue()]),
        processor(ask(str(tmp_path / "first.png"), stream.getvalue())),
        processor([{"role": "user", "content": TURN + TURN + "What is this?"}], [first, second]),
    ]
    for way in ways[1:]:
        np.testing.assert_array_equal(way.tokens, ways[0].tokens)
        np.testing.assert_array_equal(way.patches, ways[0].patches)


def test_expansion_of_ids_equals_expansion_of_text(processor):
    """Repeating the id is the same as repeating `<|image_pad|>` in the text and tokenising."""
    text = f"a {TURN} b\n{TURN}c"
    example = processor.process_text(text, [picture(56, 84), picture(56, 56)])
    head, middle, tail = text.split("<|image_pad|>")
    long = head + "<|image_pad|>" * 6 + middle + "<|image_pad|>" * 4 + tail
    np.testing.assert_array_equal(example.tokens, processor.tokenizer.encode(long))


def test_resize_limits_of_the_caller(model_folder):
    small = Processor.from_folder(model_folder, max_pixels=784 * 6)
    large = Processor.from_folder(model_folder, min_pixels=784 * 100)
    assert len(small(ask(picture(300, 400))).patches) <= 24
    assert len(large(ask(picture(56, 56))).patches) >= 400


@pytest.mark.parametrize(("placeholders", "images"), [(1, 0), (0, 1), (2, 1), (1, 3)])
def test_placeholders_and_images_that_differ(processor, placeholders, images):
    expected = f"{placeholders} image placeholders.*{images} images are given"
    with pytest.raises(InputError, match=expected):
        processor.process_text("a" + TURN * placeholders, [picture(56, 56)] * images)


def test_image_items_and_images_that_differ(processor):
    with pytest.raises(InputError, match="1 image items have no image of their own but 2 images"):
        processor(ask(picture(56, 56), None), [picture(56, 56)] * 2)
    with pytest.raises(InputError, match="0 image items have no image of their own but 1 images"):
        processor(ask(picture(56, 56)), [picture(56, 56)])
    with pytest.raises(InputError, match="2 image placeholders"):
        processor(ask(None, None), [picture(56, 56)])
    with pytest.raises(InputError, match=r"2 image placeholders.*1 images"):
        processor(ask(picture(56, 56), text="<|image_pad|>"))


def test_video_url_empty_and_bad_image(processor):
    with pytest.raises(InputError, match="videos are not supported"):
        processor.process_text("<|video_pad|>")
    with pytest.raises(InputError, match="image_url"):
        processor([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])
    with pytest.raises(InputError, match="text is empty"):
        processor.process_text("")
    with pytest.raises(InputError, match="not a readable image"):
        processor(ask(b"junk"))


def test_processor_can_be_sent_to_a_data_worker(processor):
    copy = pickle.loads(pickle.dumps(processor))  # noqa: S301 (our own bytes)
    message = ask(picture(56, 84))
    np.testing.assert_array_equal(copy(message).tokens, processor(message).tokens)
