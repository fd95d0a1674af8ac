"""From hostile image bytes to uint8 patches: load, smart resize, cut.

Letters: H, W image height and width; h, w patch grid height and width; M merged units; P patches.

The result equals transformers' PIL processor (`Qwen2VLImageProcessor`) before rescaling and
normalisation, which the model does itself from the uint8 patches. What that processor leaves to the
caller is done here: EXIF orientation, alpha on white, 16-bit grey. Only common raster formats are
opened, so no image file starts Ghostscript or reaches a rarely fuzzed decoder.
"""

import contextlib
import io
import itertools
import math
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import (
    ExifTags,
    Image,
    TiffImagePlugin,  # noqa: F401  (importing registers the format)
    WebPImagePlugin,  # noqa: F401
)

from onevision_jax.errors import InputError

MAX_IMAGE_PIXELS = 100_000_000
"""Largest image that is decoded (a 100-megapixel photograph, 0.4 GB in Pillow); header-checked."""

MAX_ASPECT_RATIO = 200
"""Longest side over shortest side; the model's own processor has the same limit."""

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

ImageSource = bytes | str | os.PathLike | Image.Image

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WARNING_FILTERS = threading.Lock()


def load_image(source: ImageSource) -> Image.Image:
    """Reads an image as upright RGB: EXIF orientation applied, alpha composited on white.

    16-bit grey is scaled to 8 bits, grey, palette and CMYK become RGB, an animation gives its first
    frame. A broken EXIF block counts as "no orientation"; colour profiles are ignored.

    Args:
        source: encoded bytes, the path of a file, or a Pillow image (left as it is; one that is
            upright RGB already is returned itself).

    Raises:
        InputError: nothing there, not decodable, empty, over `MAX_IMAGE_PIXELS` (checked in the
            header, before any pixel is decoded), or more elongated than `MAX_ASPECT_RATIO`.
    """
    if isinstance(source, Image.Image):
        return _decode(source, "the Pillow image")
    if isinstance(source, bytes | bytearray | memoryview):
        with io.BytesIO(source) as stream:
            return _read(stream, f"the image given as {len(source)} bytes")
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"an image is given as {type(source).__name__}; give a path, bytes or a Pillow image"
        )
    name = f"image file {os.fspath(source)!r}"
    try:
        # A pipe or a device would block or never end.
        if not stat.S_ISREG(os.stat(source).st_mode):
            raise InputError(f"{name} is not a regular file; give the path of an image")
        with open(source, "rb") as stream:
            return _read(stream, name)
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} cannot be opened ({_one_line(error)}); check it") from error


