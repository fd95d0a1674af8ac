"""One record to one sequence: what is trained on, and the rule for what does not fit."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from onevision_jax.data.encode import Encode
from onevision_jax.data.record import Record
from onevision_jax.data.source import Rejected
from onevision_jax.data.target import TargetConfig, prompt_messages, response_text
from onevision_jax.errors import InputError


@pytest.fixture(scope="module")
def chart(png):
    return Record(
        id="one",
        image=png(100, 80),
        question="What is the largest value?",
        answer="22",
        formal_text="label,value\na,1\nb,22",
        formal_language="csv",
        reasoning="First, a is 1.",
    )


@pytest.fixture
def encode(processor):
    return Encode(processor, TargetConfig(), max_tokens=256, max_patches=512)


def test_is_the_rendered_conversation(encode, processor, chart):
    """Prompt and response are what the chat template makes of the whole conversation."""
    example = encode.train(chart)
    messages = prompt_messages(chart, encode.target)
    whole = [*messages, {"role": "assistant", "content": response_text(chart, encode.target)}]
    expected = processor(whole, add_generation_prompt=False)
    newline = processor.tokenizer.encode("\n")
    np.testing.assert_array_equal(np.append(example.tokens, newline), expected.tokens)
    np.testing.assert_array_equal(example.positions, expected.positions[:, : -len(newline)])
    np.testing.assert_array_equal(example.vision_index, expected.vision_index[: -len(newline)])
    for name in ("patches", "patch_positions", "image_ids", "window_ids"):
        np.testing.assert_array_equal(getattr(example, name), getattr(expected, name))
    assert example.next_position == expected.next_position - len(newline)


def test_only_the_response_has_weight(encode, processor, chart):
    example = encode.train(chart)
    np.testing.assert_array_equal(example.targets[:-1], example.tokens[1:])
    assert example.targets[-1] == processor.tokenizer.pad_id
    trained = example.targets[example.loss_weights == 1]
    text = processor.tokenizer.decode(trained)
    assert text == response_text(chart, encode.target) + "<|im_end|>"
    assert set(np.unique(example.loss_weights)) == {0.0, 1.0}
    assert example.loss_weights[-1] == 0
    assert not np.any(example.targets[example.loss_weights == 1] == processor.config.image_token_id)


def test_dtypes(encode, chart):
    for field in dataclasses.fields(example := encode.train(chart)):
        value = getattr(example, field.name)
        if field.name != "next_position":
            kinds = {"patches": np.uint8, "loss_weights": np.float32}
            assert value.dtype == kinds.get(field.name, np.int32), field.name


def test_prompt_is_the_front_of_the_training_sequence(encode, chart):
    prompt, example = encode.prompt(chart), encode.train(chart)
    num_prompt = len(prompt.example.tokens)
    assert prompt.record is chart
    np.testing.assert_array_equal(prompt.example.tokens, example.tokens[:num_prompt])
    assert int(np.argmax(example.loss_weights)) == num_prompt - 1
    assert (example.positions[:, num_prompt] == prompt.example.next_position).all()


def test_text_only(encode, chart):
    example = encode.train(dataclasses.replace(chart, image=None))
    assert example.patches.shape == (0, 588)
    assert (example.vision_index == -1).all()


def num_image_tokens(example):
    return int((example.vision_index >= 0).sum())


def test_image_shrinks_to_the_room_for_tokens(encode, chart, png):
    large = dataclasses.replace(chart, image=png(168, 168))
    whole = encode.train(large)
    assert num_image_tokens(whole) == 36
    num_text = len(whole.tokens) - 36
    tight = dataclasses.replace(encode, max_tokens=num_text + 20).train(large)
    assert 0 < num_image_tokens(tight) <= 20
    assert num_image_tokens(tight) == 16
    assert len(tight.patches) == 4 * 16
    text = whole.vision_index < 0
    np.testing.assert_array_equal(tight.tokens[tight.vision_index < 0], whole.tokens[text])
    assert tight.loss_weights.sum() == whole.loss_weights.sum()


def test_image_shrinks_to_the_room_for_patches(encode, chart, png):
    example = dataclasses.replace(encode, max_patches=100).train(
        dataclasses.replace(chart, image=png(168, 168))
    )
    assert len(example.patches) == 100


def test_below_min_pixels_it_is_left_out(processor, chart):
    config = dataclasses.replace(processor.config, min_pixels=784 * 16)
    encode = Encode(dataclasses.replace(processor, config=config), max_tokens=256, max_patches=60)
    with pytest.raises(Rejected, match="room for 15 vision tokens") as caught:
        encode.train(chart)
    assert caught.value.reason == "too long"


def test_elongated_image_that_cannot_shrink_is_left_out(encode, chart, png):
    thin = dataclasses.replace(chart, image=png(28 * 40, 28))
    with pytest.raises(Rejected) as caught:
        dataclasses.replace(encode, max_patches=40).train(thin)
    assert caught.value.reason == "too long"


def test_long_text_is_left_out(encode, chart):
    for record in (
        dataclasses.replace(chart, reasoning="a is 1. " * 200),
        dataclasses.replace(chart, question="?" * 10_000_000),
        dataclasses.replace(chart, reasoning="?" * 10_000_000),
    ):
        with pytest.raises(Rejected) as caught:
            encode.train(record)
        assert caught.value.reason == "too long"


@pytest.mark.parametrize("field", ["question", "reasoning", "answer", "formal_text"])
@pytest.mark.parametrize("token", ["<|im_end|>", "<|image_pad|>", "<|video_pad|>", "<|im_start|>"])
def test_control_tokens_in_a_record_are_left_out(encode, field, token, chart):
    with pytest.raises(Rejected, match="control token") as caught:
        encode.train(dataclasses.replace(chart, **{field: f"a{token}b"}))
    assert caught.value.reason == "text"


def test_broken_image_is_left_out(encode, chart, png):
    for image in (b"not an image", png(60, 60)[:200], b"<svg xmlns='http://www.w3.org/2000/svg'/>"):
        with pytest.raises(Rejected) as caught:
            encode.train(dataclasses.replace(chart, image=image))
        assert caught.value.reason == "image"


def test_hostile_target_is_left_out(encode, chart):
    with pytest.raises(Rejected) as caught:
        encode.train(dataclasses.replace(chart, answer="</answer>"))
    assert caught.value.reason == "target"


def test_settings(processor):
    with pytest.raises(InputError, match="max_tokens is 0"):
        Encode(processor, max_tokens=0)


def test_an_image_that_lies_on_its_side_is_turned_once(encode, processor, chart):
    """It is loaded twice, and the EXIF block must not turn it twice."""
    pixels = np.zeros((56, 112, 3), np.uint8)
    pixels[:, 56:] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    example = encode.train(dataclasses.replace(chart, image=stream.getvalue()))
    rows, columns = example.patch_positions.max(axis=0) + 1
    assert (rows, columns) == (8, 4)
    dark = example.patches.mean(axis=1) < 128
    np.testing.assert_array_equal(dark, example.patch_positions[:, 0] < 4)


@pytest.mark.parametrize("seed", range(30))
def test_what_fits_is_whole_and_what_does_not_is_counted(encode, processor, chart, png, seed):
    """Any image in any room: in bounds with its span uncut, or left out as too long."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(10, 400, 2))
    record = dataclasses.replace(chart, image=png(width, height))
    tight = dataclasses.replace(
        encode, max_tokens=int(rng.integers(40, 200)), max_patches=int(rng.integers(0, 100)) * 4
    )
    try:
        example = tight.train(record)
    except Rejected:
        with pytest.raises(Rejected, match=r"lengthen the rows|lower min_pixels") as caught:
            tight.train(record)
        assert caught.value.reason == "too long"
        return
    assert len(example.tokens) <= tight.max_tokens
    assert len(example.patches) <= tight.max_patches
    places = np.flatnonzero(example.tokens == processor.config.image_token_id)
    rows, columns = example.patch_positions.max(axis=0) + 1
    assert len(places) == len(example.patches) // 4 == rows * columns // 4
    np.testing.assert_array_equal(np.diff(places), 1)
    names = ("<|vision_start|>", "<|vision_end|>")
    edges = [processor.tokenizer.token_id(name) for name in names]
    assert list(example.tokens[[places[0] - 1, places[-1] + 1]]) == edges


def test_a_shrunk_image_is_the_image_at_that_size(encode, processor, chart, png):
    """What a smaller max_pixels alone would give: it is not resized twice."""
    large = dataclasses.replace(chart, image=png(168, 168))
    tight = dataclasses.replace(encode, max_patches=100).train(large)
    config = dataclasses.replace(processor.config, max_pixels=784 * 25)
    small = dataclasses.replace(encode, processor=dataclasses.replace(processor, config=config))
    np.testing.assert_array_equal(tight.patches, small.train(large).patches)
