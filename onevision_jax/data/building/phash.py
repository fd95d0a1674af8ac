"""A perceptual hash: 64 bits that stay nearly the same when a picture is scaled or recompressed.

The signs of the lowest 8 x 8 coefficients of a 32 x 32 picture's cosine transform, against their
median (the "pHash" of C. Zauner, Implementation and Benchmarking of Perceptual Image Hash
Functions, 2010).
"""

import numpy as np
from PIL import Image

SIDE = 32
LOW = 8
# Bits in which two files of one picture may differ. Measured: the same at two thirds of the size
# and JPEG quality 40 differs in 2 (Geometry3K, CLEVR, charts) to 8 (thin lines of MathVision); 87
# different pictures of these in 10 or more. Drawings of one template can be nearer than that.
MAX_DISTANCE = 4
FLAT = 1.0  # standard deviation of grey values below which a picture has no hash

_ROWS = np.arange(SIDE)
# [LOW, SIDE]: the lowest basis functions of the DCT-II.
_BASIS = np.cos(np.pi / SIDE * np.arange(LOW)[:, None] * (_ROWS + 0.5))


def phash(image: Image.Image) -> int | None:
    """The hash of an RGB picture; None for one that shows nothing but one colour."""
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    grey = np.asarray(small, np.float64)
    if grey.std() < FLAT:
        return None
    low = (_BASIS @ grey @ _BASIS.T).reshape(-1)
    bits = low > np.median(low[1:])
    bits[0] = False  # The mean says nothing about the picture.
    return int(np.packbits(bits).view(">u8")[0])


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

    def near(self, value: int) -> list[int]:
        """The numbers of those that differ in MAX_DISTANCE bits or fewer, in order of adding."""
        different = np.bitwise_count(self._hashes[: self._count] ^ np.uint64(value))
        return np.flatnonzero(different <= MAX_DISTANCE).tolist()
