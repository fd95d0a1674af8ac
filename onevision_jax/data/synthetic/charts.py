"""Bar and line charts; formal text: CSV of what is drawn.

Difficulty 1: one series of 3 or 4 values from 1 to 9 with the values written on the marks. 2: one
series of 4 or 5 values to be read off an axis. 3: two series and a legend.

Different images at difficulty 1: the least frequent layout, a line through 3 points, has 10·9·8
names x 9³ values x 7 colours = 3.7e6; bars have 7·6·5 colourings instead of 7, hence 1.1e8.
"""

import dataclasses
import itertools
import random
from collections.abc import Sequence

from onevision_jax.data.synthetic import series
from onevision_jax.data.synthetic.drawing import STRONG, Drawing
from onevision_jax.data.synthetic.example import (
    SIDES,
    Example,
    Question,
    format_fraction,
    phrase,
)

# No A to E, which could be taken for options.
LETTERS = "KLMNPRSTVZ"
NAMES = {
    "month": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "day": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "fruit": ("fig", "kiwi", "lime", "pear", "plum", "date", "nut"),
    "pet": ("cat", "dog", "fish", "bird", "frog", "pony"),
}
QUANTITIES = ("sales", "votes", "visits", "points", "hours")
SELLERS = ("Ann", "Bob", "Cal", "Dee", "Eve", "Fay")
UNITS = (1, 2, 5, 10, 100)


@dataclasses.dataclass(frozen=True)
class Chart:
    """What a chart shows."""

    style: str  # "bar" or "line"
    topic: str  # header of the first column
    names: tuple[str, ...]
    columns: tuple[tuple[str, tuple[int, ...]], ...]  # (header, values), one a series
    unit: int  # every value is a multiple of it

    def items(self, index: int = 0) -> series.Items:
        """One series as (name, value) pairs."""
        return list(zip(self.names, self.columns[index][1], strict=True))

    def to_csv(self) -> str:
        """Header, then one line a name, in the order drawn."""
        table = [(self.topic, self.names), *self.columns]
        header = ",".join(title for title, _ in table)
        rows = zip(*(cells for _, cells in table), strict=True)
        return "\n".join([header, *(",".join(map(str, row)) for row in rows)])


def make(rng: random.Random, difficulty: int, size: int) -> Example:
    """A random chart with a question about it."""
    chart = invent(rng, difficulty)
    drawing = Drawing(SIDES[difficulty], size)
    if difficulty == 1:
        draw_plain(rng, drawing, chart)
    else:
        draw_axes(drawing, chart, difficulty)
        draw_marks(rng, drawing, chart, difficulty)
    ask = ask_two_series if difficulty == 3 else ask_one_series
    question = ask(rng, chart, difficulty)
    return Example(drawing, chart.to_csv(), "csv", question, "math")


def invent(rng: random.Random, difficulty: int) -> Chart:
    """Draw names, style and values."""
    style = rng.choice(("bar", "line"))
    if difficulty == 1:
        names = tuple(rng.sample(LETTERS, rng.choice((3, 4))))
        values = tuple(rng.randint(1, 9) for _ in names)
        return Chart(style, "name", names, (("value", values),), 1)
    topic = rng.choice(tuple(NAMES))
    count = rng.randint(4, 5 if difficulty == 2 else 6)
    start = rng.randrange(len(NAMES[topic]) - count + 1)
    names = NAMES[topic][start : start + count]
    unit = rng.choice(UNITS)
    most = 10 if difficulty == 2 else 20
    first = tuple(unit * rng.randint(1, most) for _ in names)
    if difficulty == 2:
        return Chart(style, topic, names, ((rng.choice(QUANTITIES), first),), unit)
    # Never equal at one name, so that no mark hides another.
    second = tuple(
        unit * rng.choice([k for k in range(1, most + 1) if k * unit != v]) for v in first
    )
    headers = rng.sample(SELLERS, 2)
    return Chart(style, topic, names, tuple(zip(headers, (first, second), strict=True)), unit)


