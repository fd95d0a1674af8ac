"""Charts read from their primitives alone, and questions answered from what was read."""

import re
from fractions import Fraction

import pytest

from onevision_jax.data.synthetic import SIDES, make_example

WORDS = {"largest": max, "highest": max, "smallest": min, "lowest": min}


def read_chart(drawing, difficulty):
    """CSV from the primitives."""
    texts = [p for p in drawing.primitives if p.kind == "text"]
    marks = [p for p in drawing.primitives if p.kind in ("rectangle", "ellipse")]
    marks = [p for p in marks if p.fill != "white"]
    floor = max(p.points[0][1] for p in texts)
    names = sorted((p.points[0][0], p.text) for p in texts if p.points[0][1] == floor)
    middles = [((p.points[0][0] + p.points[1][0]) / 2, p) for p in marks]
    if difficulty == 1:
        rows = []
        for x, name in names:
            above = [p for p in texts if p.text.isdigit() and abs(p.points[0][0] - x) <= 2]
            (label,) = above
            (mark,) = [p for middle, p in middles if abs(middle - x) <= 2]
            rows.append((name, int(label.text), mark))
        (base,) = [
            p.points[0][1]
            for p in drawing.primitives
            if p.kind == "line" and p.width > 1 and p.fill == "black"
        ]
        for _, value, mark in rows:  # The number is the height, at 5 points a unit.
            assert abs(base - top_of(mark) - 5 * value * drawing.scale) <= 1
        return "\n".join(["name,value", *(f"{name},{value}" for name, value, _ in rows)])
    title = min((p for p in texts), key=lambda p: p.points[0][1]).text
    ticks = sorted(
        (int(p.text), p.points[0][1])
        for p in texts
        if p.text.isdigit() and p.points[0][0] < names[0][0]
    )
    (low, y_low), (high, y_high) = ticks[0], ticks[-1]
    step = ticks[1][0] - ticks[0][0]
    unit = step // (2 if difficulty == 2 else 5)
    headers, topic = title.rsplit(" by ", 1)
    words = [p for p in texts if p.points[0][1] not in (floor,) and p.text.isalpha()]
    legend = {}
    for p in words:
        x, y = p.points[0]
        before = [
            (middle, mark)
            for middle, mark in middles
            if mark.kind == "rectangle" and abs(mark_middle(mark)[1] - y) <= 2 and middle < x
        ]
        if before:
            legend[p.text] = max(before, key=lambda pair: pair[0])
    keys = {id(mark) for _, mark in legend.values()}
    colours = [mark.fill for _, mark in legend.values()] or list(
        {mark.fill for mark in marks if id(mark) not in keys}
    )
    table = []
    for x, name in names:
        row = [name]
        for colour in colours:
            near = [(abs(m - x), p) for m, p in middles if p.fill == colour and id(p) not in keys]
            mark = min(near, key=lambda pair: pair[0])[1]
            value = low + (y_low - top_of(mark)) * (high - low) / (y_low - y_high)
            assert abs(value / unit - round(value / unit)) < 0.2, "between two units"
            row.append(unit * round(value / unit))
        table.append(row)
    header = [topic, *(legend or [headers])]
    if legend:
        assert headers == " and ".join(legend)
    return "\n".join(",".join(map(str, row)) for row in [header, *table])


def top_of(mark):
    """The upper edge of a bar, or the middle of a dot."""
    return mark.points[0][1] if mark.kind == "rectangle" else mark_middle(mark)[1]


def mark_middle(mark):
    (x0, y0), (x1, y1) = mark.points
    return (x0 + x1) / 2, (y0 + y1) / 2


def answer(kind, text, csv):
    """The answer, from the question's words and a parsed CSV."""
    lines = [line.split(",") for line in csv.split("\n")]
    names = [line[0] for line in lines[1:]]
    columns = {h: [int(line[i + 1]) for line in lines[1:]] for i, h in enumerate(lines[0][1:])}
    first = next(iter(columns.values()))
    values = dict(zip(names, first, strict=True))
    words = re.findall(r"\w+", text)
    named = [word for word in words if word in values]
    spoken = [word for word in words if word in columns]
    if kind == "read":
        return values[named[0]]
    if kind == "difference":
        return values[named[0]] - values[named[1]]
    if kind == "sum":
        return values[named[0]] + values[named[1]]
    if kind == "extreme":
        best = next(WORDS[word] for word in words if word in WORDS)(values.values())
        return next(name for name, value in values.items() if value == best)
    if kind == "above":
        return len([v for v in first if v > int(words[-1] if words[-1].isdigit() else words[5])])
    if kind == "total":
        return sum(first)
    if kind == "mean":
        return Fraction(sum(first), len(first))
    if kind == "series_total":
        return sum(columns[spoken[0]])
    pairs = list(zip(names, columns[spoken[0]], columns[spoken[1]], strict=True))
    if kind == "gap":
        return next(abs(x - y) for name, x, y in pairs if name in named)
    if kind == "leads":
        return sum(x > y for _, x, y in pairs)
    assert kind == "top_pair"
    return max(pairs, key=lambda pair: pair[1] + pair[2])[0]


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_an_independent_reader_agrees(difficulty):
    for index in range(200):
        size = SIDES[difficulty] if index < 150 else SIDES[difficulty] * 2
        example = make_example("charts", 7, index, difficulty, size)
        read = read_chart(example.drawing, difficulty)
        assert read == example.formal_text
        question = example.question
        assert str(answer(question.kind, question.text, read)) == question.answer, question
