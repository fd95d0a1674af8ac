"""Flowcharts traced along their arrows, and run by an interpreter of the Mermaid text."""

import math
import re

import pytest

from onevision_jax.data.synthetic import SIDES, make_example


def read_mermaid(drawing):
    shapes, heads, lines, texts = [], [], [], []
    for p in drawing.primitives:
        if p.kind == "rectangle" or (p.kind == "polygon" and len(p.points) == 4):
            xs, ys = zip(*p.points, strict=True)
            middle = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
            shapes.append((middle, (max(xs) - min(xs)) / 2, (max(ys) - min(ys)) / 2, p.kind))
        elif p.kind == "polygon":
            heads.append(p.points)
        elif p.kind == "line":
            lines.append(p.points)
        else:
            texts.append((p.points[0], p.text))
    shapes.sort(key=lambda shape: (shape[0][1], shape[0][0]))
    names = "ABCDEFGHIJ"
    nodes = []
    for name, (middle, _, _, kind) in zip(names, shapes, strict=False):
        (text,) = [text for place, text in texts if math.dist(place, middle) <= 1.5]
        nodes.append(f"{name}[{text}]" if kind == "rectangle" else f"{name}{{{text}}}")

    def shape_at(point):
        """The shape on whose rim a point lies."""
        gaps = []
        for name, ((x, y), w, h, kind) in zip(names, shapes, strict=False):
            dx, dy = abs(point[0] - x), abs(point[1] - y)
            gap = max(dx - w, dy - h) if kind == "rectangle" else (dx / w + dy / h - 1) * min(w, h)
            gaps.append((abs(gap), name))
        gap, name = min(gaps)
        assert gap <= 2
        return name

    edges = []
    for tip, *wings in heads:
        base = ((wings[0][0] + wings[1][0]) / 2, (wings[0][1] + wings[1][1]) / 2)
        line = min(lines, key=lambda ends: math.dist(ends[1], base) + 0.01 * math.dist(*ends))
        assert math.dist(line[1], base) <= 1.5
        start, end = shape_at(line[0]), shape_at(tip)
        if len([other for other in lines if math.dist(other[1], base) <= 1.5]) > 1:
            # Two arrows meet: the head belongs to the line that it continues.
            def bend(ends, tip=tip):
                a = math.atan2(tip[1] - ends[0][1], tip[0] - ends[0][0])
                b = math.atan2(ends[1][1] - ends[0][1], ends[1][0] - ends[0][0])
                return abs(a - b)

            side = wings[0][0] + wings[1][0] - 2 * tip[0]
            near = [o for o in lines if math.dist(o[1], base) <= 3 and bend(o) < 0.2]
            line = max(near, key=lambda o: (o[0][0] - tip[0]) * side)
            start = shape_at(line[0])
        labels = [(math.dist(place, mid(line)), text) for place, text in texts if text.isalpha()]
        diamond = f"{start}{{" in "".join(nodes)
        edges.append((start, end, min(labels)[1] if diamond else ""))
    arrows = [f"{a}-->|{label}|{b}" if label else f"{a}-->{b}" for a, b, label in sorted(edges)]
    return "\n".join(["flowchart TD", *nodes, *arrows])


def mid(line):
    return (line[0][0] + line[1][0]) / 2, (line[0][1] + line[1][1]) / 2


def run(text, value):
    """Interpret the Mermaid text: the last value, and the answers given on the way."""
    boxes = dict(re.findall(r"^(\w)[\[{](\w[-+*<>]\d+)[\]}]$", text, re.MULTILINE))
    arrows = re.findall(r"^(\w)-->(?:\|(\w+)\|)?(\w)$", text, re.MULTILINE)
    assert len(boxes) + len(arrows) + 1 == len(text.split("\n"))
    (node,) = set(boxes) - {end for _, _, end in arrows}
    said = []
    while True:
        symbol, operand = boxes[node][1], int(boxes[node][2:])
        if symbol in "<>":
            said.append("yes" if (value < operand if symbol == "<" else value > operand) else "no")
        else:
            value = {"+": value + operand, "-": value - operand, "*": value * operand}[symbol]
        ways = [
            end
            for start, label, end in arrows
            if start == node and label in ("", said[-1:][0] if symbol in "<>" else "")
        ]
        if not ways:
            return value, said
        (node,) = ways


def answer(kind, question, text):
    numbers = [int(word) for word in re.findall(r"\d+", question)]
    if kind == "result":
        return run(text, numbers[0])[0]
    if kind == "decide":
        return run(text, numbers[0])[1][-1]
    assert kind == "best"
    return max(numbers, key=lambda start: run(text, start)[0])


@pytest.mark.parametrize("difficulty", [0, 1, 2, 3])
def test_an_independent_reader_agrees(difficulty):
    for index in range(200):
        size = SIDES[difficulty] if index < 150 else SIDES[difficulty] * 2
        example = make_example("flowcharts", 7, index, difficulty, size)
        text = read_mermaid(example.drawing)
        assert text == example.formal_text, index
        question = example.question
        assert str(answer(question.kind, question.text, text)) == question.answer, question
