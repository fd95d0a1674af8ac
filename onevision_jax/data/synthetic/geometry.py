"""Plane geometry; formal text: logic forms in the manner of Geometry3K (see `figure`).

Labels are whole numbers. Drawings are to scale up to rounding to the grid; narrow right triangles
are widened, so that their labels fit.

Difficulty 1: the third angle of a triangle, the third side of a right triangle, area and perimeter
of a rectangle. 2: also isosceles triangles, exterior angles, areas from a base and its height.
3: figures that take two steps, quadrilaterals and circles.

Different images at difficulty 1: right triangles alone have 147 sizes and places of 5 triples
x 3 unknown sides x 8 orientations x 10·9·8 names x 7 colours = 1.8e7, of which about 7 in 10 are
legible. Triangles with two angles come from fewer shapes: they meet as if from 6e5 equal chances
(measured over 6,600).
"""

import math
import random
from collections.abc import Callable

from onevision_jax.data.record import AnswerKind, Tier
from onevision_jax.data.synthetic.drawing import STRONG, Drawing
from onevision_jax.data.synthetic.example import SIDES, Example, Question, phrase
from onevision_jax.data.synthetic.figure import (
    UNIT,
    Figure,
    Grid,
    angle_between,
    angle_spot,
    clockwise,
    form,
    line_form,
)

LETTERS = {1: "ABCDEFGHKL", 2: "ABCDEFGHKLMNPQRST", 3: "ABCDEFGHKLMNPQRSTUVWXYZ"}
FONTS = {1: 12, 2: 15, 3: 17}
SPANS = {1: (2, 10), 2: (3, 21), 3: (5, 35)}  # the grid points that figures use
TRIPLES = ((3, 4, 5), (6, 8, 10), (5, 12, 13), (8, 15, 17), (9, 12, 15))
LARGE_TRIPLES = (*TRIPLES, (12, 16, 20), (7, 24, 25), (15, 20, 25), (20, 21, 29), (10, 24, 26))
LEAST_ANGLE = 36  # degrees: a narrower one holds no label


def make(rng: random.Random, difficulty: int, size: int) -> Example:
    """A random figure with a question about it; drawn anew until every label is readable."""
    maker = rng.choice(MAKERS[difficulty])
    while True:
        drawing = Drawing(SIDES[difficulty], size)
        figure, question = maker(rng, drawing, difficulty)
        figure.name_points()
        if figure.is_legible():
            return Example(drawing, figure.to_text(), "logic_form", question, "math")


def start(
    rng: random.Random, drawing: Drawing, difficulty: int, places: list[Grid]
) -> tuple[Figure, list[str]]:
    """A figure with points at `places` under random names, which are returned in that order."""
    names = rng.sample(LETTERS[difficulty], len(places))
    points = dict(zip(names, places, strict=True))
    return Figure(drawing, points, rng.choice(STRONG), FONTS[difficulty]), names


def scaled(place: Grid) -> tuple[float, float]:
    """Grid to drawing points."""
    return UNIT * place[0], UNIT * place[1]


def corner_angles(corners: list[Grid]) -> list[float]:
    """Angles of a polygon at its corners, in degrees."""
    count = len(corners)
    return [
        angle_between(scaled(corners[i - 1]), scaled(corners[i]), scaled(corners[(i + 1) % count]))
        for i in range(count)
    ]


def labels_fit(corners: list[Grid], font: float) -> bool:
    """Whether each angle's label is clearly nearer to its own corner than to another."""
    count = len(corners)
    for i in range(count):
        arms = scaled(corners[i - 1]), scaled(corners[(i + 1) % count])
        spot = angle_spot(arms[0], scaled(corners[i]), arms[1], font)
        own = math.dist(spot, scaled(corners[i]))
        others = [math.dist(spot, scaled(c)) for j, c in enumerate(corners) if j != i]
        if own > 0.75 * min(others):
            return False
    return True


def is_convex(corners: list[Grid]) -> bool:
    """Whether the corners turn one way all around."""
    count = len(corners)
    turns = set()
    for i in range(count):
        (ax, ay), (bx, by), (cx, cy) = corners[i - 1], corners[i], corners[(i + 1) % count]
        turns.add((bx - ax) * (cy - by) - (by - ay) * (cx - bx) > 0)
    return len(turns) == 1


