"""Pictures that are nearly the same: a hash finds candidates, a correlation makes sure.

A perceptual hash alone will not do for drawn figures. Of 2.9 million pairs of different synthetic
pictures (charts, circuits, tables, ...) 61,000 are within distance 10, because a few dark strokes
on white share their lowest frequencies; 70 of them also correlate at 0.98 in a 32 x 32 thumbnail.
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from onevision_jax.errors import InputError
from onevision_jax.processor import load_image

SIDE = 32  # of the grey thumbnail
KEPT = 8  # lowest frequencies a side: 64 bits
WORKING = 256  # pixels a side that crops are cut from
# Shares cut off at every side of a benchmark's picture, because a training copy may be cropped.
CROPS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05)


class View(NamedTuple):
    """What is kept of a picture, or of one crop of it."""

    bits: int  # perceptual hash, 64 bits
    thumbnail: np.ndarray  # [SIDE * SIDE] float32: grey, mean 0, length 1


class PictureMatch(NamedTuple):
    """How like a picture is."""

    same_file: bool
    distance: int  # Hamming, of the best crop
    correlation: float  # of the best crop


def view_picture(encoded: bytes, crops: Sequence[float] = CROPS[:1]) -> list[View]:
    """A view for every crop; none of a picture of one colour, whose hash is only rounding.

    Raises InputError where the bytes are no picture.
    """
    grey = load_image(encoded).convert("L")
    if max(grey.size) > WORKING:
        scale = WORKING / max(grey.size)
        size = [max(1, round(side * scale)) for side in grey.size]
        grey = grey.resize((size[0], size[1]), Image.Resampling.LANCZOS)
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


class PictureIndex:
    """Pictures of a benchmark, each held once: about 13 kB for each."""

    def __init__(self, distance: int, correlation: float):
        self._distance, self._correlation = distance, correlation
        self._places: dict[bytes, int] = {}  # SHA-256 of the file
        self._owners: list[int] = []
        self._views: list[View] = []

    def add(self, encoded: bytes) -> int:
        """The picture's number; the same file has one number. Raises InputError."""
        digest = hashlib.sha256(encoded).digest()
        if digest not in self._places:
            views = view_picture(encoded, CROPS)
            self._places[digest] = len(self._places)
            self._owners += [self._places[digest]] * len(views)
            self._views += views
        return self._places[digest]

    @functools.cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[V] bits, [V] owners, [V, SIDE * SIDE] thumbnails; read once everything is added."""
        bits = np.array([view.bits for view in self._views], np.uint64)
        thumbnails = np.stack([view.thumbnail for view in self._views]).astype(np.float16)
        return bits, np.array(self._owners), thumbnails

    def find(self, encoded: bytes) -> dict[int, PictureMatch]:
        """Numbers of the pictures that this one is, or is like. Raises InputError."""
        found: dict[int, PictureMatch] = {}
        same = self._places.get(hashlib.sha256(encoded).digest())
        if same is not None:
            found[same] = PictureMatch(True, 0, 1.0)
        if not self._views:
            return found
        all_bits, owners, thumbnails = self._arrays
        for view in view_picture(encoded):
            distances = np.bitwise_count(all_bits ^ np.uint64(view.bits))
            near = np.flatnonzero(distances <= self._distance)
            alike = thumbnails[near].astype(np.float32) @ view.thumbnail
            for place, correlation in zip(near, alike, strict=True):
                owner = int(owners[place])
                if correlation >= self._correlation and (
                    owner not in found or correlation > found[owner].correlation
                ):
                    found[owner] = PictureMatch(False, int(distances[place]), float(correlation))
        return found


def check_thresholds(distance: int, correlation: float) -> None:
    """Raises InputError outside 0 to 64 bits and 0 to 1."""
    if not 0 <= distance <= KEPT * KEPT:
        raise InputError(f"distance is {distance}, expected 0 to {KEPT * KEPT} bits")
    if not 0 < correlation <= 1:
        raise InputError(f"correlation is {correlation}, expected more than 0 and at most 1")
