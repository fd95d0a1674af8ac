"""Food webs; formal text: Mermaid, an arrow from what is eaten to what eats it.

Rows of names, producers at the bottom. `flowchart BT`, then one line an arrow, sorted by its ends;
names are the nodes, and every name has an arrow. Difficulty 1: 5 names in three rows. 2: 7 or 8.
3: 10 or 11 in four rows, with arrows that pass a row by.

Different images at difficulty 1: the rarer shape, 2 producers, 2 herbivores and 1 hunter, has 6·5 x
8·7 x 7 names x 5 sets of arrows below x 3 above (each with 5 of 7 and 1 of 3 at least) x 7·3 places
x 7 colours = 2.6e7.
"""

import dataclasses
import itertools
import random
from fractions import Fraction

from onevision_jax.data.record import Tier
from onevision_jax.data.synthetic import series
from onevision_jax.data.synthetic.drawing import ARROW_HEAD, LIGHT, Drawing
from onevision_jax.data.synthetic.example import (
    SIDES,
    Example,
    Question,
    format_fraction,
    phrase,
)

PRODUCERS = ("grass", "moss", "fern", "reed", "oak", "herb")
HERBIVORES = ("hare", "deer", "snail", "vole", "moth", "slug", "goat", "bee")
HUNTERS = ("fox", "owl", "toad", "stoat", "rat", "bat", "newt")
TOPS = ("wolf", "lynx", "bear", "eagle")
NAMES = (PRODUCERS, HERBIVORES, HUNTERS, TOPS)
ROWS = {
    1: ((2, 2, 1), (1, 2, 2)),
    2: ((2, 3, 2), (3, 3, 2), (3, 3, 1), (2, 3, 3)),
    3: ((3, 4, 3, 1), (3, 3, 3, 1), (3, 4, 2, 2)),
}
FONTS = {1: 11, 2: 13, 3: 15}
BOXES = {1: (17, 8), 2: (24, 10), 3: (26, 12)}  # half width, half height
Point = tuple[float, float]
Link = tuple[str, str]  # eaten, eater


@dataclasses.dataclass(frozen=True)
class Web:
    """Rows from the producers upwards, and who eats whom."""

    rows: tuple[tuple[str, ...], ...]
    links: tuple[Link, ...]  # sorted

    @property
    def names(self) -> list[str]:
        """All, from the producers upwards."""
        return [name for row in self.rows for name in row]

    def food(self, name: str) -> list[str]:
        """What it eats."""
        return [eaten for eaten, eater in self.links if eater == name]

    def eaters(self, name: str) -> list[str]:
        """What eats it."""
        return [eater for eaten, eater in self.links if eaten == name]

    def role(self, name: str) -> str:
        """By what it eats."""
        food = self.food(name)
        plants = [eaten in self.rows[0] for eaten in food]
        if not food:
            return "producer"
        return "herbivore" if all(plants) else "omnivore" if any(plants) else "carnivore"

    def to_mermaid(self) -> str:
        """The formal text."""
        return "\n".join(["flowchart BT", *(f"{a}-->{b}" for a, b in self.links)])


def make(rng: random.Random, difficulty: int, size: int) -> Example:
    """A random food web with a question about it."""
    shape = rng.choice(ROWS[difficulty])
    rows = tuple(
        tuple(rng.sample(names, count)) for names, count in zip(NAMES, shape, strict=False)
    )
    places = place(rng, rows, difficulty)
    web = Web(rows, tuple(sorted(invent(rng, rows, places, difficulty))))
    drawing = Drawing(SIDES[difficulty], size)
    draw(drawing, web, places, difficulty, rng.choice(LIGHT))
    return Example(drawing, web.to_mermaid(), "mermaid", ask(rng, web, difficulty), "biology")


def place(
    rng: random.Random, rows: tuple[tuple[str, ...], ...], difficulty: int
) -> dict[str, Point]:
    """The middle of every box; each row is spread over the width, a little to one side."""
    side, (w, h) = SIDES[difficulty], BOXES[difficulty]
    bottom, top = side - h - 2, h + 2
    pitch = (bottom - top) / (len(rows) - 1)
    found = {}
    for k, row in enumerate(rows):
        slot = (side - 4) / len(row)
        slack = min(int(slot / 2 - w - 1), 3 if difficulty == 1 else 6)
        for i, name in enumerate(row):
            x = 2 + slot * (i + 0.5) + rng.randint(-slack, slack)
            found[name] = (x, bottom - pitch * k)
    return found


def invent(
    rng: random.Random,
    rows: tuple[tuple[str, ...], ...],
    places: dict[str, Point],
    difficulty: int,
) -> set[Link]:
    """Everyone above the producers eats something of the row below; nothing stands alone."""
    links: set[Link] = set()
    for below, above in itertools.pairwise(rows):
        for eater in above:
            count = rng.randint(1, min(len(below), 2))
            links |= {(eaten, eater) for eaten in rng.sample(below, count)}
        for eaten in below:
            # Animals may be eaten by none; a plant alone would not be in the formal text.
            if below == rows[0] and not any(a == eaten for a, _ in links):
                links.add((eaten, rng.choice(above)))
    if difficulty == 3:
        passing = [
            (eaten, eater)
            for below, above in zip(rows, rows[2:], strict=False)
            for eaten in below
            for eater in above
            if is_clear(places, eaten, eater, difficulty)
        ]
        links |= set(rng.sample(passing, min(len(passing), rng.randint(2, 4))))
    return links


