"""Scenes of coloured shapes in the manner of CLEVR; formal text: JSON, one object a shape.

`[{"red circle": [x1, y1, x2, y2]}, ...]` lists the shapes from top to bottom, then from left to
right, in whole units from the upper left corner. The image is 12 units wide at difficulty 1, 24 at
2 and 40 at 3. Phrase and box as in the scenes of R1-Onevision; a list, since a phrase may come
twice. Difficulty 1: 3 or 4 shapes of one size. 2: 4 to 7, large or small. 3: 6 to 10.

Different images at difficulty 1, with 3 shapes: C(9,3) cells x 4³ shifts x 133 colourings (7 of one
colour, C(7,2)·6 of two) x 21 choices of shapes (3 + C(3,2)·6) = 1.5e7; with 4 shapes 126·256·301·45
= 4.4e8.
"""

import dataclasses
import itertools
import json
import random

from onevision_jax.data.synthetic.drawing import Drawing
from onevision_jax.data.synthetic.example import SIDES, Example, Question, phrase

COLOURS = ("red", "blue", "green", "orange", "purple", "cyan", "brown")
SHAPES = ("circle", "square", "triangle")
UNITS = {1: 12, 2: 24, 3: 40}  # a side, in units of 7 points
CELLS = {1: 3, 2: 4, 3: 5}  # cells a side, at most one shape in each
NUMBERS = {1: (3, 4), 2: (4, 7), 3: (6, 10)}
PALETTES = {1: (2, 2), 2: (3, 3), 3: (4, 3)}  # colours, shapes
SIDES_OF = {"": 3, "large": 5, "small": 3}  # units


@dataclasses.dataclass(frozen=True)
class Thing:
    """One shape; the box is x1, y1, x2, y2 in units."""

    size: str  # "large", "small", or "" where all are of one size
    colour: str
    shape: str
    box: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        """`small red circle`"""
        return " ".join(filter(None, (self.size, self.colour, self.shape)))


def to_json(things: list[Thing]) -> str:
    """The formal text."""
    return json.dumps([{thing.name: list(thing.box)} for thing in things], separators=(",", ":"))


def make(rng: random.Random, difficulty: int, size: int) -> Example:
    """A random scene with a question about it."""
    things = invent(rng, difficulty)
    drawing = Drawing(SIDES[difficulty], size)
    for thing in things:
        draw(drawing, thing)
    question = ask(rng, things, difficulty)
    return Example(drawing, to_json(things), "scene_json", question, "deduction")


def invent(rng: random.Random, difficulty: int) -> list[Thing]:
    """Place shapes in cells, shifted at random inside them, in reading order."""
    cells = CELLS[difficulty]
    pitch = UNITS[difficulty] // cells
    num_colours, num_shapes = PALETTES[difficulty]
    colours, shapes = rng.sample(COLOURS, num_colours), rng.sample(SHAPES, num_shapes)
    count = rng.randint(*NUMBERS[difficulty])
    things = []
    for cell in rng.sample(range(cells * cells), count):
        size = "" if difficulty == 1 else rng.choice(("large", "small"))
        side = SIDES_OF[size]
        row, column = divmod(cell, cells)
        x = column * pitch + rng.randint(0, pitch - side)
        y = row * pitch + rng.randint(0, pitch - side)
        box = (x, y, x + side, y + side)
        things.append(Thing(size, rng.choice(colours), rng.choice(shapes), box))
    return sorted(things, key=lambda thing: (thing.box[1], thing.box[0]))


def draw(drawing: Drawing, thing: Thing) -> None:
    """Fill the box with the shape; the rim keeps neighbours of one colour apart."""
    x0, y0, x1, y1 = (7 * unit for unit in thing.box)
    if thing.shape == "circle":
        drawing.ellipse((x0, y0), (x1 - 1, y1 - 1), thing.colour, "black")
    elif thing.shape == "square":
        drawing.rectangle((x0, y0), (x1 - 1, y1 - 1), thing.colour, "black")
    else:
        corners = ((x0, y1 - 1), ((x0 + x1 - 1) / 2, y0), (x1 - 1, y1 - 1))
        drawing.polygon(corners, thing.colour, "black")


COUNT = ("How many {what} are there?", "Count the {what}.", "What is the number of {what}?")
MORE = ("Are there more {a} than {b}?", "Do the {a} outnumber the {b}?")
# how, index into the box, sign: the place of an edge along a direction.
ENDS = (("leftmost", 0, 1), ("rightmost", 2, -1), ("topmost", 1, 1), ("lowest", 3, -1))
END = (
    "Which {attribute} is the {how} shape?",
    "What {attribute} has the {how} shape?",
    "Name the {attribute} of the {how} shape.",
)
# how, edge of the first, edge of the second: true if the first is smaller.
SIDE = (("left of", 0), ("right of", 0), ("above", 1), ("below", 1))
WHERE = ("Is the {a} {how} the {b}?", "Does the {a} lie {how} the {b}?")