def draw_plain(rng: random.Random, drawing: Drawing, chart: Chart) -> None:
    """Difficulty 1: marks with their value above and their name below; 5 points a unit."""
    base, pitch = 66, 80 / len(chart.names)
    colours = rng.sample(STRONG, len(chart.names)) if chart.style == "bar" else [rng.choice(STRONG)]
    tops = [(2 + pitch * (i + 0.5), base - 5 * value) for i, (_, value) in enumerate(chart.items())]
    drawing.line((1, base), (82, base), "black", 2)
    if chart.style == "line":
        draw_polyline(drawing, tops, colours[0], 3)
    for i, ((name, value), (x, top)) in enumerate(zip(chart.items(), tops, strict=True)):
        if chart.style == "bar":
            drawing.rectangle((x - 7, top), (x + 7, base - 1), fill=colours[i])
        else:  # The line may rise through the place of the number.
            drawing.rectangle((x - 5, top - 15), (x + 5, top - 5), fill="white")
        drawing.text((x, top - 9), str(value), 14)
        drawing.text((x, 76), name, 14)


def draw_polyline(
    drawing: Drawing, points: Sequence[tuple[float, float]], colour: str, radius: float
) -> None:
    """Points joined by lines, each with a dot."""
    for start, end in itertools.pairwise(points):
        drawing.line(start, end, colour, 2)
    for x, y in points:
        drawing.ellipse((x - radius, y - radius), (x + radius, y + radius), fill=colour)


def plot_area(difficulty: int) -> tuple[float, float, float, float, int]:
    """left, right, base, points per unit, units of the axis."""
    return (30, 164, 146, 11.5, 10) if difficulty == 2 else (36, 274, 254, 10, 20)


def draw_axes(drawing: Drawing, chart: Chart, difficulty: int) -> None:
    """Title, legend place, ticks with labels, grid, names below."""
    left, right, base, step, units = plot_area(difficulty)
    labelled = 2 if difficulty == 2 else 5
    font = 11 if difficulty == 2 else 13
    for k in range(units + 1):
        y = base - step * k
        if k % labelled == 0:
            drawing.line((left - 3, y), (right, y), "grey" if k else "black")
            drawing.text((left / 2 - 1, y), str(k * chart.unit), font - 1)
        else:
            drawing.line((left, y), (right, y), "mist")
    title = chart.columns[0][0] if difficulty == 2 else " and ".join(h for h, _ in chart.columns)
    drawing.text(((left + right) / 2, 10), f"{title} by {chart.topic}", font)
    pitch = (right - left) / len(chart.names)
    for i, name in enumerate(chart.names):
        drawing.text((left + pitch * (i + 0.5), base + 11), name, font - 1)


def draw_marks(rng: random.Random, drawing: Drawing, chart: Chart, difficulty: int) -> None:
    """Bars or lines of every series, and a legend if there are two."""
    left, right, base, step, _ = plot_area(difficulty)
    pitch = (right - left) / len(chart.names)
    count = len(chart.columns)
    width = pitch * (0.55 if count == 1 else 0.36)
    colours = rng.sample(STRONG, count)
    for index, (header, values) in enumerate(chart.columns):
        if count == 2:
            x = 60 + 110 * index
            drawing.rectangle((x, 24), (x + 10, 34), fill=colours[index])
            drawing.text((x + 34, 29), header, 13)
        middles = [left + pitch * (i + 0.5) for i in range(len(values))]
        tops = [base - step * value / chart.unit for value in values]
        if chart.style == "line":
            draw_polyline(drawing, list(zip(middles, tops, strict=True)), colours[index], 3)
            continue
        for x, top in zip(middles, tops, strict=True):
            x0 = x + width * (index - count / 2)
            drawing.rectangle((x0, top), (x0 + width - 1, base - 1), fill=colours[index])


READ = ("What is the value of {a}?", "Read the value of {a}.", "How much is {a}?")
DIFFERENCE = (
    "How much more is {a} than {b}?",
    "What is {a} minus {b}?",
    "By how much is {a} larger than {b}?",
)
SUM = ("What is {a} plus {b}?", "What are {a} and {b} together?", "Add {a} and {b}.")
EXTREME = (
    "Which name has the {how} value?",
    "Where is the value {how}?",
    "Name the one with the {how} value.",
)
TOTAL = ("What is the total of all values?", "Add all the values.", "What do all values sum to?")
MEAN = ("What is the mean of all values?", "What is the average value?", "Find the mean value.")
ABOVE = (
    "How many values are above {t}?",
    "Count the values greater than {t}.",
    "How many values are more than {t}?",
)