def is_clear(places: dict[str, Point], eaten: str, eater: str, difficulty: int) -> bool:
    """Whether a straight arrow meets no box on its way."""
    (x0, y0), (x1, y1) = places[eaten], places[eater]
    w, h = BOXES[difficulty]
    for name, (x, y) in places.items():
        if name in (eaten, eater) or not y1 < y < y0:
            continue
        for edge in (y - h, y + h):
            if abs(x0 + (x1 - x0) * (y0 - edge) / (y0 - y1) - x) < w + 10:
                return False
    return True


def draw(
    drawing: Drawing, web: Web, places: dict[str, Point], difficulty: int, colour: str
) -> None:
    """Arrows between the boxes; those that end at one box arrive side by side."""
    w, h = BOXES[difficulty]
    for name, (x, y) in places.items():
        drawing.rectangle((x - w, y - h), (x + w, y + h), colour, "black")
        drawing.text((x, y), name, FONTS[difficulty])
    gap = ARROW_HEAD * 1.6
    for eater in web.names:
        food = sorted(web.food(eater), key=lambda name: places[name][0])
        x, y = places[eater]
        for k, eaten in enumerate(food):
            start_x, start_y = places[eaten]
            tip = (x + gap * (k - (len(food) - 1) / 2), y + h)
            drawing.arrow((start_x, start_y - h), tip)


EATERS = ("How many kinds of animal eat the {x}?", "By how many kinds of animal is the {x} eaten?")
LEVEL = ("What is the {x} in this food web?", "To which group does the {x} belong?")
ENERGY = (
    "The {p} holds {n} kJ; a tenth passes up every arrow. How many kJ reach the {x} by one chain?",
    "A tenth passes along each arrow. Of {n} kJ in the {p}, how many reach the {x} by one chain?",
)
CHAINS = (
    "How many food chains lead from producers to the {x}?",
    "Count the food chains from any producer up to the {x}.",
)
LOSS = (
    "If the {x} dies out, how many kinds of animal are left without any food in the end?",
    "The {x} dies out. How many kinds of animal then die out for want of food?",
)
CONNECTANCE = (
    "What is the connectance of the web, arrows divided by the square of the number of kinds?",
    "Find the connectance L / S^2 of the food web, with L arrows and S kinds.",
)
TROPHIC = (
    "What is the trophic level of the {x}? (Producers 1, others 1 + the mean level of their food.)",
    "Producers are at level 1, others at 1 + the mean level of their food. Where is the {x}?",
)


def ask(rng: random.Random, web: Web, difficulty: int) -> Question:
    """A question of a kind that the difficulty allows."""
    kinds = {
        1: ("eaters", "level", "energy"),
        2: ("eaters", "energy", "chains", "loss"),
        3: ("level", "chains", "loss", "connectance", "trophic"),
    }
    kind = rng.choice(kinds[difficulty])
    if kind == "connectance":
        links, kinds_of = len(web.links), len(web.names)
        answer = format_fraction(Fraction(links, kinds_of**2))
        steps = f"{kinds_of} * {kinds_of} = {kinds_of**2}. {links} / {kinds_of**2} = {answer}."
        return Question(kind, phrase(rng, CONNECTANCE), steps, answer, tier="college")
    makers = {
        "eaters": ask_eaters,
        "level": ask_level,
        "energy": ask_energy,
        "chains": ask_chains,
        "loss": ask_loss,
        "trophic": ask_trophic,
    }
    return makers[kind](rng, web, difficulty)


def balanced(rng: random.Random, by_answer: dict[str, list[str]]) -> str:
    """A name such that every answer is equally frequent."""
    return rng.choice(by_answer[rng.choice(sorted(by_answer))])


def ask_eaters(rng: random.Random, web: Web, difficulty: int) -> Question:
    """Arrows that leave a name, 0 included."""
    del difficulty
    by_answer: dict[str, list[str]] = {}
    for name in web.names:
        by_answer.setdefault(str(len(web.eaters(name))), []).append(name)
    name = balanced(rng, by_answer)
    eaters = web.eaters(name)
    steps = f"Arrows from {name}: {', '.join(eaters) or 'none'}. {len(eaters)}."
    return Question("eaters", phrase(rng, EATERS, x=name), steps, str(len(eaters)))


def ask_level(rng: random.Random, web: Web, difficulty: int) -> Question:
    """Producer, herbivore, carnivore or (at difficulty 3) omnivore."""
    by_answer: dict[str, list[str]] = {}
    for name in web.names:
        by_answer.setdefault(web.role(name), []).append(name)
    name = balanced(rng, by_answer)
    answer = web.role(name)
    food = [f"{eaten} {web.role(eaten)}" for eaten in web.food(name)]
    choices = ("producer", "herbivore", "carnivore", "omnivore")[: 3 if difficulty == 1 else 4]
    steps = f"{name} eats: {', '.join(food) or 'nothing'}. {answer}."
    return Question("level", phrase(rng, LEVEL, x=name), steps, answer, "choice", choices)


