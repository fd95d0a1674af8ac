"""Images: sizes against transformers' published numbers, colours, orientation, hostile files."""

import io
import itertools
import random
import resource
import struct
import time
import warnings
import zlib

import numpy as np
import PIL
import pytest
from PIL import ExifTags, Image

from onevision_jax.errors import InputError
from onevision_jax.processor import (
    MAX_IMAGE_PIXELS,
    load_image,
    patchify,
    resize_bicubic,
    smart_resize,
    window_order,
)

PUBLISHED = {"factor": 28, "min_pixels": 3136, "max_pixels": 12845056}


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(width: int, height: int, bits: int, color: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG built by hand: header, extra chunks, compressed rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            *(chunk(e[:4], e[4:]) for e in extra),
            chunk(b"IDAT", rows),
            chunk(b"IEND", b""),
        ]
    )


@pytest.mark.parametrize(
    ("size", "expected", "num_tokens"),
    [
        ((480, 640), (476, 644), 391),
        ((1080, 1920), (1092, 1932), 2691),
        ((4000, 3000), (4004, 2996), 15301),
        ((3000, 5000), (2772, 4620), 16335),
        ((2339, 1654), (2352, 1652), 4956),
        ((70, 98), (56, 112), 8),
        ((20, 20), (56, 56), 4),
        ((10, 200), (28, 252), 9),
        ((42, 126), (56, 112), 8),  # Half to even, both ways.
    ],
)
def test_smart_resize_of_published_sizes(size, expected, num_tokens):
    height, width = smart_resize(*size, **PUBLISHED)
    assert (height, width) == expected
    assert height * width // 784 == num_tokens


@pytest.mark.parametrize(
    ("size", "expected"), [((1080, 1920), (728, 1316)), ((4000, 3000), (1148, 840))]
)
def test_smart_resize_with_the_class_default_limit(size, expected):
    assert smart_resize(*size, factor=28, min_pixels=3136, max_pixels=1003520) == expected


def test_smart_resize_never_gives_an_empty_side():
    sides = [1, 5, 13, 14, 27, 28, 150, 199, 2000]
    for height, width in itertools.product(sides, sides):
        if max(height, width) <= 200 * min(height, width):
            assert min(smart_resize(height, width, factor=28, min_pixels=1, max_pixels=9999)) >= 28


@pytest.mark.parametrize("size", [(1, 201), (4221, 21), (0, 5)])
def test_smart_resize_refuses(size):
    with pytest.raises(InputError, match=r"aspect ratio|empty"):
        smart_resize(*size, **PUBLISHED)


def test_resize_is_horizontal_first_with_bytes_between():
    """480x640 -> 476x644 is where Pillow 13 changed the order of its passes."""
    image = Image.fromarray(noise(480, 640))
    two_steps = image.resize((644, 480), Image.Resampling.BICUBIC)
    two_steps = two_steps.resize((644, 476), Image.Resampling.BICUBIC)
    ours = np.asarray(resize_bicubic(image, 476, 644))
    np.testing.assert_array_equal(ours, np.asarray(two_steps))
    if int(PIL.__version__.split(".")[0]) < 13:
        at_once = image.resize((644, 476), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(ours, np.asarray(at_once))


def test_resize_to_the_same_size_changes_nothing():
    pixels = noise(56, 84)
    ours = resize_bicubic(Image.fromarray(pixels), 56, 84)
    np.testing.assert_array_equal(np.asarray(ours), pixels)


def test_patchify_order():
    """Rows of grid 4 x 6 as the specification lists them, each patch in (y, x, c) order."""
    pixels = noise(56, 84)
    patches = patchify(pixels, patch_size=14, merge_size=2)
    assert patches.shape == (24, 588)
    assert patches.dtype == np.uint8
    order = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3), (0, 4), (0, 5)]
    order += [(1, 4), (1, 5), (2, 0)]
    for patch, (row, column) in zip(patches, order, strict=False):
        crop = pixels[14 * row : 14 * row + 14, 14 * column : 14 * column + 14]
        np.testing.assert_array_equal(patch, crop.reshape(-1))


@pytest.mark.parametrize("size", [(28, 28), (112, 224), (308, 140), (252, 476)])
def test_patchify_in_window_order(size):
    """The units of `window_order`, one after the other."""
    pixels = noise(*size)
    by_row = patchify(pixels, patch_size=14, merge_size=2)
    h, w = size[0] // 14, size[1] // 14
    order = window_order(h, w, patch_size=14, merge_size=2, window_size=112).order
    expected = by_row.reshape(len(order), -1)[order].reshape(by_row.shape)
    ours = patchify(pixels, patch_size=14, merge_size=2, window=4)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (128, [0.0763361, 0.1688973, 0.3399487]),
        (0, [-1.7922626, -1.7520971, -1.4802198]),
        (255, [1.9303361, 2.0748837, 2.1458969]),
    ],
)
def test_grey_pixels_after_normalisation(value, expected):
    image = load_image(encoded(Image.new("L", (56, 56), value)))
    patches = patchify(np.asarray(image), patch_size=14, merge_size=2).reshape(-1, 3)
    mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
    std = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
    pixels = (patches.astype(np.float32) / np.float32(255) - mean) / std
    np.testing.assert_allclose(pixels, np.broadcast_to(expected, pixels.shape), atol=1e-6)


