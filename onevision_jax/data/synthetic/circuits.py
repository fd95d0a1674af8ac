"""Resistor networks on one battery; formal text: a SPICE netlist.

A circuit is a chain of blocks from one battery terminal to the other; a block is a bundle of
parallel branches; a branch is a few resistors in series. Canonical names: node 0 is the negative
terminal (the short plate), node 1 the positive one, the others follow from left to right, then from
top to bottom; R1, R2, ... likewise. The battery comes first; a resistor names its left node first.

Difficulty 1: 2 or 3 resistors in series, or 2 in parallel (0: always in the same place). 2: chains
with one bundle, 3 or 4 resistors. 3: 4 to 6 resistors, several bundles.

Different images at difficulty 1: two resistors 12² x 24 voltages x 6·8 places x 2 sides of the
battery x 7 colours = 2.3e6 in series, as many in parallel; three resistors 2.8e7.
"""

import dataclasses
import functools
import random
from fractions import Fraction

from onevision_jax.data.record import Tier
from onevision_jax.data.synthetic.drawing import LIGHT, Drawing
from onevision_jax.data.synthetic.example import (
    SIDES,
    Example,
    Question,
    format_fraction,
    phrase,
)

Branch = tuple[int, ...]  # ohms, from left to right
Block = tuple[Branch, ...]  # from top to bottom
Chain = tuple[Block, ...]

CHAINS = {  # how many resistors each branch holds
    1: (((1,), (1,)), ((1,), (1,), (1,)), ((1, 1),)),
    2: (((1,), (1, 1)), ((1, 1), (1,)), ((2, 1),), ((1,), (2, 1)), ((1, 1), (1,), (1,))),
    3: (
        ((1,), (1, 1), (1,)),
        ((1, 1), (1, 1)),
        ((1,), (2, 1), (1,)),
        ((1, 1, 1), (1,)),
        ((2, 1), (1, 1)),
        ((2, 2), (1,)),
        ((1,), (1, 1, 1), (1,)),
        ((1, 1), (1,), (1, 1)),
        ((2, 2), (1, 1)),
    ),
}
# At difficulty 3 with many common divisors, or the fractions would grow beyond all bounds.
OHMS = {1: tuple(range(1, 13)), 2: tuple(range(1, 13)), 3: (1, 2, 3, 4, 6, 8, 12, 24)}


@dataclasses.dataclass(frozen=True)
class Style:
    """How a circuit is drawn; points."""

    left: float
    right: float
    top: float
    bottom: float
    rise: float  # between two branches
    box: tuple[float, float]  # half width, half height of a resistor
    font: float
    named: bool  # whether resistors carry their names
    colour: str


@dataclasses.dataclass(frozen=True)
class Resistor:
    """A named resistor between two nodes."""

    name: str
    nodes: tuple[int, int]  # left, right
    ohms: int


def make(rng: random.Random, difficulty: int, size: int, still: bool = False) -> Example:
    """A random circuit with a question about it."""
    counts = rng.choice(CHAINS[difficulty])
    ohms = OHMS[difficulty]
    chain = tuple(
        tuple(tuple(rng.choice(ohms) for _ in range(n)) for n in block) for block in counts
    )
    volts = rng.randint(1, 24)
    mirrored = rng.random() < 0.5
    drawing = Drawing(SIDES[difficulty], size)
    draw(drawing, chain, volts, mirrored, choose_style(rng, difficulty, still))
    resistors = number(chain, mirrored)
    lines = [f"{r.name} {r.nodes[0]} {r.nodes[1]} {r.ohms}" for r in resistors]
    netlist = "\n".join([f"V1 1 0 {volts}", *lines])
    question = ask(rng, chain, volts, difficulty)
    return Example(drawing, netlist, "spice", question, "physics")


def choose_style(rng: random.Random, difficulty: int, still: bool) -> Style:
    """Place and colour at random."""
    colour = rng.choice(LIGHT)
    if difficulty == 1:
        x, y = (3, 4) if still else (rng.randrange(6), rng.randrange(8))
        return Style(9 + x, 70 + x, 17 + y, 66 + y, 20, (9, 7), 12, False, colour)
    if difficulty == 2:
        x, y = rng.randrange(8), rng.randrange(10)
        return Style(14 + x, 148 + x, 48 + y, 148 + y, 44, (17, 9), 14, True, colour)
    x, y = rng.randrange(10), rng.randrange(14)
    return Style(20 + x, 256 + x, 84 + y, 250 + y, 50, (19, 10), 15, True, colour)


def slots(block: Block) -> int:
    """How many resistors wide a block is."""
    return max(map(len, block))


