"""Flowcharts that change one number; formal text: Mermaid.

A chart is a column of layers: a step (a box such as `x+3`) or a decision (a diamond such as `x>5`
with a box on its yes and on its no side), each leading to the next. Canonical names: A, B, C, ...
from top to bottom, then from left to right; nodes first, then arrows sorted by their ends.

Difficulty 1: one decision (0: always in the same place). 2: one decision with steps. 3: two
decisions.

Different images at difficulty 1: 4 variables x 2 comparisons x 9 thresholds x 20·19 pairs of
different boxes x 2 sides x 6·3 places x 7·7 colours = 4.8e7.
"""

import dataclasses
import random

from onevision_jax.data.record import Tier
from onevision_jax.data.synthetic.drawing import LIGHT, Drawing
from onevision_jax.data.synthetic.example import SIDES, Example, Question, phrase

VARIABLES = "xynk"
OPERATIONS = (
    *(("+", k) for k in range(1, 10)),
    *(("-", k) for k in range(1, 10)),
    ("*", 2),
    ("*", 3),
)
Operation = tuple[str, int]
LAYERS = {1: ("D",), 2: ("SD", "DS", "SDS"), 3: ("SDD", "DSD", "DDS", "SDSD", "SDDS")}
TIERS: dict[int, Tier] = {1: "junior_high", 2: "high_school", 3: "college"}
NAMES = "ABCDEFGHIJ"


@dataclasses.dataclass(frozen=True)
class Step:
    """A box."""

    operation: Operation


@dataclasses.dataclass(frozen=True)
class Decision:
    """A diamond with its two boxes."""

    comparison: str  # "<" or ">"
    threshold: int
    left: Operation
    right: Operation
    yes_left: bool


Layer = Step | Decision


@dataclasses.dataclass(frozen=True)
class Chart:
    """The variable and the layers from top to bottom."""

    variable: str
    layers: tuple[Layer, ...]

    def write(self, operation: Operation) -> str:
        """`x+3`"""
        return f"{self.variable}{operation[0]}{operation[1]}"

    def to_mermaid(self) -> str:
        """The formal text."""
        nodes: list[str] = []
        edges: list[tuple[str, str, str]] = []  # from, to, label
        names = iter(NAMES)
        loose: list[str] = []  # nodes whose arrow goes to the next layer
        for layer in self.layers:
            name = next(names)
            edges += [(before, name, "") for before in loose]
            if isinstance(layer, Step):
                nodes.append(f"{name}[{self.write(layer.operation)}]")
                loose = [name]
                continue
            nodes.append(f"{name}{{{self.variable}{layer.comparison}{layer.threshold}}}")
            loose = [next(names), next(names)]
            labels = ("yes", "no") if layer.yes_left else ("no", "yes")
            boxes = zip(loose, (layer.left, layer.right), labels, strict=True)
            for box, operation, label in boxes:
                nodes.append(f"{box}[{self.write(operation)}]")
                edges.append((name, box, label))
        arrows = [f"{a}-->|{label}|{b}" if label else f"{a}-->{b}" for a, b, label in sorted(edges)]
        return "\n".join(["flowchart TD", *nodes, *arrows])


def make(rng: random.Random, difficulty: int, size: int, still: bool = False) -> Example:
    """A random flowchart with a question about it."""
    chart = Chart(
        rng.choice(VARIABLES),
        tuple(invent(rng, kind, difficulty) for kind in rng.choice(LAYERS[difficulty])),
    )
    drawing = Drawing(SIDES[difficulty], size)
    draw(rng, drawing, chart, difficulty, still)
    question = ask(rng, chart, difficulty)
    return Example(drawing, chart.to_mermaid(), "mermaid", question, "deduction")


def invent(rng: random.Random, kind: str, difficulty: int) -> Layer:
    """A step, or a decision whose boxes differ."""
    if kind == "S":
        return Step(rng.choice(OPERATIONS))
    left, right = rng.sample(OPERATIONS, 2)
    most = 9 if difficulty == 1 else 20
    return Decision(rng.choice("<>"), rng.randint(1, most), left, right, rng.random() < 0.5)


@dataclasses.dataclass(frozen=True)
class Style:
    """Measures in points."""

    middle: float
    top: float  # middle of the first row
    pitch: float  # between rows
    reach: float  # from the middle to the boxes beside it
    box: tuple[float, float]  # half width, half height
    diamond: tuple[float, float]
    font: float
    colours: tuple[str, str]  # of boxes, of diamonds


def choose_style(rng: random.Random, difficulty: int, rows: int, still: bool) -> Style:
    """Place and colours at random."""
    colours = (rng.choice(LIGHT), rng.choice(LIGHT))
    if difficulty == 1:
        x, y = (42, 21) if still else (41 + rng.randrange(3), 19 + rng.randrange(6))
        return Style(x, y, 44, 25, (15, 10), (25, 17), 13, colours)
    if difficulty == 2:
        pitch = 132 / (rows - 1)
        x, y = 76 + rng.randrange(17), 18
        return Style(x, y, min(pitch, 50), 40, (22, 10), (40, 16), 14, colours)
    pitch = 244 / (rows - 1)
    x, y = 120 + rng.randrange(41), 18
    return Style(x, y, pitch, 60, (32, 12), (60, 17), 16, colours)