def test_path_bytes_and_pillow_image_are_the_same(tmp_path):
    image = Image.fromarray(noise(40, 50))
    (tmp_path / "a.png").write_bytes(encoded(image))
    loaded = [load_image(tmp_path / "a.png"), load_image(str(tmp_path / "a.png"))]
    loaded += [load_image(encoded(image)), load_image(image)]
    for one in loaded:
        assert one.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(one), np.asarray(image))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_put_on_white(mode):
    pixels = noise(30, 40, len(mode) if mode == "LA" else 4)
    color, alpha = pixels[..., :-1].astype(int), pixels[..., -1:].astype(int)
    expected = np.floor((color * alpha + 255 * (255 - alpha)) / 255 + 0.5).astype(np.uint8)
    ours = np.asarray(load_image(encoded(Image.fromarray(pixels, mode=None))))
    np.testing.assert_array_equal(ours, np.broadcast_to(expected, (30, 40, 3)))


@pytest.mark.parametrize("clear", [None, (0, 0), (29, 39)])
def test_an_alpha_channel_counts_wherever_it_is_used(clear):
    """One that is opaque everywhere changes nothing, and one see-through pixel is seen."""
    pixels = noise(30, 40, 4)
    pixels[..., 3] = 255
    if clear:
        pixels[*clear, 3] = 0
    expected = pixels[..., :3].copy()
    if clear:
        expected[clear] = 255
    np.testing.assert_array_equal(
        np.asarray(load_image(encoded(Image.fromarray(pixels)))), expected
    )


@pytest.mark.parametrize("transparency", [2, bytes([255, 128, 0, 7])])
def test_transparent_palette_is_put_on_white(transparency):
    colors = [(200, 0, 0), (0, 100, 0), (0, 0, 50), (9, 9, 9)]
    image = Image.new("P", (4, 1))
    image.putpalette([part for color in colors for part in color])
    image.putdata([0, 1, 2, 3])
    alphas = [255, 255, 0, 255] if transparency == 2 else list(transparency)
    loaded = load_image(encoded(image, transparency=transparency))
    expected = [
        tuple(int((c * a + 255 * (255 - a)) / 255 + 0.5) for c in color)
        for color, a in zip(colors, alphas, strict=True)
    ]
    assert [loaded.getpixel((x, 0)) for x in range(4)] == expected


def test_transparent_colour_of_rgb_and_grey():
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    loaded = load_image(encoded(image, transparency=(1, 2, 3)))
    assert (loaded.getpixel((0, 0)), loaded.getpixel((1, 0))) == ((255,) * 3, (9,) * 3)
    grey = Image.new("L", (2, 1), 7)
    grey.putpixel((1, 0), 8)
    loaded = load_image(encoded(grey, transparency=7))
    assert (loaded.getpixel((0, 0)), loaded.getpixel((1, 0))) == ((255,) * 3, (8,) * 3)


def test_sixteen_bit_grey_is_scaled():
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    expected = [0, 0, 1, 1, 128, 255]  # value / 257, rounded.
    for kind in ("PNG", "TIFF"):
        loaded = load_image(encoded(Image.fromarray(values), kind))
        assert np.asarray(loaded)[0, :, 0].tolist() == expected
    as_int = load_image(Image.fromarray(values.astype(np.int32)))
    assert np.asarray(as_int)[0, :, 0].tolist() == expected


def test_sixteen_bit_grey_with_a_transparent_value():
    rows = zlib.compress(b"\0" + struct.pack(">HH", 1000, 65535 // 2))
    loaded = load_image(png(2, 1, 16, 0, rows, b"tRNS" + struct.pack(">H", 1000)))
    assert np.asarray(loaded)[0, :, 0].tolist() == [255, 127]


def test_cmyk_bilevel_and_palette_become_rgb():
    assert load_image(encoded(Image.new("CMYK", (3, 3)), "TIFF")).getpixel((0, 0)) == (255,) * 3
    assert load_image(encoded(Image.new("1", (3, 3), 1))).getpixel((0, 0)) == (255,) * 3
    image = Image.new("RGB", (3, 3), (255, 0, 0)).quantize(4)
    assert load_image(encoded(image)).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation(orientation, kind):
    """The eight EXIF orientations, by what TIFF 6.0 says row 0 and column 0 are."""
    upright = noise(2, 3)
    turn = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: x.transpose(1, 0, 2)[::-1],
        7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda x: x.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(turn(upright)))
    loaded = load_image(encoded(stored, kind, exif=exif, **options))
    np.testing.assert_array_equal(np.asarray(loaded), upright)


def test_exif_of_a_pillow_image_leaves_it_as_it_was():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)))
    assert load_image(image).size == (20, 30)
    assert image.size == (30, 20)
    assert image.getexif()[0x0112] == 6