def number(chain: Chain, mirrored: bool) -> list[Resistor]:
    """Canonical names and nodes.

    x is counted in slots, as `draw` places them: resistors in the order of their middles, inner
    nodes in the order of their left ends.
    """
    total = sum(map(slots, chain))
    places: list[tuple[float, int, str, str, int]] = []  # x, branch, left, right, ohms
    inner: list[tuple[float, int, str]] = []  # x, branch, working name
    start, last = 0, "end"
    for b, block in enumerate(chain):
        width = slots(block)
        left = "start" if b == 0 else f"{b}"
        right = last if start + width == total else f"{b + 1}"
        if right != last:
            inner.append((start + width, -1, right))
        for r, branch in enumerate(block):
            step = width / len(branch)
            for k, ohms in enumerate(branch):
                here = left if k == 0 else f"{b}.{r}.{k}"
                there = right if k == len(branch) - 1 else f"{b}.{r}.{k + 1}"
                places.append((start + step * (k + 0.5), r, here, there, ohms))
                if k:  # The wire to its left begins at the right end of the box before.
                    inner.append((start + step * (k - 0.5), r, here))
        start += width
    ends = ("end", "start") if mirrored else ("start", "end")
    nodes = {ends[0]: 1, ends[1]: 0}
    nodes |= {name: i for i, (_, _, name) in enumerate(sorted(inner), start=2)}
    ordered = sorted(places, key=lambda place: place[:2])
    return [
        Resistor(f"R{i}", (nodes[left], nodes[right]), ohms)
        for i, (_, _, left, right, ohms) in enumerate(ordered, start=1)
    ]


def draw(drawing: Drawing, chain: Chain, volts: int, mirrored: bool, style: Style) -> None:
    """The chain along the top, the battery at one side, the return wire below."""
    pitch = (style.right - style.left) / sum(map(slots, chain))
    names = iter(range(1, 100))
    x = style.left
    boxes: list[tuple[float, float, int, int]] = []  # x, y, branch, ohms
    for block in chain:
        width = pitch * slots(block)
        ys = [style.top + style.rise * (r - (len(block) - 1) / 2) for r in range(len(block))]
        inset = 0.0
        if len(block) > 1:  # Vertical wires join the branches, a little inside the block.
            inset = pitch * 0.06
            wire(drawing, (x, style.top), (x + inset, style.top))
            wire(drawing, (x + width - inset, style.top), (x + width, style.top))
            for side in (x + inset, x + width - inset):
                wire(drawing, (side, ys[0]), (side, ys[-1]))
                dot = style.font / 8
                low, high = (side - dot, style.top - dot), (side + dot, style.top + dot)
                drawing.ellipse(low, high, fill="black")
        for r, (y, branch) in enumerate(zip(ys, block, strict=True)):
            step, at = width / len(branch), x + inset
            for k, ohms in enumerate(branch):
                middle = x + step * (k + 0.5)
                wire(drawing, (at, y), (middle - style.box[0], y))
                boxes.append((middle, y, r, ohms))
                at = middle + style.box[0]
            wire(drawing, (at, y), (x + width - inset, y))
        x += width
    for middle, y, _, ohms in sorted(boxes, key=lambda box: (round(box[0], 6), box[2])):
        low = (middle - style.box[0], y - style.box[1])
        high = (middle + style.box[0], y + style.box[1])
        drawing.rectangle(low, high, style.colour, "black")
        drawing.text((middle, y), str(ohms), style.font)
        if style.named:
            name = f"R{next(names)}"
            drawing.text((middle, y - style.box[1] - style.font * 0.6), name, style.font * 0.85)
    draw_battery(drawing, volts, mirrored, style)


def draw_battery(drawing: Drawing, volts: int, mirrored: bool, style: Style) -> None:
    """Plates (the long one is positive, above), its voltage, and the return wire."""
    side, other = (style.right, style.left) if mirrored else (style.left, style.right)
    middle, half, gap = (style.top + style.bottom) / 2 + 8, style.font * 0.6, style.font * 0.2
    wire(drawing, (side, style.top), (side, middle - gap))
    drawing.line((side - half, middle - gap), (side + half, middle - gap), "red", 2)
    drawing.line((side - half / 2, middle + gap), (side + half / 2, middle + gap), "blue", 2)
    wire(drawing, (side, middle + gap), (side, style.bottom))
    wire(drawing, (style.left, style.bottom), (style.right, style.bottom))
    wire(drawing, (other, style.top), (other, style.bottom))
    inward = -1 if mirrored else 1
    drawing.text((side + inward * style.font * 1.9, middle), f"{volts}V", style.font)