def draw(rng: random.Random, drawing: Drawing, chart: Chart, difficulty: int, still: bool) -> None:
    """Layers downwards; arrows join each layer's loose ends to the next."""
    rows = sum(1 if isinstance(layer, Step) else 2 for layer in chart.layers)
    style = choose_style(rng, difficulty, rows, still)
    x, y = style.middle, style.top
    loose: list[tuple[float, float]] = []
    for layer in chart.layers:
        height = style.box[1] if isinstance(layer, Step) else style.diamond[1]
        for start in loose:
            drawing.arrow(start, (x, y - height))
        if isinstance(layer, Step):
            loose = [draw_box(drawing, style, (x, y), chart.write(layer.operation))]
        else:
            loose = draw_decision(drawing, style, chart, layer, y)
            y += style.pitch
        y += style.pitch


def draw_box(
    drawing: Drawing, style: Style, centre: tuple[float, float], text: str
) -> tuple[float, float]:
    """A box; returns where its arrow leaves."""
    (x, y), (w, h) = centre, style.box
    drawing.rectangle((x - w, y - h), (x + w, y + h), style.colours[0], "black")
    drawing.text((x, y), text, style.font)
    return x, y + h


def draw_decision(
    drawing: Drawing, style: Style, chart: Chart, layer: Decision, y: float
) -> list[tuple[float, float]]:
    """The diamond, its labelled arrows, its boxes; returns where their arrows leave."""
    x, (w, h) = style.middle, style.diamond
    corners = ((x - w, y), (x, y - h), (x + w, y), (x, y + h))
    drawing.polygon(corners, style.colours[1], "black")
    text = f"{chart.variable}{layer.comparison}{layer.threshold}"
    drawing.text((x, y), text, style.font)
    ends = []
    for side, operation in ((-1, layer.left), (1, layer.right)):
        below = y + style.pitch
        at = x + side * style.reach
        drawing.arrow((x + side * w, y), (at, below - style.box[1]))
        label = "yes" if (side < 0) == layer.yes_left else "no"
        colour = "green" if label == "yes" else "red"
        # Inside, between the arrow and the lower corner of the diamond.
        inward = style.font * 1.08
        place = (y + h * 0.45 + below - style.box[1]) / 2
        drawing.text(
            (at - side * inward, place + style.font * 0.2), label, style.font * 0.9, colour
        )
        ends.append(draw_box(drawing, style, (at, below), chart.write(operation)))
    return ends


def apply(value: int, operation: Operation) -> int:
    """The number after a box."""
    symbol, operand = operation
    return (
        value + operand if symbol == "+" else value - operand if symbol == "-" else value * operand
    )


def follow(chart: Chart, value: int) -> tuple[list[str], int, list[bool]]:
    """Runs the chart: the steps in words, the last number, the answers of the decisions."""
    steps, answers = [f"{chart.variable} = {value}."], []
    names = iter(NAMES)
    for layer in chart.layers:
        name = next(names)
        if isinstance(layer, Decision):
            holds = value < layer.threshold if layer.comparison == "<" else value > layer.threshold
            answers.append(holds)
            left, right = next(names), next(names)
            goes_left = holds == layer.yes_left
            name, operation = (left, layer.left) if goes_left else (right, layer.right)
            word = "yes" if holds else "no"
            steps.append(f"{value} {layer.comparison} {layer.threshold} {word}, {name}.")
        else:
            operation = layer.operation
        result = apply(value, operation)
        steps.append(f"{name}: {value} {operation[0]} {operation[1]} = {result}.")
        value = result
    return steps, value, answers


RESULT = (
    "Start with {v} = {n}. What is {v} at the end?",
    "{v} is {n} at the start. What comes out?",
    "Follow the chart with {v} = {n}. What is the result?",
)
DECIDE = (
    "With {v} = {n}, does the decision say yes or no?",
    "{v} is {n} at the start. Is the decision yes or no?",
)
BEST = (
    "Which of {several} for {v} ends with the largest number?",
    "Start with {v} from {several}. Which start ends highest?",
)


def ask(rng: random.Random, chart: Chart, difficulty: int) -> Question:
    """The result for an input, the way of the last decision, or the best of several inputs."""
    kind = rng.choice(("result", "result", "decide") if difficulty < 3 else ("result", "best"))
    first = next(layer for layer in chart.layers if isinstance(layer, Decision))
    v = chart.variable
    # Near the threshold and on either side of it, so that both ways are taken.
    n = max(0, first.threshold + rng.choice((-4, -3, -2, -1, 1, 2, 3, 4)))
    steps, result, answers = follow(chart, n)
    tier = TIERS[difficulty]
    if kind == "decide":
        (holds,) = answers  # One decision at difficulties 1 and 2.
        text = phrase(rng, DECIDE, v=v, n=n)
        answer = "yes" if holds else "no"
        steps = steps[:-1] if isinstance(chart.layers[-1], Decision) else steps[:-2]
        return Question(kind, text, " ".join(steps), answer, "choice", ("yes", "no"), "social_test")
    if kind == "result":
        return Question(
            kind, phrase(rng, RESULT, v=v, n=n), " ".join(steps), str(result), tier=tier
        )
    starts = sorted(rng.sample(range(max(0, first.threshold - 4), first.threshold + 5), 3))
    runs = [follow(chart, start) for start in starts]
    results = [run[1] for run in runs]
    if results.count(max(results)) > 1:
        text = phrase(rng, RESULT, v=v, n=n)
        return Question("result", text, " ".join(steps), str(result), tier=tier)
    best = starts[results.index(max(results))]
    ends = ", ".join(f"{start} gives {end}" for start, end in zip(starts, results, strict=True))
    reasoning = " ".join([*(" ".join(run[0]) for run in runs), f"{ends}. Best {best}."])
    text = phrase(rng, BEST, v=v, several=", ".join(map(str, starts)))
    return Question("best", text, reasoning, str(best), tier=tier)
