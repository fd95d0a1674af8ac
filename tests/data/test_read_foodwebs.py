"""Food webs read from boxes and arrows, and questions answered from the Mermaid text."""

import functools
import math
import re
from fractions import Fraction

import pytest

from onevision_jax.data.synthetic import SIDES, make_example


def read_mermaid(drawing):
    boxes = {}
    texts = [p for p in drawing.primitives if p.kind == "text"]
    for p in drawing.primitives:
        if p.kind == "rectangle":
            (x0, y0), (x1, y1) = p.points
            inside = [
                t.text for t in texts if x0 < t.points[0][0] < x1 and y0 < t.points[0][1] < y1
            ]
            (name,) = inside
            boxes[name] = p.points
    heads = [p.points for p in drawing.primitives if p.kind == "polygon"]
    lines = [p.points for p in drawing.primitives if p.kind == "line"]
    assert len(heads) == len(lines)
    links = set()
    for tip, *wings in heads:
        base = ((wings[0][0] + wings[1][0]) / 2, (wings[0][1] + wings[1][1]) / 2)

        def misfit(line, tip=tip, base=base):
            """How far a line ends from the head, and how far it would miss the tip."""
            (x0, y0), (x1, y1) = line
            (u, v), length = tip, math.dist(*line)
            missed = abs((x1 - x0) * (v - y0) - (y1 - y0) * (u - x0)) / length
            return math.dist(line[1], base) + missed

        line = min(lines, key=misfit)
        assert misfit(line) <= 3
        lines.remove(line)
        (eaten,) = [
            n
            for n, ((a, top), (b, _)) in boxes.items()
            if a < line[0][0] < b and abs(line[0][1] - top) <= 1
        ]
        (eater,) = [
            n
            for n, ((a, _), (b, low)) in boxes.items()
            if a < tip[0] < b and abs(tip[1] - low) <= 1
        ]
        links.add((eaten, eater))
    assert {name for link in links for name in link} == set(boxes)
    return "\n".join(["flowchart BT", *(f"{a}-->{b}" for a, b in sorted(links))])


def answer(kind, question, text):
    links = re.findall(r"^(\w+)-->(\w+)$", text, re.MULTILINE)
    names = {name for link in links for name in link}
    food = {name: [a for a, b in links if b == name] for name in names}
    asked = [word for word in re.findall(r"\w+", question) if word in names]

    @functools.cache
    def chains(name):
        return sum(map(chains, food[name])) or 1

    @functools.cache
    def level(name):
        levels = [level(one) for one in food[name]]
        return 1 + sum(levels, Fraction(0)) / len(levels) if levels else Fraction(1)

    if kind == "eaters":
        return sum(a == asked[0] for a, _ in links)
    if kind == "level":
        plants = [not food[one] for one in food[asked[0]]]
        if not plants:
            return "producer"
        return "herbivore" if all(plants) else "omnivore" if any(plants) else "carnivore"
    if kind == "energy":
        (energy,) = map(int, re.findall(r"(\d+) kJ", question))
        depth, reached = 0, {asked[0]}
        while asked[1] not in reached:
            reached = {b for a, b in links if a in reached}
            depth += 1
        return Fraction(energy, 10**depth)
    if kind == "chains":
        return chains(asked[0])
    if kind == "loss":
        gone = {asked[0]}
        while more := {n for n in names - gone if food[n] and set(food[n]) <= gone}:
            gone |= more
        return len(gone) - 1
    if kind == "connectance":
        return Fraction(len(links), len(names) ** 2)
    assert kind == "trophic"
    return level(asked[0])


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_an_independent_reader_agrees(difficulty):
    for index in range(200):
        size = SIDES[difficulty] if index < 150 else SIDES[difficulty] * 2
        example = make_example("foodwebs", 7, index, difficulty, size)
        text = read_mermaid(example.drawing)
        assert text == example.formal_text, index
        question = example.question
        assert str(answer(question.kind, question.text, text)) == question.answer, question
