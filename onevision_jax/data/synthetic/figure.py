"""A plane figure: named points on a grid, lines, labels, and its logic forms.

The forms follow Geometry3K (`Triangle(A,B,C)`, `Equals(MeasureOf(Angle(A)),50)`); the point
positions, which Geometry3K keeps beside them, are the first line: `A(1,10) B(10,11) C(5,2)`, in
units of 7 points from the upper left corner. Canonical: points by name; a polygon starts at its
first name and runs clockwise; a line names its ends in order, and so does `Angle(B,A,D)` its outer
points, with `Angle(A)` where just two lines meet; the forms are sorted.
"""

import math

from onevision_jax.data.synthetic.drawing import Drawing, Point

UNIT = 7  # points
ANGLE_FONT = 0.84  # of the font of other labels
Grid = tuple[int, int]


def clockwise(names: str, points: dict[str, Grid]) -> str:
    """The corners of a convex polygon in canonical order."""
    x = sum(points[name][0] for name in names) / len(names)
    y = sum(points[name][1] for name in names) / len(names)
    # y points downwards: growing angles run clockwise.
    ring = sorted(names, key=lambda n: math.atan2(points[n][1] - y, points[n][0] - x))
    first = ring.index(min(names))
    return "".join(ring[first:] + ring[:first])


def line_form(a: str, b: str) -> str:
    """`Line(A,B)`"""
    return f"Line({min(a, b)},{max(a, b)})"


def form(predicate: str, *arguments: object) -> str:
    """`Predicate(x,y)`"""
    return f"{predicate}({','.join(map(str, arguments))})"


def polygon_form(predicate: str, names: str, points: dict[str, Grid]) -> str:
    """`Triangle(A,B,C)` in canonical order."""
    return form(predicate, *clockwise(names, points))


class Figure:
    """Collects points, what is drawn, and what it says."""

    def __init__(self, drawing: Drawing, points: dict[str, Grid], colour: str, font: float):
        """font: height of labels in points."""
        self.drawing, self.points, self.colour, self.font = drawing, points, colour, font
        self.forms: list[str] = []
        self.sides: list[tuple[Point, Point]] = []
        self.labels: list[tuple[Point, float, float]] = []  # middle, half width, half height
        self.middle = self.mean(tuple(points))

    def mean(self, names: tuple[str, ...] | str) -> Point:
        """The middle of some points, in drawing points."""
        at = [self.at(name) for name in names]
        return sum(x for x, _ in at) / len(at), sum(y for _, y in at) / len(at)

    def at(self, name: str) -> Point:
        """Where a point is, in drawing points."""
        x, y = self.points[name]
        return UNIT * x, UNIT * y

    def to_text(self) -> str:
        """The formal text."""
        places = " ".join(f"{name}({x},{y})" for name, (x, y) in sorted(self.points.items()))
        return "\n".join([places, *sorted(self.forms)])

    def label(self, spot: Point, text: str, font: float) -> None:
        """A text, remembered for `is_legible`."""
        self.drawing.text(spot, text, font)
        self.labels.append((spot, *label_box(text, font)))

    def is_legible(self) -> bool:
        """Whether no label touches another, a line, or the rim of the picture."""
        end = self.drawing.size / self.drawing.scale
        for i, (spot, w, h) in enumerate(self.labels):
            x, y = spot
            if min(x - w, y - h) < 0 or max(x + w, y + h) > end:
                return False
            for (u, v), other_w, other_h in self.labels[:i]:
                if abs(x - u) < w + other_w + 1 and abs(y - v) < h + other_h + 1:
                    return False
            if any(crosses(side, spot, w, h) for side in self.sides):
                return False
        return True

    def side(self, a: str, b: str) -> None:
        """A line between two points."""
        self.sides.append((self.at(a), self.at(b)))
        self.drawing.line(self.at(a), self.at(b), self.colour, 2)

    def polygon(self, predicate: str, names: str) -> None:
        """A closed polygon and its form."""
        ring = clockwise(names, self.points)
        for a, b in zip(ring, ring[1:] + ring[0], strict=True):
            self.side(a, b)
        self.forms.append(polygon_form(predicate, names, self.points))

    def name_points(self) -> None:
        """Letters, outwards from the middle of the figure."""
        for name in self.points:
            x, y = self.at(name)
            away = math.dist((x, y), self.middle) or 1.0
            reach = self.font * 0.72
            dx, dy = (x - self.middle[0]) / away, (y - self.middle[1]) / away
            if away < 2:  # The centre of a circle.
                dx, dy = -0.7, 0.7
            self.label((x + dx * reach, y + dy * reach), name, self.font)

    def length(self, a: str, b: str, value: int, away_from: str = "") -> None:
        """A number beside the middle of a line, away from the figure (or from a point of it)."""
        origin = self.at(away_from) if away_from else self.middle
        (x0, y0), (x1, y1) = self.at(a), self.at(b)
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        span = math.dist((x0, y0), (x1, y1))
        normal = ((y1 - y0) / span, (x0 - x1) / span)
        outward = sum(n * (m - o) for n, m, o in zip(normal, middle, origin, strict=True))
        # Wide numbers need more room beside a steep line than beside a flat one.
        half_width = 0.3 * self.font * len(str(value))
        reach = 4 + abs(normal[0]) * half_width + abs(normal[1]) * self.font * 0.42
        sign = 1 if outward > 1e-9 or (abs(outward) <= 1e-9 and normal[0] > 0) else -1
        spot = (middle[0] + sign * normal[0] * reach, middle[1] + sign * normal[1] * reach)
        self.label(spot, str(value), self.font)
        self.forms.append(form("Equals", form("LengthOf", line_form(a, b)), value))

    def angle(self, a: str, vertex: str, b: str, degrees: int, single: bool = True) -> None:
        """Degrees inside an angle; `single` if no other line meets at the vertex."""
        spot = angle_spot(self.at(a), self.at(vertex), self.at(b), self.font)
        self.label(spot, f"{degrees}°", ANGLE_FONT * self.font)
        name = form("Angle", vertex) if single else form("Angle", min(a, b), vertex, max(a, b))
        self.forms.append(form("Equals", form("MeasureOf", name), degrees))

    def right_angle(self, a: str, vertex: str, b: str, side: float = UNIT) -> None:
        """A small square in the corner; its first corner is the vertex."""
        x, y = self.at(vertex)
        arms = []
        for name in (a, b):
            end = self.at(name)
            span = math.dist((x, y), end)
            arms.append(((end[0] - x) / span * side, (end[1] - y) / span * side))
        (ax, ay), (bx, by) = arms
        corners = ((x, y), (x + ax, y + ay), (x + ax + bx, y + ay + by), (x + bx, y + by))
        self.drawing.polygon(corners, outline="black")

    def tick(self, a: str, b: str) -> None:
        """The mark of equal sides: a short stroke across the middle."""
        (x0, y0), (x1, y1) = self.at(a), self.at(b)
        span = math.dist((x0, y0), (x1, y1))
        dx, dy = (y1 - y0) / span * 5, (x0 - x1) / span * 5
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        self.drawing.line((x - dx, y - dy), (x + dx, y + dy), "black", 2)