def smart_resize(
    height: int, width: int, *, factor: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """The (height, width) an image is resized to: multiples of `factor`, area within the limits.

    Sides are rounded half to even, as Python's `round` does; areas are in pixels. Both limits scale
    the original sides, so the aspect ratio is kept as well as multiples allow.

    Raises:
        InputError: an empty side, or an aspect ratio over `MAX_ASPECT_RATIO`.
    """
    _check_size(height, width, "the image")
    new_height = round(height / factor) * factor
    new_width = round(width / factor) * factor
    if new_height * new_width > max_pixels:
        shrink = math.sqrt((height * width) / max_pixels)
        new_height = max(factor, math.floor(height / shrink / factor) * factor)
        new_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif new_height * new_width < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        new_height = math.ceil(height * grow / factor) * factor
        new_width = math.ceil(width * grow / factor) * factor
    return new_height, new_width


def resize_bicubic(image: Image.Image, height: int, width: int) -> Image.Image:
    """Antialiased bicubic resize, horizontal pass first, rounded to uint8 between the passes.

    Two one-axis resizes are bit-equal to the single call of Pillow < 13 and to torchvision; Pillow
    13 by itself runs the vertical pass first when height shrinks and width grows. Channels never
    mix, so those of a grey image are resized once, not three times.
    """
    if image.size == (width, height):
        return image
    grey = _grey_channel(image)
    if grey is not None:
        return _resize(grey, height, width).convert("RGB")
    return _resize(image, height, width)


def _resize(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.width != width:
        image = image.resize((width, image.height), Image.Resampling.BICUBIC)
    if image.height != height:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return image


def _grey_channel(image: Image.Image) -> Image.Image | None:
    """The one channel of an RGB image whose three are equal, as in scans and line drawings."""
    if image.mode != "RGB":
        return None
    sample = np.asarray(image.resize((48, 48), Image.Resampling.NEAREST))
    if (sample != sample[:, :, :1]).any():  # Most coloured images end here.
        return None
    red = image.getchannel(0)
    same = red.tobytes()
    if any(image.getchannel(channel).tobytes() != same for channel in (1, 2)):
        return None
    return red


def patchify(
    image_HWC: np.ndarray, *, patch_size: int, merge_size: int, window: int | None = None
) -> np.ndarray:
    """Cuts an image into flattened patches, the patches of one merged unit next to each other.

    Args:
        image_HWC: uint8 [H, W, C], H and W multiples of patch_size * merge_size.
        window: merged units along the side of a window. Units lie window after window, row by row
            within each: the order of `window_order`. None = row by row over the whole image.

    Returns:
        uint8 [P, patch_size * patch_size * C], each row a patch in (y, x, c) order; with merge_size
        2, rows 4m .. 4m+3 are the upper left, upper right, lower left, lower right patch of unit m.
    """
    height, width, num_channels = image_HWC.shape
    h, w = height // patch_size, width // patch_size
    assert height % (patch_size * merge_size) == 0, (height, patch_size, merge_size)
    assert width % (patch_size * merge_size) == 0, (width, patch_size, merge_size)
    # One patch row (14 x 3 bytes) is moved as a single opaque item: 5 times fewer strides to walk.
    run = np.dtype((np.void, patch_size * num_channels))
    rows = np.ascontiguousarray(image_HWC).reshape(height, -1).view(run)
    units = rows.reshape(h // merge_size, merge_size, patch_size, w // merge_size, merge_size)
    units = units.transpose(0, 3, 1, 4, 2)
    side = window or max(h, w)
    patches, done = np.empty((h * w, patch_size), run), 0
    for top, left in itertools.product(range(0, len(units), side), range(0, w // merge_size, side)):
        part = units[top : top + side, left : left + side]
        # Straight to its place: every further copy of the pixels costs as much as the cut itself.
        patches[done : done + part.size // patch_size].reshape(part.shape)[...] = part
        done += part.size // patch_size
    return patches.view(np.uint8).reshape(h * w, patch_size * patch_size * num_channels)


def _read(stream: IO[bytes], name: str) -> Image.Image:
    """Opens an encoded image after checking its header, then decodes it."""
    try:
        with _quiet():
            image = Image.open(stream, formats=IMAGE_FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{name} is over the limit of {MAX_IMAGE_PIXELS:,} pixels ({_one_line(error)}); "
            "scale it down first"
        ) from error
    except Exception as error:  # Decoders answer hostile bytes with almost any exception type.
        raise InputError(
            f"{name} is not a readable image ({_one_line(error)}); "
            f"give one of {', '.join(IMAGE_FORMATS)}"
        ) from error
    with image:
        return _decode(image, name, own=True)


def _decode(image: Image.Image, name: str, own: bool = False) -> Image.Image:
    """Header checks, then pixels: upright RGB; the image itself may be used up if it is our own."""
    _check_size(image.height, image.width, name)
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise InputError(
            f"{name} has {image.width} x {image.height} pixels, over the limit of "
            f"{MAX_IMAGE_PIXELS:,}; scale it down first"
        )
    if type(image) is Image.Image and image.mode == "RGB" and not image.info:
        return image  # Loaded here before, or drawn: nothing to turn or to convert.
    try:
        # TIFF parses its tags again after decoding; other formats decode without the lock.
        with _quiet() if image.format == "TIFF" else contextlib.nullcontext():
            image.load()
        orientation = _orientation(image)
        image = _to_rgb(image, own)
        if orientation in _TRANSPOSE:
            image = image.transpose(_TRANSPOSE[orientation])
        image.info = {}  # Pillow copies the EXIF block: loaded again, it would turn once more.
        return image
    except InputError as error:
        raise InputError(f"{name} {error}") from error
    except Exception as error:
        raise InputError(
            f"{name} is truncated or damaged ({_one_line(error)}); replace it"
        ) from error


def _check_size(height: int, width: int, name: str) -> None:
    if height < 1 or width < 1:
        raise InputError(f"{name} is empty ({width} x {height} pixels); replace it")
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise InputError(
            f"{name} has {width} x {height} pixels, aspect ratio over {MAX_ASPECT_RATIO}; crop it"
        )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8. After load(): TIFF has turned itself by then and forgotten it."""
    with _quiet():
        try:
            return image.getexif().get(ExifTags.Base.Orientation, 1)
        except Exception:  # The pixels are fine: a damaged EXIF block is the same as none.
            return 1


def _to_rgb(image: Image.Image, own: bool) -> Image.Image:
    """Any Pillow mode to a new RGB image, transparency on white."""
    if image.mode.startswith("I"):
        image = _grey16_to_grey8(image)
    if image.mode == "F":
        raise InputError("has floating-point pixels (mode F); save it with 8 bits a channel")
    if image.mode == "La":  # Pillow converts premultiplied grey in two steps only.
        image = image.convert("LA")
    if not image.has_transparency_data:
        if own and image.mode == "RGB":
            return image._new(image.im)  # The same pixels; convert would copy them.
        return image.convert("RGB")
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] == 255:  # Opaque, as most screenshots and renderings are.
        return image.convert("RGB")
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=alpha)
    return white


def _grey16_to_grey8(image: Image.Image) -> Image.Image:
    """Maps 0..65535 to 0..255, rounded (Pillow's own conversion clips at 255)."""
    grey_HW = np.asarray(image).astype(np.int64)
    if grey_HW.min() < 0 or grey_HW.max() > 65535:
        raise InputError("has grey values outside 0..65535 (mode I); save it with 16 bits or fewer")
    small_HW = ((grey_HW * 255 + 32767) // 65535).astype(np.uint8)
    transparent = image.info.get("transparency")  # PNG: the one grey value that is see-through.
    if isinstance(transparent, int):
        small_HW[grey_HW == transparent] = 255
    return Image.fromarray(small_HW)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides Pillow's warnings about odd headers; one thread at a time, for filters are global."""
    with _WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