def random_polygon(rng: random.Random, difficulty: int, count: int) -> list[Grid]:
    """Convex corners on the grid, in order, with room for a label in every angle."""
    low, high = SPANS[difficulty]
    half = (high - low) / 2
    while True:
        turn, corners = rng.random(), []
        for i in range(count):  # Around the middle, unevenly.
            direction = 2 * math.pi * (i + turn + rng.uniform(-0.2, 0.2)) / count
            reach = half * rng.uniform(0.7, 1.3)
            x, y = reach * math.cos(direction), reach * math.sin(direction)
            corner = (round(low + half + x), round(low + half + y))
            corners.append((min(high, max(low, corner[0])), min(high, max(low, corner[1]))))
        sides = [math.dist(corners[i - 1], corners[i]) for i in range(count)]
        if min(sides) < 0.62 * (high - low) or not is_convex(corners):
            continue
        angles = corner_angles(corners)
        straight = max(angles) > 150 or abs(sum(angles) - 180 * (count - 2)) > 0.01
        if min(angles) >= LEAST_ANGLE and not straight and labels_fit(corners, FONTS[difficulty]):
            return corners


def whole_angles(corners: list[Grid]) -> list[int]:
    """Angles rounded so that they add up exactly; the last takes what is left."""
    angles = [round(angle) for angle in corner_angles(corners)[:-1]]
    return [*angles, 180 * (len(corners) - 2) - sum(angles)]


ANGLE = (
    "What is angle {c} in degrees?",
    "Find angle {c} in degrees.",
    "How many degrees has angle {c}?",
)
SIDE = ("What is the length of {s}?", "Find the length of {s}.", "How long is {s}?")
AREA = ("What is the area of {s}?", "Find the area of {s}.", "How large is the area of {s}?")
PERIMETER = ("What is the perimeter of {s}?", "Find the perimeter of {s}.")
CIRCUMFERENCE = (
    "What is the circumference of circle {o}?",
    "Find the circumference of circle {o}.",
)

Made = tuple[Figure, Question]


def answered(
    kind: str,
    text: str,
    steps: str,
    answer: object,
    tier: Tier,
    answer_kind: AnswerKind = "number",
) -> Question:
    """A question whose answer is a number or expression."""
    return Question(kind, text, steps, str(answer), answer_kind, tier=tier)


def third_angle(rng: random.Random, drawing: Drawing, difficulty: int) -> Made:
    """Two angles of a triangle are given."""
    corners = random_polygon(rng, difficulty, 3)
    figure, (a, b, c) = start(rng, drawing, difficulty, corners)
    x, y, z = whole_angles(corners)
    figure.polygon("Triangle", a + b + c)
    figure.angle(c, a, b, x)
    figure.angle(a, b, c, y)
    steps = f"{a} {x}. {b} {y}. {x} + {y} = {x + y}. 180 - {x + y} = {z}."
    return figure, answered("third_angle", phrase(rng, ANGLE, c=c), steps, z, "junior_high")


