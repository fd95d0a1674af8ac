"""200 random conversations with images against transformers: ids, positions, windows, pixels.

The reference is transformers' PIL image processor, its tokenizer and template code, and the
position and window functions of its model. Those leave EXIF orientation, alpha and 16-bit grey to
the caller, so they are applied to the reference here, in numpy and independently of our code.
"""

import io
import json
import random
import types
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onevision_jax.processor import Example, Processor
from onevision_jax.processor.tiny import train_tokenizer, write_processor_files

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as reference  # noqa: E402
from transformers.models.qwen2_vl.image_processing_qwen2_vl import (  # noqa: E402
    Qwen2VLImageProcessor,
)

pytestmark = pytest.mark.parity

NUM_CONVERSATIONS = 200
CHUNKS = 8
WORDS = [
    "the angle",
    "\\frac{1}{2}",
    "12,345.67",
    "什么是面积",
    "図を説明して",
    "그림을 보고",
    "Что показано",
    "ما هذا",
    "😀👩‍👩‍👧🚀",
    "e\u0301 na\u00efve",
    "\n\n  - item\t",
    "<|im_end|>",
    "<tool_call>{}</tool_call>",
    "'S it's",
    "   ",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer([" ".join(WORDS)] * 5, num_merges=150)
    ids = write_processor_files(path, tokenizer, max_pixels=1_500_000)
    vision = {"patch_size": 14, "spatial_merge_size": 2, "window_size": 112}
    config = {"model_type": "qwen2_5_vl", **ids, "vision_config": vision}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def ours(folder):
    return Processor.from_folder(folder)


@pytest.fixture(scope="module")
def theirs(folder):
    """transformers' parts, and the two model functions on nothing but the fields they read."""
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] = types.SimpleNamespace(spatial_merge_size=2, tokens_per_second=2)
    model: Any = types.SimpleNamespace(config=types.SimpleNamespace(**config))
    tower: Any = types.SimpleNamespace(
        window_size=112, spatial_merge_size=2, patch_size=14, spatial_merge_unit=4
    )
    return types.SimpleNamespace(
        tokenizer=transformers.Qwen2TokenizerFast.from_pretrained(folder),
        images=Qwen2VLImageProcessor.from_pretrained(folder),
        positions=lambda **inputs: reference.Qwen2_5_VLModel.get_rope_index(model, **inputs),
        windows=lambda grid: reference.Qwen2_5_VisionTransformerPretrainedModel.get_window_index(
            tower, grid
        ),
    )


def test_the_reference_is_the_pinned_one():
    assert transformers.__version__ == "4.57.6"
    assert int(Image.__version__.split(".")[0]) < 13, "the reference resizes as Pillow does"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_conversations(ours, theirs, chunk):
    num_images = 0
    for seed in range(chunk, NUM_CONVERSATIONS, CHUNKS):
        rng = random.Random(seed)
        messages, files, pictures = conversation(rng)
        num_images += len(files)
        compare(ours, theirs, messages, files, pictures)
    assert num_images >= NUM_CONVERSATIONS // CHUNKS


