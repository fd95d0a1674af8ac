"""Circuits traced along their drawn wires, and solved by nodal analysis in exact fractions."""

import re
from fractions import Fraction

import pytest

from onevision_jax.data.synthetic import SIDES, make_example


def on_wire(point, wire, slack=1):
    (x0, y0), (x1, y1) = sorted(wire)
    low, high = sorted((y0, y1))
    x, y = point
    return x0 - slack <= x <= x1 + slack and low - slack <= y <= high + slack


def trace_nodes(wires):
    """Groups of wires that touch."""
    groups = [[wire] for wire in wires]
    merged = True
    while merged:
        merged = False
        for i, group in enumerate(groups):
            for j in range(i + 1, len(groups)):
                touching = any(
                    on_wire(a, w, 0) or on_wire(b, v, 0)
                    for v in group
                    for w in groups[j]
                    for a, b in ((v[0], w[0]), (v[1], w[1]), (v[0], w[1]), (v[1], w[0]))
                )
                if touching:
                    group += groups.pop(j)
                    merged = True
                    break
            if merged:
                break
    return groups


def read_netlist(drawing, named):
    lines = [p for p in drawing.primitives if p.kind == "line"]
    nodes = trace_nodes([p.points for p in lines if p.fill == "black"])
    texts = [p for p in drawing.primitives if p.kind == "text"]

    def node_at(x, y, reach_y):
        """The node with a wire that ends beside (x, y)."""
        (found,) = [
            node
            for node in nodes
            if any(
                abs(ex - x) <= 1 and abs(ey - y) <= reach_y
                for w in node
                for (ex, ey), (fx, fy) in (w, w[::-1])
            )
        ]
        return found

    plates = sorted(
        (p for p in lines if p.fill != "black"), key=lambda p: -abs(p.points[0][0] - p.points[1][0])
    )
    long_plate, short_plate = plates
    terminals = []
    for plate in (long_plate, short_plate):
        (x0, y), (x1, _) = plate.points
        terminals.append(node_at((x0 + x1) / 2, y, 1))
    order = sorted(
        (node for node in nodes if node not in terminals),
        key=lambda node: (min(x for w in node for x, _ in w), min(y for w in node for _, y in w)),
    )
    numbers = {id(terminals[0]): 1, id(terminals[1]): 0}
    numbers |= {id(node): i for i, node in enumerate(order, start=2)}
    (volts,) = [p.text for p in texts if p.text.endswith("V")]
    found = []
    for box in (p for p in drawing.primitives if p.kind == "rectangle"):
        (x0, y0), (x1, y1) = box.points
        inside = [p.text for p in texts if x0 < p.points[0][0] < x1 and y0 < p.points[0][1] < y1]
        (ohms,) = inside
        middle, half = (y0 + y1) / 2, (y1 - y0) / 2
        left, right = (numbers[id(node_at(x, middle, half))] for x in (x0, x1))
        above = [
            p
            for p in texts
            if p.text.startswith("R") and x0 < p.points[0][0] < x1 and p.points[0][1] < y0
        ]
        name = max(above, key=lambda p: p.points[0][1]).text if above else None
        assert bool(name) == named
        found.append(((x0 + x1) // 2, middle, name, left, right, ohms))
    found.sort(key=lambda r: (r[0] // 2, r[1]))
    rows = [f"V1 1 0 {volts[:-1]}"]
    for i, (_, _, name, left, right, ohms) in enumerate(found, start=1):
        assert name in (None, f"R{i}")
        rows.append(f"R{i} {left} {right} {ohms}")
    return "\n".join(rows)


def solve(netlist):
    """Volts at every node and {name: (left, right, ohms)}, by elimination."""
    source, *rest = [line.split() for line in netlist.split("\n")]
    volts = Fraction(source[3])
    resistors = {r[0]: (int(r[1]), int(r[2]), Fraction(r[3])) for r in rest}
    count = 1 + max(max(a, b) for a, b, _ in resistors.values())
    rows = []
    for node in range(count):
        row = [Fraction(0)] * (count + 1)
        if node < 2:
            row[node], row[count] = Fraction(1), volts * node
        else:
            for a, b, ohms in resistors.values():
                for here, there in ((a, b), (b, a)):
                    if here == node:
                        row[here] += 1 / ohms
                        row[there] -= 1 / ohms
        rows.append(row)
    for i in range(count):
        pivot = next(r for r in range(i, count) if rows[r][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for r in range(count):
            if r != i:
                rows[r] = [x - rows[r][i] * y for x, y in zip(rows[r], rows[i], strict=True)]
    return [row[count] for row in rows], resistors


def answer(kind, text, netlist):
    potential, resistors = solve(netlist)
    current = sum(
        (
            abs(potential[a] - potential[b]) / ohms
            for a, b, ohms in resistors.values()
            if 1 in (a, b)
        ),
        Fraction(0),
    )
    if kind == "resistance":
        return potential[1] / current
    if kind == "current":
        return current
    found = re.findall(r"R\d", text)
    if found:
        (name,) = found
    else:  # Difficulty 1: the rightmost, or each of two in parallel.
        assert "the rightmost resistor" in text or "each resistor" in text
        name = max(resistors)
    a, b, ohms = resistors[name]
    drop = abs(potential[a] - potential[b])
    return drop if kind == "voltage" else drop / ohms


@pytest.mark.parametrize("difficulty", [0, 1, 2, 3])
def test_an_independent_reader_agrees(difficulty):
    for index in range(200):
        size = SIDES[difficulty] if index < 150 else SIDES[difficulty] * 2
        example = make_example("circuits", 7, index, difficulty, size)
        netlist = read_netlist(example.drawing, named=difficulty > 1)
        assert netlist == example.formal_text, index
        question = example.question
        assert str(answer(question.kind, question.text, netlist)) == question.answer, question