def right_triangle(
    rng: random.Random, drawing: Drawing, difficulty: int
) -> tuple[Figure, list[str], tuple[int, int, int]]:
    """Names (right angle first), and the lengths of first leg, second leg, hypotenuse."""
    low, high = SPANS[difficulty]
    legs = rng.choice(TRIPLES if difficulty == 1 else LARGE_TRIPLES)
    long = high - low - rng.randint(0, (high - low) // 4)
    short = max(3, round(long * legs[0] / legs[1]))
    # Room for labels: also a 7-24-25 triangle is drawn at least this wide.
    short = max(short, round(0.34 * (high - low)))
    width, height, first, second = short, long, legs[0], legs[1]
    if rng.random() < 0.5:
        width, height, first, second = height, width, second, first
    x, y = rng.randint(low, high - width), rng.randint(low, high - height)
    flip_x, flip_y = rng.random() < 0.5, rng.random() < 0.5
    near_x, far_x = (x + width, x) if flip_x else (x, x + width)
    near_y, far_y = (y + height, y) if flip_y else (y, y + height)
    places = [(near_x, near_y), (far_x, near_y), (near_x, far_y)]
    figure, names = start(rng, drawing, difficulty, places)
    figure.polygon("Triangle", "".join(names))
    figure.right_angle(names[1], names[0], names[2])
    figure.forms.append(form("RightAngle", form("Angle", names[0])))
    return figure, names, (first, second, legs[2])


def line_name(a: str, b: str) -> str:
    """`AB` in alphabetical order."""
    return min(a, b) + max(a, b)


def missing_leg(leg: int, hypotenuse: int) -> tuple[str, int]:
    """Pythagoras for a leg: steps and length."""
    c2, a2 = hypotenuse**2, leg**2
    other = math.isqrt(c2 - a2)
    assert other**2 == c2 - a2
    steps = f"{hypotenuse} * {hypotenuse} = {c2}. {leg} * {leg} = {a2}. {c2} - {a2} = {c2 - a2}."
    return f"{steps} {other} * {other} = {c2 - a2}.", other


def third_side(rng: random.Random, drawing: Drawing, difficulty: int) -> Made:
    """Two sides of a right triangle are given."""
    figure, (o, a, b), (first, second, third) = right_triangle(rng, drawing, difficulty)
    sides = [((o, a), first), ((o, b), second), ((a, b), third)]
    unknown = rng.randrange(3)
    given = [side for i, side in enumerate(sides) if i != unknown]
    for (p, q), value in given:
        figure.length(p, q, value)
    read = " ".join(f"{line_name(p, q)} {value}." for (p, q), value in given)
    if unknown == 2:
        squares = f"{first} * {first} = {first**2}. {second} * {second} = {second**2}."
        total = first**2 + second**2
        steps = f"{squares} {first**2} + {second**2} = {total}. {third} * {third} = {total}."
    else:
        steps, _ = missing_leg(given[0][1], third)
    text = phrase(rng, SIDE, s=line_name(*sides[unknown][0]))
    answer = sides[unknown][1]
    return figure, answered("third_side", text, f"{read} {steps}", answer, "high_school")


def rectangle_places(rng: random.Random, difficulty: int) -> tuple[list[Grid], int, int]:
    """Corners clockwise from the upper left, width and height in units."""
    low, high = SPANS[difficulty]
    least = (high - low) // 2
    width, height = rng.randint(least, high - low), rng.randint(least, high - low)
    x, y = rng.randint(low, high - width), rng.randint(low, high - height)
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    return corners, width, height


def rectangle(rng: random.Random, drawing: Drawing, difficulty: int) -> Made:
    """Two sides of a rectangle are given."""
    corners, width, height = rectangle_places(rng, difficulty)
    figure, (a, b, c, d) = start(rng, drawing, difficulty, corners)
    figure.polygon("Rectangle", a + b + c + d)
    factor = rng.choice((1, 2)) if difficulty == 1 else rng.choice((1, 2, 3, 5))
    w, h = factor * width, factor * height
    across, down = rng.choice(((a, b), (d, c))), rng.choice(((a, d), (b, c)))
    figure.length(*across, w)
    figure.length(*down, h)
    # At difficulty 1 without its name, which would be another word in nearly every question.
    ring = clockwise(a + b + c + d, figure.points)
    shape = "the rectangle" if difficulty == 1 else f"rectangle {ring}"
    read = f"{line_name(*across)} {w}. {line_name(*down)} {h}."
    if rng.random() < 0.5:
        text = phrase(rng, AREA, s=shape)
        return figure, answered("area", text, f"{read} {w} * {h} = {w * h}.", w * h, "junior_high")
    steps = f"{read} {w} + {h} = {w + h}. 2 * {w + h} = {2 * (w + h)}."
    text = phrase(rng, PERIMETER, s=shape)
    return figure, answered("perimeter", text, steps, 2 * (w + h), "junior_high")


def isosceles(rng: random.Random, drawing: Drawing, difficulty: int) -> Made:
    """A base angle of an isosceles triangle is given, its apex is asked, or the reverse."""
    low, high = SPANS[difficulty]
    while True:
        half = rng.randint((high - low) // 4, (high - low) // 2)
        rise = rng.randint((high - low) // 2, high - low)
        base = round(math.degrees(math.atan2(rise, half)))
        if LEAST_ANGLE <= base and 180 - 2 * base >= LEAST_ANGLE:
            break
    x, y = rng.randint(low + half, high - half), rng.randint(low, high - rise)
    up = rng.random() < 0.5
    tip, foot = (y, y + rise) if up else (y + rise, y)
    places = [(x, tip), (x - half, foot), (x + half, foot)]
    figure, (a, b, c) = start(rng, drawing, difficulty, places)
    figure.polygon("Triangle", a + b + c)
    for end in (b, c):
        figure.tick(a, end)
    pair = sorted((line_form(a, b), line_form(a, c)))
    figure.forms.append(form("Equals", *(form("LengthOf", line) for line in pair)))
    apex = 180 - 2 * base
    if rng.random() < 0.5:
        figure.angle(a, b, c, base)
        steps = f"{b} {base}, so {c} {base}. {base} + {base} = {2 * base}."
        steps += f" 180 - {2 * base} = {apex}."
        return figure, answered("apex", phrase(rng, ANGLE, c=a), steps, apex, "junior_high")
    figure.angle(b, a, c, apex)
    steps = f"{a} {apex}. 180 - {apex} = {2 * base}. {2 * base} / 2 = {base}."
    return figure, answered("base_angle", phrase(rng, ANGLE, c=b), steps, base, "junior_high")


def exterior(rng: random.Random, drawing: Drawing, difficulty: int) -> Made:
    """An exterior angle and one far interior angle are given."""
    low, high = SPANS[difficulty]
    while True:
        left, right = low, high
        corner = rng.randint(low + (high - low) * 2 // 5, high - (high - low) // 3)
        foot = rng.randint(low + (high - low) * 2 // 3, high)
        rise = rng.randint((high - low) // 2, foot - low)
        tip = (rng.randint(low, high), foot - rise)
        if rng.random() < 0.5:
            left, right, corner = right, left, low + high - corner
        places = [tip, (left, foot), (corner, foot)]
        angles = corner_angles(places)
        outside = round(180 - angles[2])
        fits = labels_fit(places, FONTS[difficulty])
        if min(angles) >= LEAST_ANGLE and outside >= LEAST_ANGLE and fits:
            break
    figure, (a, b, c, d) = start(rng, drawing, difficulty, [*places, (right, foot)])
    ring = clockwise(a + b + c, figure.points)
    for p, q in ((a, b), (a, c), (b, d)):
        figure.side(p, q)
    figure.forms.append(form("Triangle", *ring))
    figure.forms.append(form("PointLiesOnLine", c, line_form(b, d)))
    at_a = round(angles[0])
    figure.angle(b, a, c, at_a)
    figure.angle(a, c, d, outside, single=False)
    answer = outside - at_a
    steps = f"{min(a, d)}{c}{max(a, d)} {outside}. {a} {at_a}. {outside} - {at_a} = {answer}."
    return figure, answered("exterior", phrase(rng, ANGLE, c=b), steps, answer, "high_school")


def height(rng: random.Random, drawing: Drawing, difficulty: int) -> Made:
    """Base and height of a triangle are given."""
    low, high = SPANS[difficulty]
    width = rng.randint((high - low) * 2 // 3, high - low)
    rise = rng.randint((high - low) // 2, high - low)
    x, y = rng.randint(low, high - width), rng.randint(low, high - rise)
    part = rng.randint(width // 5, width - width // 5)
    up = rng.random() < 0.5
    tip, foot = (y, y + rise) if up else (y + rise, y)
    places = [(x, foot), (x + width, foot), (x + part, tip), (x + part, foot)]
    figure, (a, b, c, d) = start(rng, drawing, difficulty, places)
    ring = clockwise(a + b + c, figure.points)
    for p, q in ((a, b), (b, c), (c, a), (c, d)):
        figure.side(p, q)
    figure.forms.append(form("Triangle", *ring))
    figure.forms.append(form("PointLiesOnLine", d, line_form(a, b)))
    figure.right_angle(b, d, c)
    figure.forms.append(form("Perpendicular", *sorted((line_form(a, b), line_form(c, d)))))
    base, tall = 2 * width, rise
    # In the wider half, where it cannot be taken for the length of a side.
    figure.length(c, d, tall, away_from=a if part < width / 2 else b)
    figure.length(a, b, base)
    product = base * tall
    steps = f"{line_name(a, b)} {base}. {line_name(c, d)} {tall}. {base} * {tall} = {product}."
    steps += f" {product} / 2 = {product // 2}."
    text = phrase(rng, AREA, s=f"triangle {ring}")
    return figure, answered("triangle_area", text, steps, product // 2, "junior_high")


def fourth_angle(rng: random.Random, drawing: Drawing, difficulty: int) -> Made:
    """Three angles of a quadrilateral are given."""
    corners = random_polygon(rng, difficulty, 4)
    figure, names = start(rng, drawing, difficulty, corners)
    angles = whole_angles(corners)
    figure.polygon("Quadrilateral", "".join(names))
    for i in range(3):
        figure.angle(names[i - 1], names[i], names[i + 1], angles[i])
    x, y, z, answer = angles
    read = " ".join(f"{name} {value}." for name, value in zip(names, angles[:3], strict=False))
    steps = (
        f"{read} {x} + {y} = {x + y}. {x + y} + {z} = {x + y + z}. 360 - {x + y + z} = {answer}."
    )
    text = phrase(rng, ANGLE, c=names[3])
    return figure, answered("fourth_angle", text, steps, answer, "high_school")


def leg_area(rng: random.Random, drawing: Drawing, difficulty: int) -> Made:
    """The area of a right triangle from one leg and the hypotenuse: two steps."""
    figure, (o, a, b), (first, second, third) = right_triangle(rng, drawing, difficulty)
    figure.length(o, a, first)
    figure.length(a, b, third)
    steps, leg = missing_leg(first, third)
    product = first * second
    steps = f"{line_name(o, a)} {first}. {line_name(a, b)} {third}. {steps}"
    steps += f" {line_name(o, b)} {leg}. {first} * {leg} = {product}."
    steps += f" {product} / 2 = {product // 2}."
    text = phrase(rng, AREA, s=f"triangle {clockwise(o + a + b, figure.points)}")
    return figure, answered("leg_area", text, steps, product // 2, "high_school")


def diagonal(rng: random.Random, drawing: Drawing, difficulty: int) -> Made:
    """The area of a rectangle from one side and its diagonal: two steps."""
    low, high = SPANS[difficulty]
    p, q, hypotenuse = rng.choice(LARGE_TRIPLES)
    long = high - low - rng.randint(0, (high - low) // 4)
    short = max(round(long * p / q), round(0.4 * (high - low)))
    width, tall, w, h = (long, short, q, p) if rng.random() < 0.5 else (short, long, p, q)
    x, y = rng.randint(low, high - width), rng.randint(low, high - tall)
    corners = [(x, y), (x + width, y), (x + width, y + tall), (x, y + tall)]
    figure, (a, b, c, d) = start(rng, drawing, difficulty, corners)
    figure.polygon("Rectangle", a + b + c + d)
    figure.side(a, c)
    across = rng.choice(((a, b), (d, c)))
    figure.length(*across, w)
    figure.length(a, c, hypotenuse)
    steps, other = missing_leg(w, hypotenuse)
    assert other == h
    steps = (
        f"{line_name(*across)} {w}. {line_name(a, c)} {hypotenuse}. {steps} {w} * {h} = {w * h}."
    )
    text = phrase(rng, AREA, s=f"rectangle {clockwise(a + b + c + d, figure.points)}")
    return figure, answered("diagonal", text, steps, w * h, "high_school")


def circle(rng: random.Random, drawing: Drawing, difficulty: int) -> Made:
    """Area or circumference of a circle from its radius."""
    low, high = SPANS[difficulty]
    radius = rng.randint((high - low) // 4, (high - low) // 2)
    x, y = rng.randint(low + radius, high - radius), rng.randint(low + radius, high - radius)
    dx, dy = rng.choice(((radius, 0), (-radius, 0), (0, radius), (0, -radius)))
    figure, (o, a) = start(rng, drawing, difficulty, [(x, y), (x + dx, y + dy)])
    figure.middle = figure.at(o)
    (cx, cy), r = figure.at(o), radius * UNIT
    drawing.ellipse((cx - r, cy - r), (cx + r, cy + r), outline=figure.colour, width=2)
    figure.side(o, a)
    length = radius * rng.choice((1, 2, 3))
    figure.length(o, a, length)
    figure.forms.append(form("Circle", o))
    figure.forms.append(form("PointLiesOnCircle", a, form("Circle", o)))
    read = f"{line_name(o, a)} {length}."
    if rng.random() < 0.5:
        answer = f"{length**2}*pi"
        steps = f"{read} {length} * {length} = {length**2}. {answer}."
        text = phrase(rng, AREA, s=f"circle {o}")
        return figure, answered("circle_area", text, steps, answer, "high_school", "expression")
    answer = f"{2 * length}*pi"
    steps = f"{read} 2 * {length} = {2 * length}. {answer}."
    text = phrase(rng, CIRCUMFERENCE, o=o)
    return figure, answered("circumference", text, steps, answer, "high_school", "expression")


Maker = Callable[[random.Random, Drawing, int], Made]
BASIC: tuple[Maker, ...] = (third_angle, third_side, rectangle)
MAKERS: dict[int, tuple[Maker, ...]] = {
    1: BASIC,
    2: (*BASIC, isosceles, exterior, height),
    3: (isosceles, exterior, fourth_angle, leg_area, diagonal, circle),
}