def ask(rng: random.Random, things: list[Thing], difficulty: int) -> Question:
    """Counting, comparison or position."""
    kinds = ["count", "more", "end", "where"]
    rng.shuffle(kinds)
    makers = {"count": ask_count, "more": ask_more, "end": ask_end, "where": ask_where}
    asked = (makers[kind](rng, things, difficulty) for kind in kinds)
    return next(question for question in asked if question)


def plural(attribute: str, value: str) -> str:
    """`circles`, or `red shapes`."""
    return f"{value}s" if attribute == "shape" else f"{value} shapes"


def count_up(things: list[Thing], wanted: dict[str, str]) -> tuple[str, int]:
    """Item by item: yes or no, and how many so far."""
    steps, count = [], 0
    for thing in things:
        matches = all(getattr(thing, key) == value for key, value in wanted.items())
        count += matches
        steps.append(f"{thing.name} {'yes' if matches else 'no'}, {count}.")
    return " ".join(steps), count


def ask_count(rng: random.Random, things: list[Thing], difficulty: int) -> Question:
    """How many have a colour, a shape, or (above difficulty 1) both or a size."""
    values: dict[str, list[str]] = {"colour": list(COLOURS), "shape": list(SHAPES)}
    if difficulty > 1:
        values["size"] = ["large", "small"]
    candidates = [{key: value} for key, several in values.items() for value in several]
    if difficulty > 1:
        pairs = itertools.product(values["colour"], values["shape"])
        candidates += [{"colour": colour, "shape": shape} for colour, shape in pairs]
    # Every possible count equally often, or the answer would nearly always be 0 or 1.
    by_count: dict[int, list[dict[str, str]]] = {}
    for wanted in candidates:
        by_count.setdefault(count_up(things, wanted)[1], []).append(wanted)
    wanted = rng.choice(by_count[rng.choice(sorted(by_count))])
    if len(wanted) == 2:
        what = f"{wanted['colour']} {wanted['shape']}s"
    else:
        what = plural(*next(iter(wanted.items())))
    steps, count = count_up(things, wanted)
    tier = "junior_high" if difficulty < 3 else "high_school"
    return Question("count", phrase(rng, COUNT, what=what), steps, str(count), tier=tier)


def ask_more(rng: random.Random, things: list[Thing], difficulty: int) -> Question | None:
    """Compare two counts; yes and no equally often."""
    key = rng.choice(("colour", "shape"))
    present = sorted({getattr(thing, key) for thing in things})
    if len(present) < 2:
        return None
    options = []
    for a, b in itertools.permutations(present, 2):
        m, n, steps = 0, 0, []
        for thing in things:  # Both counts so far after each.
            m, n = m + (getattr(thing, key) == a), n + (getattr(thing, key) == b)
            steps.append(f"{thing.name} {m} {n}.")
        answer = "yes" if m > n else "no"
        options.append((answer, a, b, f"{' '.join(steps)} {m} > {n} {answer}."))
    wanted = rng.choice(sorted({option[0] for option in options}))
    answer, a, b, steps = rng.choice([option for option in options if option[0] == wanted])
    text = phrase(rng, MORE, a=plural(key, a), b=plural(key, b))
    tier = "junior_high" if difficulty == 1 else "social_test"
    return Question("more", text, steps, answer, "choice", ("yes", "no"), tier)


def ask_end(rng: random.Random, things: list[Thing], difficulty: int) -> Question | None:
    """Colour or shape of the outermost one in some direction, if there is just one."""
    how, edge, direction = rng.choice(ENDS)
    places = [direction * thing.box[edge] for thing in things]
    if places.count(min(places)) > 1:
        return None
    attribute, values = rng.choice((("colour", COLOURS), ("shape", SHAPES)))
    best, steps = things[0], [f"{things[0].name} {things[0].box[edge]} best."]
    for thing in things[1:]:
        better = direction * thing.box[edge] < direction * best.box[edge]
        best = thing if better else best
        steps.append(f"{thing.name} {thing.box[edge]} {'best' if better else 'no'}.")
    answer = getattr(best, attribute)
    text = phrase(rng, END, attribute=attribute, how=how)
    steps = f"{' '.join(steps)} {best.name}: {answer}."
    return Question("end", text, steps, answer, "choice", tuple(values), "social_test")


def ask_where(rng: random.Random, things: list[Thing], difficulty: int) -> Question | None:
    """Whether one shape lies on a side of another; both have names that no other has."""
    names = [thing.name for thing in things]
    unique = [thing for thing in things if names.count(thing.name) == 1]
    how, edge = rng.choice(SIDE)
    pairs = [
        (a, b)
        for a, b in itertools.permutations(unique, 2)
        if a.box[edge + 2] <= b.box[edge] or b.box[edge + 2] <= a.box[edge]
    ]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    x, y = a.box[edge], b.box[edge]
    smaller = how in ("left of", "above")
    answer = "yes" if (x < y if smaller else x > y) else "no"
    compared = f"{x} {'<' if smaller else '>'} {y} {answer}."
    text = phrase(rng, WHERE, a=a.name, b=b.name, how=how)
    steps = f"{a.name} {x}. {b.name} {y}. {compared}"
    return Question("where", text, steps, answer, "choice", ("yes", "no"), "social_test")