def wire(drawing: Drawing, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A black line."""
    drawing.line(start, end, "black")


class Solution:
    """Works out what is asked of a circuit, keeping the steps; nothing is worked out twice."""

    def __init__(self, chain: Chain, volts: int):
        """The circuit; no step is taken yet."""
        self.chain, self.volts = chain, volts
        self.steps: list[str] = []
        self._branches: dict[tuple[int, int], Fraction] = {}

    def branch(self, b: int, r: int) -> Fraction:
        """Ohms of one branch."""
        if (b, r) not in self._branches:
            self._branches[b, r] = self.series(list(map(Fraction, self.chain[b][r])))
        return self._branches[b, r]

    @functools.cached_property
    def blocks(self) -> list[Fraction]:
        """Ohms of the blocks."""
        return [
            self.parallel([self.branch(b, r) for r in range(len(block))])
            for b, block in enumerate(self.chain)
        ]

    @functools.cached_property
    def total(self) -> Fraction:
        """Ohms of the whole."""
        return self.series(self.blocks)

    @functools.cached_property
    def current(self) -> Fraction:
        """Amperes through the battery."""
        return self.divide(Fraction(self.volts), self.total)

    def across_block(self, b: int) -> Fraction:
        """Volts across a block."""
        if len(self.chain) > 1:
            return self.multiply(self.current, self.blocks[b])
        self.steps.append(f"It has all {self.volts} volts.")
        return Fraction(self.volts)

    def at(self, place: tuple[int, int, int], kind: str) -> Fraction:
        """Volts across ("voltage") or amperes through ("branch") one resistor."""
        b, r, k = place
        block = self.chain[b]
        if len(block) == 1:
            current = self.current
        else:
            voltage = self.across_block(b)
            if kind == "voltage" and len(block[r]) == 1:
                return voltage
            current = self.divide(voltage, self.branch(b, r))
        return current if kind == "branch" else self.multiply(current, Fraction(block[r][k]))

    def say(self, text: str, value: Fraction) -> Fraction:
        """Note `text = value.`"""
        self.steps.append(f"{text} = {format_fraction(value)}.")
        return value

    def series(self, parts: list[Fraction]) -> Fraction:
        """The sum, if there is something to add."""
        total = parts[0]
        for part in parts[1:]:
            text = f"{format_fraction(total)} + {format_fraction(part)}"
            total = self.say(text, total + part)
        return total

    def parallel(self, parts: list[Fraction]) -> Fraction:
        """Product over sum, two at a time."""
        total = parts[0]
        for part in parts[1:]:
            a, b = format_fraction(total), format_fraction(part)
            product, added = total * part, total + part
            self.say(f"{a} * {b}", product)
            self.say(f"{a} + {b}", added)
            total = self.divide(product, added)
        return total

    def multiply(self, left: Fraction, right: Fraction) -> Fraction:
        """A product."""
        return self.say(f"{format_fraction(left)} * {format_fraction(right)}", left * right)

    def divide(self, left: Fraction, right: Fraction) -> Fraction:
        """A quotient in lowest terms; nothing is said where the fraction is the answer itself."""
        a, b = format_fraction(left), format_fraction(right)
        b = f"({b})" if "/" in b else b
        quotient = left / right
        if f"{a}/{b}" != format_fraction(quotient):
            return self.say(f"{a} / {b}", quotient)
        self.steps.append(f"{a}/{b}.")
        return quotient


RESISTANCE = (
    "What is the total resistance in ohms?",
    "Find the resistance of the whole circuit in ohms.",
    "What resistance does the battery see, in ohms?",
)
CURRENT = (
    "What current does the battery deliver, in amperes?",
    "Find the current through the battery in amperes.",
    "How many amperes flow out of the battery?",
)
VOLTAGE = (
    "What is the voltage across {name}, in volts?",
    "Find the voltage drop over {name} in volts.",
    "How many volts lie across {name}?",
)
BRANCH = (
    "What current flows through {name}, in amperes?",
    "Find the current in {name} in amperes.",
)


def ask(rng: random.Random, chain: Chain, volts: int, difficulty: int) -> Question:
    """Resistance or current of the whole, voltage or current of one resistor."""
    kind = rng.choice(("resistance", "current", "voltage", "branch")[: 3 if difficulty < 3 else 4])
    solution = Solution(chain, volts)
    read = ", ".join(f"{r.name} {r.ohms}" for r in number(chain, mirrored=False))
    tier: Tier = "high_school"
    if kind == "resistance":
        text, answer = phrase(rng, RESISTANCE), solution.total
        tier = "junior_high" if difficulty == 1 else "high_school"
    elif kind == "current":
        text, answer = phrase(rng, CURRENT), solution.current
    else:
        place = rng.choice(places(chain))
        name = name_of(chain, place)
        if difficulty == 1:  # Nothing is drawn with a name there.
            place = places(chain)[-1]
            name = "the rightmost resistor" if len(chain) > 1 else "each resistor"
        text = phrase(rng, VOLTAGE if kind == "voltage" else BRANCH, name=name)
        answer = solution.at(place, kind)
        tier = "high_school" if difficulty == 1 else "college"
    if kind != "resistance":
        read = f"V1 {volts}, {read}"
    reasoning = " ".join([f"{read}.", *solution.steps])
    return Question(kind, text, reasoning, format_fraction(answer), tier=tier)


def places(chain: Chain) -> list[tuple[int, int, int]]:
    """block, branch, position of every resistor, in the order drawn along the chain."""
    return [
        (b, r, k)
        for b, block in enumerate(chain)
        for r, branch in enumerate(block)
        for k in range(len(branch))
    ]


def name_of(chain: Chain, place: tuple[int, int, int]) -> str:
    """The canonical name of the resistor at a place."""
    serial = iter(range(len(places(chain))))
    marked = tuple(
        tuple(tuple(next(serial) for _ in branch) for branch in block) for block in chain
    )
    wanted = places(chain).index(place)
    return next(r.name for r in number(marked, False) if r.ohms == wanted)