def test_damaged_exif_counts_as_none():
    data = encoded(Image.new("RGB", (30, 20)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" * 3)
    assert load_image(data).size == (30, 20)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (30, 30), color) for color in ("red", "green", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert load_image(data).getpixel((5, 5)) == (255, 0, 0)


def test_missing_file_directory_and_device(tmp_path):
    with pytest.raises(InputError, match=r"absent\.png' does not exist"):
        load_image(tmp_path / "absent.png")
    for path in (tmp_path, "/dev/zero"):
        with pytest.raises(InputError, match="not a regular file"):
            load_image(path)
    with pytest.raises(InputError, match="cannot be opened"):
        load_image("a\0b.png")
    with pytest.raises(InputError, match="given as int"):
        load_image(7)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_truncated_image(tmp_path, kind, keep):
    data = encoded(Image.fromarray(noise(60, 60)), kind)
    file = tmp_path / "cut.img"
    file.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match=r"cut\.img'.*(not a readable image|truncated or damaged)"):
        load_image(file)


@pytest.mark.parametrize("data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg></svg>"])
def test_other_files(data):
    with pytest.raises(InputError, match="not a readable image"):
        load_image(data)


@pytest.mark.parametrize(("size", "word"), [((0, 5), "empty"), ((4020, 20), "aspect ratio")])
def test_refused_shapes(size, word):
    with pytest.raises(InputError, match=word):
        load_image(Image.new("RGB", size))


def test_zero_size_and_elongated_headers():
    with pytest.raises(InputError, match=r"empty|not a readable"):
        load_image(png(0, 5, 8, 0, zlib.compress(b"\0")))
    with pytest.raises(InputError, match="aspect ratio"):
        load_image(png(100000, 10, 8, 0, b""))


def test_floating_point_image():
    with pytest.raises(InputError, match=r"mode F"):
        load_image(Image.new("F", (30, 30)))


def test_decompression_bomb_is_refused_from_its_header():
    compressor = zlib.compressobj(1)
    row = b"\0" + bytes(30000 // 8)
    rows = b"".join(compressor.compress(row * 1000) for _ in range(30)) + compressor.flush()
    data = png(30000, 30000, 1, 0, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with pytest.raises(InputError, match=f"over the limit of {MAX_IMAGE_PIXELS:,} pixels"):
        load_image(data)
    assert time.perf_counter() - start < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_limit_between_pillows_warning_and_error():
    """12,000 x 10,000 px only makes Pillow warn; the limit here refuses it, without a warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(InputError, match=r"12000 x 10000 pixels, over the limit"):
            load_image(png(12000, 10000, 8, 0, b""))
        assert load_image(Image.new("RGB", (30, 30))).size == (30, 30)
    assert not caught


def test_pillow_is_left_as_it_was():
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with pytest.raises(InputError):
        load_image(png(30000, 30000, 8, 0, b""))
    assert Image.MAX_IMAGE_PIXELS == limit
    assert warnings.filters == filters


def test_damaged_images_are_loaded_or_refused_never_worse():
    """Seeded mutations of real files: any outcome but an image or one InputError sentence fails."""
    rng = random.Random(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = [("PNG", {}), ("JPEG", {"exif": exif}), ("WEBP", {}), ("GIF", {}), ("BMP", {})]
    options += [("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {})]
    refused, sentences = 0, []
    for kind, option in options:
        original = encoded(Image.fromarray(noise(40, 50)), kind, **option)
        for _ in range(60):
            data = bytearray(original)
            for _ in range(rng.choice([1, 4, 30])):
                data[rng.randrange(min(len(data), rng.choice([60, 100000])))] = rng.randrange(256)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    assert load_image(bytes(data)).mode == "RGB"
                except InputError as error:
                    refused += 1
                    sentences.append(str(error))
            assert not caught, [str(warning.message) for warning in caught]
    assert 50 < refused < 400
    assert not any("\n" in sentence for sentence in sentences)


def in_two_passes(image):
    """Pillow's own, width first: Pillow 13 by itself may take the height first."""
    wide = image.resize((112, image.height), Image.Resampling.BICUBIC)
    return wide.resize((112, 84), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(90, 61), (200, 130), (28, 300)])
def test_grey_images_resize_as_their_three_channels_would(size):
    grey = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 1), dtype=np.uint8)
    image = Image.fromarray(np.repeat(grey, 3, axis=2))
    expected = in_two_passes(image)
    np.testing.assert_array_equal(np.asarray(resize_bicubic(image, 84, 112)), np.asarray(expected))
    spot = np.asarray(image).copy()
    spot[0, 0] = (0, 255, 0)  # Far from the centre, which is looked at first.
    tinted = Image.fromarray(spot)
    expected = in_two_passes(tinted)
    np.testing.assert_array_equal(np.asarray(resize_bicubic(tinted, 84, 112)), np.asarray(expected))


def test_loading_again_changes_nothing():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    once = load_image(encoded(Image.new("RGB", (40, 30)), "JPEG", exif=exif))
    assert once.size == (30, 40)
    assert load_image(once) is once
