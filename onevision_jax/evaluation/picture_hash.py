"""The pictures of a benchmark, looked up by what they look like (`data.picture_hash`).

The hash finds candidates, the correlation of the thumbnails makes sure.
"""

import functools
import hashlib
from typing import NamedTuple

import numpy as np

from onevision_jax.data.picture_hash import KEPT, View, view_picture
from onevision_jax.errors import InputError

# Shares cut off at every side of a benchmark's picture, because a training copy may be cropped.
CROPS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05)


class PictureMatch(NamedTuple):
    """How like a picture is."""

    same_file: bool
    distance: int  # Hamming, of the best crop
    correlation: float  # of the best crop


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