def ask_one_series(rng: random.Random, chart: Chart, difficulty: int) -> Question:
    """A question about a single series."""
    items = chart.items()
    kinds = ["read", "difference", "sum", "extreme"]
    kind = rng.choice([*kinds, "total", "mean", "above"] if difficulty > 1 else kinds)
    largest = rng.random() < 0.5
    if kind == "extreme" and not series.has_extreme(items, largest):
        kind = "read"
    (a, low), (b, high) = sorted(rng.sample(items, 2), key=lambda item: item[1])
    if kind == "read":
        steps = series.list_items(items)
        return Question(kind, phrase(rng, READ, a=a), f"{steps} {a} {low}.", str(low))
    if kind == "difference":
        steps, answer = series.subtract(items, b, a)
        return Question(kind, phrase(rng, DIFFERENCE, a=b, b=a), steps, str(answer))
    if kind == "sum":
        steps, answer = series.add_up([low, high])
        return Question(
            kind, phrase(rng, SUM, a=a, b=b), f"{a} {low}. {b} {high}. {steps}", str(answer)
        )
    if kind == "extreme":
        steps, name = series.find_extreme(items, largest)
        how = rng.choice(("largest", "highest") if largest else ("smallest", "lowest"))
        text = phrase(rng, EXTREME, how=how)
        # Names of one letter are no choices: they would look like the letters of options.
        choices = () if difficulty == 1 else chart.names
        return Question(kind, text, steps, name, "choice" if choices else "text", choices)
    if kind == "above":
        threshold = series.choose_threshold(rng, items, chart.unit)
        steps, count = series.count_above(items, threshold)
        return Question(kind, phrase(rng, ABOVE, t=threshold), steps, str(count))
    if kind == "total":
        steps, answer = series.add_up([value for _, value in items])
        return Question(kind, phrase(rng, TOTAL), steps, str(answer), tier="high_school")
    steps, mean = series.average(items)
    return Question(kind, phrase(rng, MEAN), steps, format_fraction(mean), tier="high_school")


SERIES_TOTAL = ("What is the total of {h}?", "Add all values of {h}.")
GAP = (
    "At {a}, how far apart are {h} and {g}?",
    "What is the difference between {h} and {g} at {a}?",
)
LEADS = ("How often is {h} above {g}?", "At how many places is {h} larger than {g}?")
TOP_PAIR = (
    "Where is the sum of {h} and {g} largest?",
    "Which {topic} has the largest sum of {h} and {g}?",
)


def ask_two_series(rng: random.Random, chart: Chart, difficulty: int) -> Question:
    """A question that needs both series, or one of them found by the legend."""
    assert difficulty == 3
    (h, first), (g, second) = chart.columns
    kind = rng.choice(("series_total", "gap", "leads", "top_pair"))
    pair_items = []
    pair_steps = []
    for name, x, y in zip(chart.names, first, second, strict=True):
        pair_items.append((name, x + y))
        pair_steps.append(f"{name} {x} + {y} = {x + y}.")
    if kind == "top_pair" and not series.has_extreme(pair_items, True):
        kind = "leads"
    if kind == "series_total":
        index = rng.randrange(2)
        header, values = chart.columns[index]
        steps, answer = series.add_up(list(values))
        steps = f"{header}: {series.list_items(chart.items(index))} {steps}"
        text = phrase(rng, SERIES_TOTAL, h=header)
        return Question(kind, text, steps, str(answer), tier="high_school")
    if kind == "gap":
        name, x, y = rng.choice(list(zip(chart.names, first, second, strict=True)))
        high, low = max(x, y), min(x, y)
        steps = f"{name}: {h} {x}, {g} {y}. {high} - {low} = {high - low}."
        return Question(kind, phrase(rng, GAP, a=name, h=h, g=g), steps, str(high - low))
    if kind == "leads":
        count, lines = 0, []
        for name, x, y in zip(chart.names, first, second, strict=True):
            count += x > y
            lines.append(f"{name} {x} {series.sign(x, y)} {y} {'yes' if x > y else 'no'}, {count}.")
        text = phrase(rng, LEADS, h=h, g=g)
        return Question(kind, text, " ".join(lines), str(count), tier="high_school")
    steps, name = series.find_extreme(pair_items, True)
    text = phrase(rng, TOP_PAIR, h=h, g=g, topic=chart.topic)
    steps = f"{' '.join(pair_steps)} {steps}"
    return Question(kind, text, steps, name, "choice", chart.names, "high_school")
