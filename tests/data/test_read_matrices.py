"""Matrices read from their numbers and brackets, and questions answered by other algorithms."""

import itertools
import re
from fractions import Fraction

import pytest

from onevision_jax.data.synthetic import SIDES, make_example


def read_latex(drawing):
    """Columns of brackets from left to right, and the numbers between them."""
    sides = [p for p in drawing.primitives if p.kind == "line" and p.points[0][0] == p.points[1][0]]
    edges = sorted(sides, key=lambda p: p.points[0][0])
    numbers = [p for p in drawing.primitives if re.fullmatch(r"-?\d+", p.text)]
    names = [p for p in drawing.primitives if p.kind == "text" and p.text.isalpha()]
    lines = []
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        low, high = left.points[0][0], right.points[0][0]
        inside = [p for p in numbers if low < p.points[0][0] < high]
        ys = sorted({p.points[0][1] for p in inside})
        rows = [
            sorted((p for p in inside if p.points[0][1] == y), key=lambda p: p.points[0][0])
            for y in ys
        ]
        (name,) = [p.text for p in names if low < p.points[0][0] < high] or ["A"]
        body = r"\\".join("&".join(p.text for p in row) for row in rows)
        lines.append(rf"{name}=\begin{{bmatrix}}{body}\end{{bmatrix}}")
    return "\n".join(lines)


def parse(text):
    found = {}
    for line in text.split("\n"):
        ((name, body),) = re.findall(r"^(\w)=\\begin\{bmatrix\}(.*)\\end\{bmatrix\}$", line)
        found[name] = [[Fraction(x) for x in row.split("&")] for row in body.split(r"\\")]
    return found


def determinant(matrix):
    """The sum over permutations."""
    total = Fraction(0)
    for order in itertools.permutations(range(len(matrix))):
        swaps = sum(a > b for a, b in itertools.combinations(order, 2))
        term = Fraction((-1) ** swaps)
        for row, column in enumerate(order):
            term *= matrix[row][column]
        total += term
    return total


def rank(matrix):
    """The pivots of Gauss's elimination."""
    rows, found = [row[:] for row in matrix], 0
    for column in range(len(rows[0])):
        pivot = next((r for r in range(found, len(rows)) if rows[r][column]), None)
        if pivot is None:
            continue
        rows[found], rows[pivot] = rows[pivot], rows[found]
        for r in range(found + 1, len(rows)):
            factor = rows[r][column] / rows[found][column]
            rows[r] = [x - factor * y for x, y in zip(rows[r], rows[found], strict=True)]
        found += 1
    return found


def answer(kind, question, matrices):
    a = matrices["A"]
    digits = re.findall(r"\d+", question)
    if kind == "row":
        return sum(a[int(digits[0]) - 1])
    if kind == "column":
        return sum(row[int(digits[0]) - 1] for row in a)
    if kind == "determinant":
        return determinant(a)
    if kind == "rank":
        return rank(a)
    b = [row[0] for row in matrices["b"]]
    if kind == "product":
        return sum(x * y for x, y in zip(a[int(digits[0]) - 1], b, strict=True))
    if kind == "solve":
        (found,) = [
            x
            for x in range(-9, 10)
            for y in range(-5, 6)
            if all(row[0] * x + row[1] * y == right for row, right in zip(a, b, strict=True))
        ]
        return found
    assert kind == "eigenvalue"
    roots = [
        x
        for x in range(-60, 61)
        if not determinant([[a[0][0] - x, a[0][1]], [a[1][0], a[1][1] - x]])
    ]
    return max(roots) if "largest" in question else min(roots)


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_an_independent_reader_agrees(difficulty):
    for index in range(200):
        size = SIDES[difficulty] if index < 150 else SIDES[difficulty] * 2
        example = make_example("matrices", 7, index, difficulty, size)
        text = read_latex(example.drawing)
        assert text == example.formal_text, index
        question = example.question
        assert str(answer(question.kind, question.text, parse(text))) == question.answer, question