def levels(web: Web) -> dict[str, int]:
    """Rows above the producers."""
    return {name: k for k, row in enumerate(web.rows) for name in row}


def ask_energy(rng: random.Random, web: Web, difficulty: int) -> Question:
    """A tenth at every step; every arrow goes one row up at difficulties 1 and 2."""
    assert difficulty < 3
    row, name = rng.choice([(k, name) for k in (1, 2) for name in web.rows[k]])
    chain = [name]
    while web.food(chain[0]):
        chain.insert(0, rng.choice(web.food(chain[0])))
    energy = rng.randint(2, 99) * 10**row
    text = phrase(rng, ENERGY, p=chain[0], n=energy, x=name)
    steps = [f"{chain[0]} {energy}."]
    for eater in chain[1:]:
        steps.append(f"{eater}: {energy} / 10 = {energy // 10}.")
        energy //= 10
    return Question("energy", text, " ".join(steps), str(energy), tier="high_school")


def ask_chains(rng: random.Random, web: Web, difficulty: int) -> Question:
    """Ways from the producers to an animal, summed from below."""
    del difficulty
    ways: dict[str, int] = {}
    lines: dict[str, str] = {}
    for name in web.names:
        food = web.food(name)
        counts = [ways[eaten] for eaten in food]
        ways[name] = sum(counts) or 1
        sums = f" {series.add_up(counts)[0]}" if len(counts) > 1 else ""
        read = ", ".join(f"{eaten} {ways[eaten]}" for eaten in food)
        lines[name] = f"{name}: {read}.{sums} {name} {ways[name]}."
    by_answer: dict[str, list[str]] = {}
    for name in [name for row in web.rows[2:] for name in row]:
        by_answer.setdefault(str(ways[name]), []).append(name)
    name = balanced(rng, by_answer)
    needed = below(web, name)
    steps = " ".join(lines[one] for one in web.names if one in needed and web.food(one))
    return Question(
        "chains", phrase(rng, CHAINS, x=name), steps, str(ways[name]), tier="high_school"
    )


def below(web: Web, name: str) -> set[str]:
    """A name and all that feeds it, over any number of steps."""
    found = {name}
    while more := {eaten for one in found for eaten in web.food(one)} - found:
        found |= more
    return found


def starve(web: Web, gone: str) -> list[str]:
    """Who dies out after a name, in order: everyone whose whole food is gone."""
    dead = [gone]
    for name in web.names:
        if web.food(name) and name != gone and set(web.food(name)) <= set(dead):
            dead.append(name)
    return dead[1:]


def ask_loss(rng: random.Random, web: Web, difficulty: int) -> Question:
    """Who is left without food, from below."""
    del difficulty
    by_answer: dict[str, list[str]] = {}
    for name in [name for row in web.rows[:-1] for name in row]:
        by_answer.setdefault(str(len(starve(web, name))), []).append(name)
    name = balanced(rng, by_answer)
    dead = starve(web, name)
    steps = [f"{name} is gone."]
    for count, one in enumerate(dead, start=1):
        steps.append(f"{one} eats only {', '.join(web.food(one))}: {count - 1} + 1 = {count}.")
    steps.append(f"In all {len(dead)}.")
    text = phrase(rng, LOSS, x=name)
    tier: Tier = "high_school"
    return Question("loss", text, " ".join(steps), str(len(dead)), tier=tier)


def ask_trophic(rng: random.Random, web: Web, difficulty: int) -> Question:
    """1 + mean level of the food. Source: S. Levine, J. Theor. Biol. 83 (1980)."""
    del difficulty
    level: dict[str, Fraction] = {}
    lines: dict[str, str] = {}
    for name in web.names:
        food = web.food(name)
        total = sum((level[eaten] for eaten in food), Fraction(0))
        mean = total / len(food) if food else Fraction(0)
        level[name] = 1 + mean
        read = ", ".join(f"{eaten} {format_fraction(level[eaten])}" for eaten in food)
        summed = f"{format_fraction(total)} / {len(food)} = {format_fraction(mean)}."
        whole = f"{format_fraction(mean)} + 1 = {format_fraction(level[name])}."
        lines[name] = f"{name}: {read}. {summed} {whole}" if food else ""
    by_answer: dict[str, list[str]] = {}
    for name in [name for row in web.rows[2:] for name in row]:
        by_answer.setdefault(format_fraction(level[name]), []).append(name)
    uneven = {answer: names for answer, names in by_answer.items() if "/" in answer}
    name = balanced(rng, uneven if uneven and rng.random() < 0.7 else by_answer)
    needed = below(web, name)
    steps = " ".join(lines[one] for one in web.names if one in needed and lines[one])
    answer = format_fraction(level[name])
    return Question("trophic", phrase(rng, TROPHIC, x=name), steps, answer, tier="college")
