"""A picture as a list of primitives, and the pixels that Pillow makes of it.

Families draw on a canvas of fixed side (in points); everything is scaled once, when it is added,
so `primitives` hold pixels. Nothing reaches the image except through that list: who reads the list
knows what is in the picture, and in which order it was painted.
"""

import dataclasses
import functools
import io
import math
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

Kind = Literal["rectangle", "ellipse", "polygon", "line", "text"]
Point = tuple[float, float]

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "silver": (205, 205, 205),
    "mist": (235, 235, 235),
    "red": (214, 39, 40),
    "blue": (31, 90, 200),
    "green": (30, 150, 50),
    "orange": (255, 140, 0),
    "purple": (140, 60, 180),
    "cyan": (0, 190, 205),
    "yellow": (235, 205, 0),
    "brown": (130, 80, 40),
    # Light enough for black text on them.
    "sky": (190, 220, 250),
    "lime": (200, 240, 180),
    "peach": (255, 215, 180),
    "pink": (250, 200, 220),
    "lemon": (255, 245, 170),
    "lilac": (220, 205, 245),
}
STRONG = ("red", "blue", "green", "orange", "purple", "cyan", "brown")
LIGHT = ("sky", "lime", "peach", "pink", "lemon", "lilac", "mist")
ARROW_HEAD = 5.0  # points from tip to base


@dataclasses.dataclass(frozen=True)
class Primitive:
    """One shape. Pixels; x to the right, y downwards; colours are names in `COLOURS`."""

    kind: Kind
    points: tuple[Point, ...]  # two corners, the corners, two ends, or the centre of a text
    fill: str = ""  # "" = hollow; the ink of lines and texts
    outline: str = ""
    width: int = 1  # of the outline or line
    text: str = ""
    font_size: int = 0


@functools.cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, which needs no file."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "this Pillow was built without FreeType"
    return font


class Drawing:
    """Primitives in painting order on a square white canvas."""

    def __init__(self, points_side: int, size: int):
        """points_side: the side of the canvas in the family's points; size: in pixels."""
        self.size = size
        self.scale = size / points_side
        self.primitives: list[Primitive] = []

    def _add(
        self,
        kind: Kind,
        points: tuple[Point, ...],
        fill: str,
        outline: str = "",
        width: float = 1,
        text: str = "",
        font_size: float = 0,
    ) -> None:
        scaled = tuple((round(x * self.scale), round(y * self.scale)) for x, y in points)
        pixels = max(1, round(width * self.scale))
        font_pixels = max(1, round(font_size * self.scale)) if text else 0
        self.primitives.append(Primitive(kind, scaled, fill, outline, pixels, text, font_pixels))

    def rectangle(
        self, low: Point, high: Point, fill: str = "", outline: str = "", width: float = 1
    ) -> None:
        """An upright rectangle between two corners, both inside."""
        self._add("rectangle", (low, high), fill, outline, width)

    def ellipse(
        self, low: Point, high: Point, fill: str = "", outline: str = "", width: float = 1
    ) -> None:
        """The ellipse in a box."""
        self._add("ellipse", (low, high), fill, outline, width)

    def polygon(
        self, corners: tuple[Point, ...], fill: str = "", outline: str = "", width: float = 1
    ) -> None:
        """A closed polygon."""
        self._add("polygon", corners, fill, outline, width)

    def line(self, start: Point, end: Point, fill: str = "black", width: float = 1) -> None:
        """A straight line."""
        self._add("line", (start, end), fill, width=width)

    def arrow(self, start: Point, end: Point, fill: str = "black", width: float = 1) -> None:
        """A line with a filled head, whose tip is at `end` and is the polygon's first corner."""
        length = math.dist(start, end)
        along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
        base = (end[0] - ARROW_HEAD * along[0], end[1] - ARROW_HEAD * along[1])
        side = (-along[1] * ARROW_HEAD * 0.6, along[0] * ARROW_HEAD * 0.6)
        self.line(start, base, fill, width)
        wings = ((base[0] + side[0], base[1] + side[1]), (base[0] - side[0], base[1] - side[1]))
        self.polygon((end, *wings), fill=fill)

    def text(self, centre: Point, text: str, font_size: float, fill: str = "black") -> None:
        """A line of text around its centre."""
        self._add("text", (centre,), fill, text=text, font_size=font_size)

    def encode(self) -> bytes:
        """The picture as a PNG file, the same bytes for the same primitives and Pillow."""
        image = Image.new("RGB", (self.size, self.size), COLOURS["white"])
        pen = ImageDraw.Draw(image)
        for primitive in self.primitives:
            paint(pen, primitive)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=4)
        return buffer.getvalue()


def paint(pen: ImageDraw.ImageDraw, primitive: Primitive) -> None:
    """Put one primitive on the image."""
    points, width = primitive.points, primitive.width
    fill = COLOURS[primitive.fill] if primitive.fill else None
    outline = COLOURS[primitive.outline] if primitive.outline else None
    match primitive.kind:
        case "rectangle":
            pen.rectangle(points, fill, outline, width)
        case "ellipse":
            pen.ellipse(points, fill, outline, width)
        case "polygon":
            pen.polygon(points, fill, outline, width)
        case "line":
            pen.line(points, fill, width)
        case "text":
            font = load_font(primitive.font_size)
            pen.text(points[0], primitive.text, fill, font, anchor="mm")
