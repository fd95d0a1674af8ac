"""Tables read from their primitives alone, and questions answered from what was read."""

import re
from fractions import Fraction

import pytest

from onevision_jax.data.synthetic import SIDES, make_example


def read_grid(drawing):
    """Rows of cell texts: each text falls between two rules across and two down."""
    rules = [p.points for p in drawing.primitives if p.kind == "line"]
    ys = sorted({a[1] for a, b in rules if a[1] == b[1]})
    xs = sorted({a[0] for a, b in rules if a[0] == b[0]})
    grid = [["" for _ in xs[1:]] for _ in ys[1:]]
    for p in drawing.primitives:
        if p.kind == "text":
            x, y = p.points[0]
            row = sum(rule < y for rule in ys) - 1
            column = sum(rule < x for rule in xs) - 1
            assert grid[row][column] == ""
            grid[row][column] = p.text
    return grid


def write(grid, language):
    if language == "csv":
        return "\n".join(",".join(row) for row in grid)
    lines = []
    for i, row in enumerate(grid):
        tags = ["th" if i == 0 or j == 0 else "td" for j in range(len(row))]
        cells = "".join(f"<{t}>{cell}</{t}>" for t, cell in zip(tags, row, strict=True))
        lines.append(f"<tr>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def answer(kind, text, grid):
    columns = grid[0][1:]
    rows = {row[0]: dict(zip(columns, map(int, row[1:]), strict=True)) for row in grid[1:]}
    words = re.findall(r"\w+", text)
    named = [word for word in words if word in rows]
    titled = [word for word in words if word in columns]
    column = {name: row[titled[0]] for name, row in rows.items()} if titled else {}
    numbers = [int(word) for word in words if word.isdigit()]
    if kind == "cell":
        return rows[named[0]][titled[0]]
    if kind == "row_sum":
        return sum(rows[named[0]].values())
    if kind == "gap":
        return column[named[0]] - column[named[1]]
    if kind == "extreme":
        best = (max if {"largest", "highest"} & set(words) else min)(column.values())
        return next(name for name, value in column.items() if value == best)
    if kind == "column_sum":
        return sum(column.values())
    if kind == "above":
        return sum(value > numbers[0] for value in column.values())
    if kind == "mean":
        return Fraction(sum(column.values()), len(column))
    assert kind == "given"
    return sum(row[titled[0]] for row in rows.values() if row[titled[1]] > numbers[0])


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_an_independent_reader_agrees(difficulty):
    for index in range(200):
        size = SIDES[difficulty] if index < 150 else SIDES[difficulty] + 31
        example = make_example("tables", 7, index, difficulty, size)
        grid = read_grid(example.drawing)
        assert write(grid, example.formal_language) == example.formal_text
        question = example.question
        assert str(answer(question.kind, question.text, grid)) == question.answer, question
