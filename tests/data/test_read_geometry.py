"""Figures read from their primitives alone, and solved from the forms that were read."""

import itertools
import math
import re

import pytest

from onevision_jax.data.synthetic import SIDES, make_example


def lies_on(point, line, slack):
    """Whether a point is on a segment, ends excluded."""
    (a, b), length = line, math.dist(*line)
    along = ((point[0] - a[0]) * (b[0] - a[0]) + (point[1] - a[1]) * (b[1] - a[1])) / length
    across = ((point[0] - a[0]) * (b[1] - a[1]) - (point[1] - a[1]) * (b[0] - a[0])) / length
    return abs(across) <= slack and slack < along < length - slack


def area(corners):
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs) / 2


def canonical(names, places):
    """The ring that starts at the first name and turns clockwise (positive area, y down)."""
    rings = [ring for ring in itertools.permutations(names) if ring[0] == min(names)]
    convex = [
        ring
        for ring in rings
        if all(
            area([places[ring[i - 2]], places[ring[i - 1]], places[ring[i]]]) > 0
            for i in range(len(ring))
        )
    ]
    return max(convex, key=lambda ring: area([places[name] for name in ring]), default=())


class Picture:
    """What the primitives of a figure show, before it is put into forms."""

    def __init__(self, drawing):
        self.scale = drawing.scale
        lines = [p for p in drawing.primitives if p.kind == "line"]
        segments = [p.points for p in lines if p.fill != "black"]
        self.strokes = [p.points for p in lines if p.fill == "black"]
        self.squares = [p.points for p in drawing.primitives if p.kind == "polygon"]
        self.circles = [p.points for p in drawing.primitives if p.kind == "ellipse"]
        self.texts = [(p.points[0], p.text) for p in drawing.primitives if p.kind == "text"]
        spots = {end for segment in segments for end in segment}
        letters = [entry for entry in self.texts if entry[1].isalpha()]
        assert len(letters) == len(spots)
        names = {}
        # The nearest pairs of letter and point first.
        for _, text, spot in sorted((math.dist(at, s), t, s) for at, t in letters for s in spots):
            if text not in names.values() and spot not in names:
                names[spot] = text
        self.names = names
        self.places = {name: spot for spot, name in names.items()}
        self.lines = [(names[a], names[b]) for a, b in segments]
        self.arms = {name: set() for name in self.places}  # neighbours along lines
        for a, b in self.lines:
            self.arms[a].add(b)
            self.arms[b].add(a)
        self.feet = {}  # points on lines
        for name, (a, b) in itertools.product(self.places, self.lines):
            ends = self.places[a], self.places[b]
            if name not in (a, b) and lies_on(self.places[name], ends, 2 * self.scale):
                self.feet[name] = (a, b)
                self.arms[name] |= {a, b}
                self.arms[a].add(name)
                self.arms[b].add(name)

    def middle(self, pair):
        """Halfway along a line."""
        return mean(self.places[pair[0]], self.places[pair[1]])

    def nearest_line(self, spot):
        """The line whose middle is nearest."""
        return min(self.lines, key=lambda pair: math.dist(self.middle(pair), spot))

    def wedge(self, spot, vertex):
        """The narrowest angle at a vertex that holds the spot, as (arm, arm), or None."""
        found = [
            (a, b)
            for a, b in itertools.combinations(sorted(self.arms[vertex]), 2)
            if inside(spot, self.places[a], self.places[vertex], self.places[b])
        ]
        return min(found, key=lambda arms: opening(arms, vertex, self.places), default=None)


def line_form(pair):
    return f"Line({min(pair)},{max(pair)})"


