"""Pedigrees read from their symbols and lines; answers by going through all genotypes."""

import itertools
import re
from fractions import Fraction

import pytest

from onevision_jax.data.synthetic import SIDES, make_example

GENES = ("DD", "Dr", "rr")


def read_ped(drawing):
    lines = [p.points for p in drawing.primitives if p.kind == "line"]
    texts = [p for p in drawing.primitives if p.kind == "text"]
    symbols = {}
    for p in drawing.primitives:
        if p.kind in ("rectangle", "ellipse"):
            (x0, _), (x1, y1) = p.points
            below = [t for t in texts if x0 <= t.points[0][0] <= x1 and t.points[0][1] > y1]
            number = int(min(below, key=lambda t: t.points[0][1]).text)
            symbols[number] = (p.points, p.kind == "ellipse", p.fill != "white")

    def touches(point, line):
        (x, y), ((x0, y0), (x1, y1)) = point, line
        return min(x0, x1) - 1 <= x <= max(x0, x1) + 1 and min(y0, y1) - 1 <= y <= max(y0, y1) + 1

    parents = dict.fromkeys(symbols, (0, 0))
    for left, right in itertools.permutations(symbols, 2):
        ((_, top), (x0, low)), ((x1, same), _) = symbols[left][0], symbols[right][0]
        if abs(top - same) > 1:
            continue
        couple = [
            line
            for line in lines
            if abs(line[0][0] - x0) <= 1
            and abs(line[1][0] - x1) <= 1
            and top < line[0][1] == line[1][1] < low
        ]
        if not couple:
            continue
        # Follow the lines from the middle of the couple's line to the tops of symbols.
        middle = ((x0 + x1) / 2, couple[0][0][1])
        drop = [one for one in lines if one[0][0] == one[1][0] and touches(middle, one)]
        reached = [one for one in drop if abs(one[0][0] - middle[0]) <= 1]
        grown = True
        while grown:
            more = [
                one
                for one in lines
                if one not in reached
                and one != couple[0]
                and any(
                    touches(one[0], two) or touches(one[1], two) or touches(two[1], one)
                    for two in reached
                )
            ]
            reached += more
            grown = bool(more)
        mother, father = (left, right) if symbols[left][1] else (right, left)
        assert symbols[mother][1]
        assert not symbols[father][1]
        for child, (((a, head), (b, _)), _, _) in symbols.items():
            if any(a < x < b and abs(y - head) <= 1 for _, (x, y) in reached):
                parents[child] = (father, mother)
    rows = []
    for number in sorted(symbols):
        _, female, filled = symbols[number]
        rows.append((number, *parents[number], 2 if female else 1, 2 if filled else 1))
    return "\n".join(" ".join(map(str, row)) for row in rows)


def enumerate_genotypes(people, mode):
    """Every consistent assignment with the product of its Mendelian chances, founders apart."""
    found = [({}, Fraction(1))]
    for number, (father, mother, _, status) in people.items():
        longer = []
        for genes, chance in found:
            for gene in GENES:
                if ((gene == "rr") == (mode == "recessive")) != (status == 2):
                    continue
                share = Fraction(1)
                if father:
                    pairs = itertools.product(genes[father], genes[mother])
                    share = Fraction(sum("".join(sorted(p)) == gene for p in pairs), 4)
                if share:
                    longer.append(({**genes, number: gene}, chance * share))
        found = longer
    return found


def next_child(people, mode, i, j):
    """The chance that another child has the trait: one number under two priors of the founders."""
    answers = set()
    for prior in (
        {"DD": Fraction(1, 3), "Dr": Fraction(1, 3), "rr": Fraction(1, 3)},
        {"DD": Fraction(81, 100), "Dr": Fraction(18, 100), "rr": Fraction(1, 100)},
    ):
        total = sick = Fraction(0)
        for genes, chance in enumerate_genotypes(people, mode):
            for number, (father, *_) in people.items():
                chance *= 1 if father else prior[genes[number]]
            pairs = ["".join(sorted(p)) for p in itertools.product(genes[i], genes[j])]
            aa = Fraction(pairs.count("rr"), 4)
            total += chance
            sick += chance * (aa if mode == "recessive" else 1 - aa)
        answers.add(sick / total)
    (answer,) = answers
    return answer


def answer(kind, question, text):
    people = {row[0]: row[1:] for row in (tuple(map(int, x.split())) for x in text.split("\n"))}
    if kind == "affected":
        sexes = {1: "men" in question.split(), 2: "women" in question.split()}
        if "people" in question:
            sexes = {1: True, 2: True}
        return sum(sexes[sex] and status == 2 for _, _, sex, status in people.values())
    mode = "recessive" if "recessive" in question else "dominant"
    numbers = [int(number) for number in re.findall(r"\d+", question)]
    if kind == "genotype":
        several = {genes[numbers[0]] for genes, _ in enumerate_genotypes(people, mode)}
        return several.pop() if len(several) == 1 else "unknown"
    assert kind in ("next", "risk")
    return next_child(people, mode, *numbers)


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_an_independent_reader_agrees(difficulty):
    for index in range(200 if difficulty < 3 else 120):
        size = SIDES[difficulty] if index < 100 else SIDES[difficulty] * 2
        example = make_example("pedigrees", 7, index, difficulty, size)
        text = read_ped(example.drawing)
        assert text == example.formal_text, index
        question = example.question
        assert str(answer(question.kind, question.text, text)) == question.answer, question