def compare(ours, theirs, messages, files, pictures) -> None:
    """One conversation through both."""
    example = ours(messages, files)
    text = theirs.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    grids = None
    if pictures:
        vision = theirs.images(images=pictures, return_tensors="pt")
        grids = vision["image_grid_thw"]
        compare_vision(example, theirs, vision["pixel_values"].numpy(), grids, ours)
        parts = text.split("<|image_pad|>")
        counts = [int(grid.prod()) // 4 for grid in grids]
        text = parts[0] + "".join(
            "<|image_pad|>" * count + part for count, part in zip(counts, parts[1:], strict=True)
        )
    else:
        assert example.patches.shape == (0, 588)
        assert np.all(example.vision_index == -1)
    ids = theirs.tokenizer(text, return_tensors="pt")["input_ids"]
    np.testing.assert_array_equal(example.tokens, ids[0].numpy())
    positions, delta = theirs.positions(
        input_ids=ids, image_grid_thw=grids, attention_mask=torch.ones_like(ids)
    )
    np.testing.assert_array_equal(example.positions, positions[:, 0].numpy())
    assert example.next_position == len(example.tokens) + int(delta)


def compare_vision(example: Example, theirs, pixels, grids, ours) -> None:
    """Pixels, window order, window and image ranges, and the way back from it."""
    order, window_ends = theirs.windows(grids)
    order = order.numpy()
    normalised = as_transformers(example.patches, ours.config)
    expected = pixels.reshape(len(order), 4, -1)[order].reshape(pixels.shape)
    assert np.abs(normalised - expected).max() <= 1e-5

    window_ends = sorted(set(window_ends[1:]))
    np.testing.assert_array_equal(np.bincount(example.window_ids)[1:].cumsum(), window_ends)
    num_patches = grids.prod(-1).numpy()
    np.testing.assert_array_equal(np.bincount(example.image_ids)[1:], num_patches)
    image_tokens = example.tokens == ours.config.image_token_id
    np.testing.assert_array_equal(example.vision_index[image_tokens], np.argsort(order))


def as_transformers(patches: np.ndarray, config) -> np.ndarray:
    """uint8 [P, 588] in (y, x, c) order -> normalised f32 [P, 1176] in (c, t, y, x) order."""
    mean, std = (np.array(v, np.float32) for v in (config.image_mean, config.image_std))
    pixels = (patches.reshape(-1, 14, 14, 3).astype(np.float32) / np.float32(255) - mean) / std
    pixels = np.repeat(pixels.transpose(0, 3, 1, 2)[:, :, None], 2, axis=2)
    return pixels.reshape(len(patches), 1176)


# --- What is asked ----------------------------------------------------------------------------


def conversation(rng: random.Random):
    """Messages for either side, encoded images for ours, finished RGB pictures for theirs."""
    num_images = rng.choice([0, 1, 1, 1, 2, 3])
    made = [make_image(rng) for _ in range(num_images)]
    messages = []
    if rng.random() < 0.5:
        messages.append({"role": "system", "content": words(rng)})
    num_turns = rng.randint(1, 3)
    per_turn = [0] * num_turns
    for _ in range(num_images):
        per_turn[rng.randrange(num_turns)] += 1
    for turn, count in enumerate(per_turn):
        if turn:
            messages.append({"role": "assistant", "content": words(rng)})
        if count == 0 and rng.random() < 0.5:
            messages.append({"role": "user", "content": words(rng)})
            continue
        items = [{"type": "image"} for _ in range(count)]
        items += [{"type": "text", "text": words(rng)} for _ in range(rng.randint(1, 2))]
        rng.shuffle(items)
        messages.append({"role": "user", "content": items})
    return messages, [file for file, _ in made], [picture for _, picture in made]


def words(rng: random.Random) -> str:
    return rng.choice(["", " "]).join(rng.choice(WORDS) for _ in range(rng.randint(1, 8)))


def make_image(rng: random.Random) -> tuple[bytes, Image.Image]:
    """An encoded image of a random kind and size, and what it should look like."""
    kind = rng.choice(list(KINDS))
    height, width = size(rng)
    return KINDS[kind](rng, texture(rng, height, width))


def size(rng: random.Random) -> tuple[int, int]:
    """28 to 2000 px a side, aspect up to 1:30; now and then large, else at most 0.4 megapixels."""
    limit = 2000 * 2000 if rng.random() < 0.05 else 400_000
    while True:
        height, width = (int(28 * (2000 / 28) ** rng.random()) for _ in range(2))
        if max(height, width) <= 30 * min(height, width) and height * width <= limit:
            return height, width


def texture(rng: random.Random, height: int, width: int) -> np.ndarray:
    """RGBA with gradients, hard edges and noise: resampling errors show in each differently."""
    noise = np.random.default_rng(rng.randrange(2**32))
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 127 * np.sin(x / (3 + 9 * k) + y / (5 + 4 * k)) for k in range(4)]
    pixels = np.stack(waves, -1)
    pixels[(x // 17 + y // 11) % 5 == 0] = noise.integers(0, 256, 4)
    pixels += noise.normal(0, 12, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def on_white(color_HWC: np.ndarray, alpha_HW: np.ndarray) -> Image.Image:
    alpha = alpha_HW.astype(np.float64)[..., None] / 255
    blend = color_HWC * alpha + 255 * (1 - alpha)
    return Image.fromarray(np.floor(blend + 0.5).astype(np.uint8))


def plain_png(rng, pixels):
    image = Image.fromarray(pixels[..., :3])
    return encode(image, "PNG"), image


def plain_jpeg(rng, pixels):
    data = encode(Image.fromarray(pixels[..., :3]), "JPEG", quality=rng.randint(40, 95))
    return data, Image.open(io.BytesIO(data)).convert("RGB")


def turned_jpeg(rng, pixels):
    """EXIF 1..8: where the stored row 0 and column 0 belong in the upright picture."""
    orientation = rng.randint(1, 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(pixels[..., :3]), "JPEG", exif=exif)
    stored = np.asarray(Image.open(io.BytesIO(data)))
    if orientation >= 5:
        stored = stored.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    return data, Image.fromarray(np.ascontiguousarray(stored))


def grey_png(rng, pixels):
    grey = pixels[..., 0]
    return encode(Image.fromarray(grey), "PNG"), Image.fromarray(np.stack([grey] * 3, -1))


def rgba_png(rng, pixels):
    return encode(Image.fromarray(pixels), "PNG"), on_white(pixels[..., :3], pixels[..., 3])


def grey_alpha_png(rng, pixels):
    image = Image.fromarray(np.ascontiguousarray(pixels[..., ::3]))
    assert image.mode == "LA"
    return encode(image, "PNG"), on_white(np.stack([pixels[..., 0]] * 3, -1), pixels[..., 3])


def palette_png(rng, pixels):
    image = Image.fromarray(pixels[..., :3]).quantize(64)
    return encode(image, "PNG"), Image.fromarray(palette_of(image)[np.asarray(image)])


def transparent_palette_png(rng, pixels):
    image = Image.fromarray(pixels[..., :3]).quantize(64)
    palette = palette_of(image)
    alpha = np.array([rng.choice([0, 90, 255]) for _ in palette], np.uint8)
    index = np.asarray(image)
    data = encode(image, "PNG", transparency=alpha.tobytes())
    return data, on_white(palette[index], alpha[index])


def transparent_gif(rng, pixels):
    image = Image.fromarray(pixels[..., :3]).quantize(16)
    clear = rng.randrange(16)
    data = encode(image, "GIF", transparency=clear, optimize=False)
    stored = Image.open(io.BytesIO(data))
    palette, index = palette_of(stored), np.asarray(stored)
    return data, on_white(palette[index], np.where(index == stored.info["transparency"], 0, 255))


def sixteen_bit_png(rng, pixels):
    grey = pixels[..., 0].astype(np.uint16) * 256 + pixels[..., 1]
    small = np.floor(grey / 257 + 0.5).astype(np.uint8)
    return encode(Image.fromarray(grey), "PNG"), Image.fromarray(np.stack([small] * 3, -1))


def palette_of(image: Image.Image) -> np.ndarray:
    return np.array(image.getpalette(), np.uint8).reshape(-1, 3)


KINDS = {
    function.__name__: function
    for function in (
        plain_png,
        plain_jpeg,
        turned_jpeg,
        grey_png,
        rgba_png,
        grey_alpha_png,
        palette_png,
        transparent_palette_png,
        transparent_gif,
        sixteen_bit_png,
    )
}
