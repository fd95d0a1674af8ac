"""Pedigree charts of one trait; formal text: PED rows.

Squares are men, circles women, filled symbols show the trait; a line joins parents, and their
children hang from it. A row is `person father mother sex trait`, as in the PED files of linkage
analysis without their family column: 0 for an unknown parent, sex 1 male or 2 female, trait 1 no or
2 yes. People are numbered by generation, then from left to right. Difficulty 1: parents and 2 or 3
children. 2: one child marries. 3: children of two couples marry.

Different images at difficulty 1: with 3 children 2 orders of the parents x 2³ sexes x (2⁵ patterns
of the trait, less the few that no genes explain) x 11·9 places x 4 widths x 7 x 7 colours = 9e6,
with 2 fewer; of 12,000 draws 34 pairs were equal, as among 2.1e6 equally frequent ones.
"""

import dataclasses
import random

from onevision_jax.data.synthetic.drawing import STRONG, Drawing
from onevision_jax.data.synthetic.example import SIDES, Example
from onevision_jax.data.synthetic.inheritance import (
    GENOTYPES,
    Family,
    Mode,
    Person,
    inherit,
)
from onevision_jax.data.synthetic.pedigree_questions import ANSWERS, KINDS, ask

INK = ("black", "grey", "blue", "purple", "brown", "green", "red")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Measures in points."""

    half: float  # of a symbol
    font: float
    ys: tuple[float, ...]  # middle of every generation
    pitch: float  # between symbols of a generation


LAYOUTS = {
    1: Layout(8, 11, (18, 58), 25),
    2: Layout(9, 12, (18, 76, 134), 32),
    3: Layout(11, 14, (26, 124, 222), 43),
}


def make(rng: random.Random, difficulty: int, size: int) -> Example:
    """A random pedigree with a question about it."""
    kind = rng.choice(KINDS[difficulty])
    wanted = rng.choice(ANSWERS[kind])
    while True:
        mode: Mode = "recessive" if kind == "risk" else rng.choice(("recessive", "dominant"))
        family = invent(rng, difficulty, mode)
        question = ask(rng, kind, wanted, family, mode, difficulty)
        if question is not None:
            break
    drawing = Drawing(SIDES[difficulty], size)
    draw(rng, drawing, family, difficulty)
    return Example(drawing, to_ped(family), "ped", question, "biology")


def to_ped(family: Family) -> str:
    """The formal text."""
    return "\n".join(
        f"{number} {p.father} {p.mother} {2 if p.female else 1} {2 if p.affected else 1}"
        for number, p in enumerate(family.people, start=1)
    )


def invent(rng: random.Random, difficulty: int, mode: Mode) -> Family:
    """People by generation from left to right, genes passed down at random."""
    people: list[Person] = []
    genes: list[str] = []
    spouse = 0  # The second of the two that marry in the second generation, man or woman.

    def add(generation: int, female: bool, father: int = 0, mother: int = 0) -> int:
        if father:
            gene = inherit(rng, genes[father - 1], genes[mother - 1])
        else:
            gene = rng.choice(GENOTYPES)
        genes.append(gene)
        affected = gene == "rr" if mode == "recessive" else gene != "rr"
        people.append(Person(generation, female, affected, father, mother))
        return len(people)

    def couple(generation: int) -> tuple[int, int]:
        """Father and mother, in either order."""
        female = rng.random() < 0.5
        first, second = add(generation, female), add(generation, not female)
        return (second, first) if female else (first, second)

    pairs = [couple(0) for _ in range(2 if difficulty == 3 else 1)]
    for k, (father, mother) in enumerate(pairs):
        for child in range(rng.randint(2, 3)):
            female = rng.random() < 0.5
            if (k, child) == (1, 0):  # Marries the one on the left.
                female = not people[-1].female
                spouse = len(people) + 1
            add(1, female, father, mother)
    if difficulty == 2:
        spouse = add(1, not people[-1].female)
    if difficulty > 1:
        father, mother = sorted((spouse - 1, spouse), key=lambda n: people[n - 1].female)
        pairs.append((father, mother))
        for _ in range(rng.randint(1, 3)):
            add(2, rng.random() < 0.5, father, mother)
    return Family(tuple(people), tuple(pairs))


def place(rng: random.Random, family: Family, difficulty: int) -> dict[int, tuple[float, float]]:
    """The middle of every symbol; couples stand above the middle of their children."""
    layout, side = LAYOUTS[difficulty], SIDES[difficulty]
    pitch = layout.pitch - (rng.randrange(4) if difficulty == 1 else rng.randrange(3))
    dx, dy = (
        (rng.randint(-5, 5), rng.randint(-4, 4)) if difficulty == 1 else (rng.randint(-2, 2), 0)
    )
    numbers = range(1, len(family.people) + 1)
    second = [n for n in numbers if family.people[n - 1].generation == 1]
    start = side / 2 - pitch * (len(second) - 1) / 2
    xs = {n: start + pitch * i for i, n in enumerate(second)}
    for father, mother in family.pairs:
        children = family.children(father, mother)
        if father in xs:  # The couple of the second generation; its children follow.
            middle = (xs[father] + xs[mother]) / 2
            first = middle - pitch * (len(children) - 1) / 2
            first += max(0, layout.half + 3 - first)
            first -= max(0, first + pitch * (len(children) - 1) - (side - layout.half - 3))
            xs |= {child: first + pitch * i for i, child in enumerate(children)}
            continue
        middle = sum(xs[child] for child in children) / len(children)
        for number, step in zip(sorted((father, mother)), (-0.5, 0.5), strict=True):
            xs[number] = middle + step * pitch * 1.2
    ys = layout.ys
    return {n: (xs[n] + dx, ys[family.people[n - 1].generation] + dy) for n in numbers}


def draw(rng: random.Random, drawing: Drawing, family: Family, difficulty: int) -> None:
    """Lines first, then symbols with their numbers below."""
    layout = LAYOUTS[difficulty]
    places = place(rng, family, difficulty)
    ink, fill = rng.choice(INK), rng.choice(STRONG)
    half = layout.half
    for father, mother in family.pairs:
        (left, y), (right, _) = sorted((places[father], places[mother]))
        drawing.line((left + half, y), (right - half, y), ink)
        children = sorted(places[child] for child in family.children(father, mother))
        middle, bar = (left + right) / 2, children[0][1] - half - (5 if difficulty == 1 else 9)
        drawing.line((middle, y), (middle, bar), ink)
        ends = sorted((middle, children[0][0], children[-1][0]))
        drawing.line((ends[0], bar), (ends[-1], bar), ink)
        for x, top in children:
            drawing.line((x, bar), (x, top - half), ink)
    for number, person in enumerate(family.people, start=1):
        x, y = places[number]
        corners = (x - half, y - half), (x + half, y + half)
        shape = drawing.ellipse if person.female else drawing.rectangle
        shape(*corners, fill if person.affected else "white", "black")
        drawing.text((x, y + half + layout.font * 0.6), str(number), layout.font)