def crosses(side: tuple[Point, Point], middle: Point, w: float, h: float) -> bool:
    """Whether a segment meets the box around `middle` (Liang and Barsky's clipping)."""
    (x0, y0), (x1, y1) = side
    enter, leave = 0.0, 1.0
    for start, step, centre, half in ((x0, x1 - x0, middle[0], w), (y0, y1 - y0, middle[1], h)):
        low, high = centre - half - start, centre + half - start
        if step == 0:
            if low > 0 or high < 0:
                return False
            continue
        first, second = sorted((low / step, high / step))
        enter, leave = max(enter, first), min(leave, second)
    return enter <= leave


def angle_between(a: Point, vertex: Point, b: Point) -> float:
    """Degrees of the angle at `vertex`."""
    first = math.atan2(a[1] - vertex[1], a[0] - vertex[0])
    second = math.atan2(b[1] - vertex[1], b[0] - vertex[0])
    turn = abs(math.degrees(first - second)) % 360
    return min(turn, 360 - turn)


def label_box(text: str, font: float) -> tuple[float, float]:
    """Half width and half height of a label, a little generous."""
    width = sum(0.35 if character == "°" else 0.58 for character in text)
    return font * width / 2, font * 0.36


def angle_spot(a: Point, vertex: Point, b: Point, font: float) -> Point:
    """Where an angle's label fits between its arms: as near to the vertex as they allow."""
    degrees = angle_between(a, vertex, b)
    w, h = label_box(f"{round(degrees)}°", ANGLE_FONT * font)
    bisector, reach = (0.0, 0.0), 0.0
    for end in (a, b):
        span = math.dist(vertex, end)
        along = ((end[0] - vertex[0]) / span, (end[1] - vertex[1]) / span)
        bisector = (bisector[0] + along[0], bisector[1] + along[1])
        # The box reaches this far towards the arm, whose normal is `along` turned by 90 degrees.
        reach = max(reach, abs(along[1]) * w + abs(along[0]) * h + 2.2)
    reach /= math.sin(math.radians(degrees / 2))
    norm = math.hypot(*bisector)
    return (vertex[0] + bisector[0] / norm * reach, vertex[1] + bisector[1] / norm * reach)
