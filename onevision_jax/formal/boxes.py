"""Scenes as JSON: phrases and the boxes of what they name.

`[{"red circle": [x1, y1, x2, y2]}, ...]`; also one object of phrases, each with a box or a list of
boxes, as R1-Onevision writes it. Boxes are in one unit, corners first upper left, then lower right.
"""

import json
import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from onevision_jax.formal.cell import plain
from onevision_jax.formal.errors import FormalError, shown
from onevision_jax.formal.f1 import f1

MAX_BOXES = 500


class Box(NamedTuple):
    """A phrase and its corners."""

    phrase: str
    corners: tuple[float, float, float, float]


def parse_boxes(text: str) -> tuple[Box, ...]:
    """Raises FormalError naming the phrase at fault."""
    value = read_json(text)
    found: list[Box] = []
    one = isinstance(value, list) and any(isinstance(item, Pair) for item in value)
    for item in [value] if one or not isinstance(value, list) else value:
        if not isinstance(item, list) or not all(isinstance(pair, Pair) for pair in item):
            raise FormalError(
                f'expected objects such as {{"red circle": [0, 0, 4, 4]}}, found '
                f"{shown(json.dumps(plain_json(item)))}"
            )
        for pair in item:
            found += _boxes(pair)
    if len(found) > MAX_BOXES:
        raise FormalError(f"the scene has {len(found)} boxes, at most {MAX_BOXES} are read")
    return tuple(found)


def write_boxes(boxes: tuple[Box, ...]) -> str:
    """A list of one object a box, from top to bottom, then from left to right, without spaces."""
    rows = sorted(boxes, key=lambda box: (box.corners[1], box.corners[0], box))
    return json.dumps(
        [{box.phrase: [int(x) if x == int(x) else x for x in box.corners]} for box in rows],
        separators=(",", ":"),
        ensure_ascii=False,
    )


def compare_boxes(a: tuple[Box, ...], b: tuple[Box, ...]) -> float:
    """F1 with the intersection over union of boxes of one phrase, paired one to one, as matches."""
    if not a or not b:
        return f1(0, len(a), len(b))
    overlap = overlaps(a, b)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    return f1(float(overlap[rows, columns].sum()), len(a), len(b))


def overlaps(a: tuple[Box, ...], b: tuple[Box, ...]) -> np.ndarray:
    """[len(a), len(b)]: intersection over union, 0 for different phrases."""
    x, y = (np.array([box.corners for box in boxes]) for boxes in (a, b))
    low = np.maximum(x[:, None, :2], y[None, :, :2])
    high = np.minimum(x[:, None, 2:], y[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    size_x, size_y = ((z[:, 2:] - z[:, :2]).prod(axis=1) for z in (x, y))
    one = np.array([[plain(p.phrase) == plain(q.phrase) for q in b] for p in a])
    return np.where(one, shared / (size_x[:, None] + size_y[None] - shared), 0.0)


class Pair(NamedTuple):
    """A key of a JSON object and its value: a list of these keeps keys that come twice."""

    key: str
    value: Any


def read_json(text: str) -> Any:
    """JSON with objects as lists of `Pair`; NaN, infinities and what is no JSON are refused."""

    def refuse(name: str) -> Any:
        raise FormalError(f"{name} is no JSON number")

    try:
        return json.loads(
            text,
            object_pairs_hook=lambda pairs: [Pair(*pair) for pair in pairs],
            parse_constant=refuse,
        )
    except json.JSONDecodeError as error:
        raise FormalError(f"no JSON: {error.msg}", error.lineno) from None
    except ValueError as error:  # An integer of more digits than Python reads.
        raise FormalError(str(error)) from None


def plain_json(value: Any) -> Any:
    """`read_json` undone, for messages."""
    if isinstance(value, list) and value and all(isinstance(item, Pair) for item in value):
        return {item.key: plain_json(item.value) for item in value}
    return [plain_json(item) for item in value] if isinstance(value, list) else value


def _boxes(pair: Pair) -> list[Box]:
    rows = pair.value if isinstance(pair.value, list) else [pair.value]
    if rows and not isinstance(rows[0], list):
        rows = [rows]
    return [Box(" ".join(pair.key.split()), _corners(pair.key, row)) for row in rows]


def _corners(phrase: str, row: Any) -> tuple[float, float, float, float]:
    numbers = row if isinstance(row, list) else []
    good = len(numbers) == 4 and all(
        isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e9 and math.isfinite(x)
        for x in numbers
    )
    if not good:
        raise FormalError(f"{shown(phrase)} has the box {shown(str(row))}, expected four numbers")
    x1, y1, x2, y2 = map(float, numbers)
    if not (x1 < x2 and y1 < y2):
        raise FormalError(
            f"{shown(phrase)} has the box {shown(str(row))}: corners are upper left, lower right"
        )
    return x1, y1, x2, y2
