"""What a picture looks like: a hash that stays nearly the same when it is scaled or recompressed,
and a thumbnail that makes sure.

A perceptual hash alone will not do for drawn figures. Of 2.9 million pairs of different synthetic
pictures (charts, circuits, tables, ...) 61,000 are within distance 10, because a few dark strokes
on white share their lowest frequencies; 70 of them also correlate at 0.98 in a 32 x 32 thumbnail.
Copies at two thirds of the size and JPEG quality 40 correlate at 0.98 or more (1,200 drawings of
ours) and 0.996 or more (248 pictures of charts, CLEVR, Geometry3K and MathVision), within distance
12 and 6.
"""

import functools
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from onevision_jax.processor import load_image

SIDE = 32  # of the grey thumbnail
KEPT = 8  # lowest frequencies a side: 64 bits
WORKING = 256  # pixels a side that crops are cut from
# Bits in which the hashes of two files of one picture differ, nearly always (99 % of the pictures
# above, 95 % of the drawings); 1 in 4,000 pairs of different pictures is as near, 1 in 1,700 of
# different drawings.
MAX_DISTANCE = 4
# Both together: how far apart copies are, and how like. Of the 719,400 pairs of different drawings
# 9 are taken for copies.
COPY_DISTANCE = 10
COPY_CORRELATION = 0.98


class View(NamedTuple):
    """What is kept of a picture, or of one crop of it."""

    bits: int  # perceptual hash, 64 bits
    thumbnail: np.ndarray  # [SIDE * SIDE] float32: grey, mean 0, length 1


def view_picture(encoded: bytes, crops: Sequence[float] = (0.0,)) -> list[View]:
    """The views of an encoded picture; raises InputError where the bytes are no picture."""
    return view_image(load_image(encoded), crops)


def view_image(image: Image.Image, crops: Sequence[float] = (0.0,)) -> list[View]:
    """A view for every crop; none of a picture of one colour, whose hash is only rounding.

    crops: the share that is cut off at every side.
    """
    grey = image.convert("L")
    if max(grey.size) > WORKING:
        scale = WORKING / max(grey.size)
        size = [max(1, round(side * scale)) for side in grey.size]
        grey = grey.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=3.0)
    width, height = grey.size
    views = []
    for crop in crops:
        box = (width * crop, height * crop, width * (1 - crop), height * (1 - crop))
        small = grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
        pixels = np.asarray(small, np.float64)
        centred = (pixels - pixels.mean()).ravel()
        length = float(np.linalg.norm(centred))
        if length >= SIDE:  # a standard deviation of one grey level or more
            views.append(View(perceptual_hash(pixels), (centred / length).astype(np.float32)))
    return views


def perceptual_hash(pixels: np.ndarray) -> int:
    """64 bits, row by row: which of the lowest frequencies are above their median.

    Source: pHash (C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions,
    2010, section 3.2.1) in the form of the library imagehash: DCT-II of a 32 x 32 grey picture, its
    first 8 x 8 coefficients, the constant one among them.

    pixels: [SIDE, SIDE] float64.
    """
    low = (_basis() @ pixels @ _basis().T)[:KEPT, :KEPT]
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@functools.cache
def _basis() -> np.ndarray:
    """DCT-II, not normalised: row k is 2 cos(pi k (2 x + 1) / (2 SIDE))."""
    place = np.arange(SIDE)
    return 2 * np.cos(np.pi * place[:, None] * (2 * place[None, :] + 1) / (2 * SIDE))


class HashList:
    """Hashes that are compared with all before them: 8 bytes each, one pass of numpy a question."""

    def __init__(self) -> None:
        self._hashes = np.zeros(4, np.uint64)
        self._count = 0

    def add(self, value: int) -> None:
        if self._count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
        self._hashes[self._count] = value
        self._count += 1

    def near(self, value: int, distance: int = MAX_DISTANCE) -> list[int]:
        """The numbers of those that differ in `distance` bits or fewer, in order of adding."""
        different = np.bitwise_count(self._hashes[: self._count] ^ np.uint64(value))
        return np.flatnonzero(different <= distance).tolist()


class Copies:
    """Pictures by number, to ask which of them a picture is a copy of.

    8 bytes of memory each; the thumbnails lie in a file that goes with this (2 kB each).
    """

    def __init__(self) -> None:
        self._hashes = HashList()
        self._count = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this)
        self._grow(1024)

    def _grow(self, rows: int) -> None:
        self._file.truncate(rows * SIDE * SIDE * 2)
        self._thumbnails = np.memmap(self._file, np.float16, "r+", shape=(rows, SIDE * SIDE))

    def add(self, view: View) -> None:
        """Gives the picture the next number."""
        if self._count == len(self._thumbnails):
            self._grow(2 * self._count)
        self._thumbnails[self._count] = view.thumbnail
        self._hashes.add(view.bits)
        self._count += 1

    def find(self, view: View) -> list[int]:
        """The numbers of the pictures added before that this is a copy of, in order."""
        near = np.array(self._hashes.near(view.bits, COPY_DISTANCE), np.int64)
        alike = self._thumbnails[near].astype(np.float32) @ view.thumbnail
        return near[alike >= COPY_CORRELATION].tolist()

    def close(self) -> None:
        """Removes the file."""
        del self._thumbnails
        self._file.close()