def shape_forms(picture):
    """The largest polygon, or the circle."""
    places = picture.places
    for (x0, y0), (x1, y1) in picture.circles:
        middle, radius = ((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0) / 2
        centre = min(places, key=lambda n: math.dist(places[n], middle))
        yield f"Circle({centre})"
        for name, place in places.items():
            if abs(math.dist(place, middle) - radius) <= 2:
                yield f"PointLiesOnCircle({name},Circle({centre}))"
    found = []
    for count in (3, 4):
        for names in itertools.combinations(sorted(places), count):
            ring = canonical(names, places)
            around = list(zip(ring, ring[1:] + ring[:1], strict=True))
            if ring and all(b in picture.arms[a] for a, b in around):
                found.append((count, area([places[n] for n in ring]), ring, around))
    for count, _, ring, around in sorted(found)[-1:]:
        upright = all(0 in (x - u, y - v) for (x, y), (u, v) in ends_of(around, places))
        kind = "Triangle" if count == 3 else "Rectangle" if upright else "Quadrilateral"
        yield f"{kind}({','.join(ring)})"


def ends_of(pairs, places):
    return [(places[a], places[b]) for a, b in pairs]


def relation_forms(picture):
    """Points on lines, right angles, equal sides."""
    for name, base in picture.feet.items():
        yield f"PointLiesOnLine({name},{line_form(base)})"
    for square in picture.squares:
        vertex = picture.names[square[0]]
        if vertex in picture.feet:
            (upright,) = [pair for pair in picture.lines if vertex in pair]
            pair = sorted(map(line_form, (upright, picture.feet[vertex])))
            yield f"Perpendicular({','.join(pair)})"
        else:
            yield f"RightAngle(Angle({vertex}))"
    marked = [picture.nearest_line(mean(*stroke)) for stroke in picture.strokes]
    if marked:
        yield f"Equals({','.join(sorted(f'LengthOf({line_form(pair)})' for pair in marked))})"


def measure_forms(picture):
    """Numbers beside lines and in angles."""
    for spot, text in picture.texts:
        if text.isdigit():
            yield f"Equals(LengthOf({line_form(picture.nearest_line(spot))}),{text})"
        elif text.endswith("°"):
            held = [
                (math.dist(place, spot), name, wedge)
                for name, place in picture.places.items()
                if (wedge := picture.wedge(spot, name))
            ]
            _, vertex, (a, b) = min(held)
            angle = f"{a},{vertex},{b}" if len(picture.arms[vertex]) > 2 else vertex
            yield f"Equals(MeasureOf(Angle({angle})),{text[:-1]})"
            drawn = opening((a, b), vertex, picture.places)
            assert abs(drawn - int(text[:-1])) <= 3, "not to scale"


def read_figure(drawing):
    """The formal text."""
    picture = Picture(drawing)
    unit = 7 * picture.scale
    positions = " ".join(
        f"{name}({round(x / unit)},{round(y / unit)})"
        for name, (x, y) in sorted(picture.places.items())
    )
    forms = [*shape_forms(picture), *relation_forms(picture), *measure_forms(picture)]
    return "\n".join([positions, *sorted(forms)])


def mean(a, b):
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def direction(a, b):
    return math.degrees(math.atan2(b[1] - a[1], b[0] - a[0]))


def turn(a, b):
    return abs((a - b + 180) % 360 - 180)


def opening(arms, vertex, places):
    return turn(*(direction(places[vertex], places[arm]) for arm in arms))


def inside(point, a, vertex, b):
    """Whether a point lies in the wedge between two arms."""
    at = direction(vertex, point)
    first, second = direction(vertex, a), direction(vertex, b)
    return turn(at, first) + turn(at, second) <= turn(first, second) + 0.5 < 179


def solve(kind, text, forms):
    """The answer from the read forms, by the law of each kind written another way."""
    length = {
        frozenset(pair): int(value)
        for *pair, value in re.findall(r"LengthOf\(Line\((\w),(\w)\)\),(\d+)\)", forms)
    }
    angle = dict(re.findall(r"Angle\((\w)\)\),(\d+)\)", forms))
    angle = {name: int(value) for name, value in angle.items()}
    asked = (re.findall(r"\b[A-Z]+\b", text) or [""])[-1]
    shape = re.search(r"(Triangle|Rectangle|Quadrilateral)\(([\w,]+)\)", forms)
    names = shape[2].split(",") if shape else []
    if kind in ("third_angle", "fourth_angle"):
        assert asked not in angle
        return 180 * (len(names) - 2) - sum(angle.values())
    if kind in ("apex", "base_angle"):
        twins = re.findall(r"LengthOf\(Line\((\w),(\w)\)\)", forms)
        (apex,) = set(twins[0]) & set(twins[1])
        ((known, value),) = angle.items()
        assert (asked == apex) == (kind == "apex") == (known != apex)
        return 180 - 2 * value if kind == "apex" else (180 - value) // 2
    if kind == "exterior":
        outside = int(re.findall(r"Angle\(\w,\w,\w\)\),(\d+)", forms)[0])
        assert asked not in angle
        return outside - sum(angle.values())
    if kind in ("circle_area", "circumference"):
        (r,) = length.values()
        return f"{r * r if kind == 'circle_area' else r + r}*pi"
    if kind == "triangle_area":
        a, b = length.values()
        return a * b // 2
    if kind in ("area", "perimeter"):
        a, b = length.values()
        return a * b if kind == "area" else a + b + a + b
    if kind == "diagonal":
        other, long = sorted(length.values())
        return round(other * math.sqrt(long**2 - other**2))
    (right,) = re.findall(r"RightAngle\(Angle\((\w)\)\)", forms)
    legs = [value for pair, value in length.items() if right in pair]
    if kind == "leg_area":
        (long,) = [value for pair, value in length.items() if right not in pair]
        return round(legs[0] * math.sqrt(long**2 - legs[0] ** 2) / 2)
    assert kind == "third_side"
    assert frozenset(asked) not in length
    if len(legs) == 2:
        return round(math.hypot(*legs))
    (long,) = [value for pair, value in length.items() if right not in pair]
    return round(math.sqrt(long**2 - legs[0] ** 2))


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_an_independent_reader_agrees(difficulty):
    kinds = set()
    for index in range(200):
        size = SIDES[difficulty] if index < 150 else SIDES[difficulty] * 2
        example = make_example("geometry", 7, index, difficulty, size)
        forms = read_figure(example.drawing)
        assert forms == example.formal_text, index
        question = example.question
        assert str(solve(question.kind, question.text, forms)) == question.answer, question
        kinds.add(question.kind)
    assert len(kinds) >= {1: 4, 2: 8, 3: 8}[difficulty]
