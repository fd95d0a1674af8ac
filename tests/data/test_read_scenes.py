"""Scenes read from their primitives alone, and questions answered from the JSON."""

import json
import re

import pytest

from onevision_jax.data.synthetic import SIDES, make_example

COLOURS = ("red", "blue", "green", "orange", "purple", "cyan", "brown")
SHAPES = ("circle", "square", "triangle")


def read_scene(drawing, sized):
    unit = 7 * drawing.scale
    found = []
    for p in drawing.primitives:
        xs, ys = zip(*p.points, strict=True)
        shape = {"ellipse": "circle", "rectangle": "square", "polygon": "triangle"}[p.kind]
        low = round(min(xs) / unit), round(min(ys) / unit)
        high = round((max(xs) + 1) / unit), round((max(ys) + 1) / unit)
        if shape == "triangle":
            (tip,) = [x for x, y in p.points if y == min(ys)]
            assert abs(tip - (min(xs) + max(xs)) / 2) <= 1
        size = {5: "large ", 3: "small "}[high[0] - low[0]] if sized else ""
        found.append((low[1], low[0], {f"{size}{p.fill} {shape}": [*low, *high]}))
    found.sort(key=lambda entry: entry[:2])
    return json.dumps([thing for _, _, thing in found]).replace(" ", "").replace("}", "}")


def compact(text):
    return text.replace(" ", "")


def answer(kind, text, scene):
    things = [(name.split(), box) for thing in scene for name, box in thing.items()]
    words = re.findall(r"\w+", text)
    if kind == "count":
        wanted = described(words)
        return sum(wanted <= set(name) for name, _ in things)
    if kind == "more":
        a, b = [word for word in words if word.rstrip("s") in (*COLOURS, *SHAPES)]
        first, second = (sum(word.rstrip("s") in name for name, _ in things) for word in (a, b))
        return "yes" if first > second else "no"
    if kind == "end":
        how = {"leftmost": (0, 1), "rightmost": (2, -1), "topmost": (1, 1), "lowest": (3, -1)}
        edge, sign = next(how[word] for word in words if word in how)
        ((name, _),) = [
            (name, box)
            for name, box in things
            if all(sign * box[edge] <= sign * other[edge] for _, other in things)
        ]
        return name[-2] if "colour" in words else name[-1]
    assert kind == "where"
    (a, x), (b, y) = sorted(
        (text.index(f" {' '.join(name)}"), box)
        for name, box in things
        if f"the {' '.join(name)}" in text
    )
    assert a < b
    if "left of" in text:
        return "yes" if x[2] <= y[0] else "no"
    if "right of" in text:
        return "yes" if x[0] >= y[2] else "no"
    if "above" in text:
        return "yes" if x[3] <= y[1] else "no"
    return "yes" if x[1] >= y[3] else "no"


def described(words):
    """The attributes that a question's words ask for."""
    bare = {word.rstrip("s") for word in words}
    return bare & {*COLOURS, *SHAPES, "large", "small"}


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_an_independent_reader_agrees(difficulty):
    for index in range(200):
        size = SIDES[difficulty] if index < 150 else SIDES[difficulty] * 2
        example = make_example("scenes", 7, index, difficulty, size)
        read = read_scene(example.drawing, sized=difficulty > 1)
        assert read == compact(example.formal_text), index
        question = example.question
        scene = json.loads(example.formal_text)
        assert str(answer(question.kind, question.text, scene)) == question.answer, question
