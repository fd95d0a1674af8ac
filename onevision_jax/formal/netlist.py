"""Netlists in SPICE: elements between nodes. Names of nodes and elements are no part of it.

Read: R C L (no polarity), V I D (polarity), E F G H, Q J M, X; comments, `+` continuations, and
directives, which count for nothing. Node 0 is ground, which `gnd` also names.
"""

import re
from typing import NamedTuple

from onevision_jax.formal.errors import FormalError, shown
from onevision_jax.formal.graph import Edge, Graph, compare_graphs, make_graph

# Letter: (pins, has a value, pins are interchangeable).
ELEMENTS = {
    "R": (2, True, True), "C": (2, True, True), "L": (2, True, True),
    "V": (2, True, False), "I": (2, True, False), "D": (2, False, False),
    "E": (4, True, False), "G": (4, True, False), "F": (2, True, False), "H": (2, True, False),
    "Q": (3, False, False), "J": (3, False, False), "M": (4, False, False),
}  # fmt: skip
SCALES = {
    "t": 1e12, "g": 1e9, "meg": 1e6, "k": 1e3, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9,
    "p": 1e-12, "f": 1e-15,
}  # fmt: skip
_VALUE = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,2})?)(meg|[tgkmuµnpf])?[a-zωΩ]*", re.I)


class Element(NamedTuple):
    """kind: its letter; pins: names of nodes; value: canonical, or the model's name."""

    name: str
    kind: str
    pins: tuple[str, ...]
    value: str


def parse_spice(text: str) -> tuple[Element, ...]:
    """Raises FormalError with the line at fault."""
    elements: list[Element] = []
    names: dict[str, int] = {}
    for number, line in _lines(text):
        element = _element(line, number)
        if element.name.casefold() in names:
            first = names[element.name.casefold()]
            raise FormalError(f"{element.name} stands on line {first} already", number)
        names[element.name.casefold()] = number
        elements.append(element)
    if not elements:
        raise FormalError("the netlist has no element, expected such as `R1 1 0 10`")
    _graph(elements)  # Checks its size.
    return tuple(elements)


def write_spice(elements: tuple[Element, ...]) -> str:
    """An element a line, in the order given; values without suffix."""
    return "\n".join(" ".join([e.name, *e.pins, e.value]).rstrip() for e in elements)


def compare_spice(a: tuple[Element, ...], b: tuple[Element, ...]) -> float:
    """F1 over nodes, elements and their connections, under the best renaming."""
    return compare_graphs(_graph(a), _graph(b))


def read_value(text: str) -> float | None:
    """`4.7k`, `10uF`, `3MEG`; None for what is no value."""
    found = _VALUE.fullmatch(text)
    return float(found[1]) * SCALES.get((found[2] or "").lower(), 1.0) if found else None


def _lines(text: str) -> list[tuple[int, str]]:
    """Elements with the number of their first line, continuations joined."""
    found: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = re.split(r"[;$]", line, maxsplit=1)[0].strip()
        if not line or line.startswith("*"):
            continue
        if line.startswith("."):
            if line.split()[0].lower() == ".end":
                break
            continue
        if line.startswith("+"):
            if not found:
                raise FormalError("a continuation with nothing before it", number)
            found[-1] = (found[-1][0], f"{found[-1][1]} {line[1:]}")
        else:
            found.append((number, line))
    return found


def _element(line: str, number: int) -> Element:
    name, *words = line.split()
    kind = name[0].upper()
    if kind == "X":
        if len(words) < 2:
            raise FormalError(f"{name} needs nodes and the name of a subcircuit", number)
        return Element(name, kind, tuple(map(_node, words[:-1])), words[-1].casefold())
    if kind not in ELEMENTS or not re.fullmatch(r"\w+", name):
        raise FormalError(f"{shown(name)} is no element, expected such as R1, C2 or V1", number)
    num_pins, valued, _ = ELEMENTS[kind]
    if len(words) < num_pins + 1:
        what = "a value" if valued else "a model"
        raise FormalError(
            f"{name} needs {num_pins} nodes and {what}, found {len(words)} words", number
        )
    pins, rest = tuple(map(_node, words[:num_pins])), words[num_pins:]
    return Element(name, kind, pins, _value(name, kind, rest, valued, number))


def _value(name: str, kind: str, words: list[str], valued: bool, number: int) -> str:
    if kind in "VI" and words[0].upper() == "DC" and len(words) > 1:
        words = words[1:]
    if kind in "FH" and len(words) == 2:  # The source whose current controls it comes first.
        return f"{words[0].casefold()} {_value(name, 'R', words[1:], True, number)}"
    if not valued or (kind in "VI" and read_value(words[0]) is None and len(words) > 1):
        return " ".join(words).casefold()
    value = read_value(words[0])
    if value is None or len(words) > 1:
        raise FormalError(
            f"{name} has the value {shown(' '.join(words))}, expected a number", number
        )
    return f"{value:.6g}"


def _node(text: str) -> str:
    return "0" if text.casefold() in ("0", "gnd") else text.casefold()


def _graph(elements) -> Graph:
    """Bipartite: elements and nodes of the circuit; an edge a pin."""
    nets = sorted({pin for element in elements for pin in element.pins})
    index = {net: place for place, net in enumerate(nets)}
    labels = ["ground" if net == "0" else "net" for net in nets]
    edges = []
    for place, element in enumerate(elements, len(nets)):
        labels.append(f"{element.kind} {element.value}")
        alike = element.kind in ELEMENTS and ELEMENTS[element.kind][2]
        edges += [
            Edge(place, index[pin], "" if alike else str(number))
            for number, pin in enumerate(element.pins)
        ]
    return make_graph(labels, edges)
