"""Flowcharts in Mermaid: `flowchart TD`, nodes with shapes and labels, arrows with labels.

Read is what draws something: comments, styles and clicks count for nothing, subgraphs are opened.
Grammar: mermaid.js.org/syntax/flowchart.
"""

import re
from typing import NamedTuple

from onevision_jax.formal.cell import plain
from onevision_jax.formal.errors import FormalError, shown
from onevision_jax.formal.graph import Edge, Graph, compare_graphs, make_graph

DIRECTIONS = ("TD", "TB", "BT", "LR", "RL")
# Opening mark, closing mark, kind of node: longest first.
SHAPES = (
    ("(((", ")))", "round"), ("((", "))", "round"), ("([", "])", "round"),
    ("[[", "]]", "box"), ("[(", ")]", "box"), ("[/", "/]", "box"), ("[\\", "\\]", "box"),
    ("[/", "\\]", "box"), ("[\\", "/]", "box"), ("{{", "}}", "hexagon"), ("[", "]", "box"),
    ("(", ")", "round"), ("{", "}", "decision"), (">", "]", "box"),
)  # fmt: skip
_IGNORED = (
    "classDef",
    "class",
    "style",
    "linkStyle",
    "click",
    "direction",
    "end",
    "accTitle",
    "accDescr",
)
_ID = re.compile(r"[^\W\d_][\w.]*(?:-[\w.]+)*|\d[\w.]*|_\w*")
# Links with the label inside (`-- no -->`) before those with none or with `|label|`.
_NAMED_LINK = re.compile(
    r"\s*(<?)(?:--(?![->.])|==(?![=>])|-\.(?![->.]))\s*([^|<>]{1,200}?)\s*(?:-{2,}|={2,}|\.-+)([>xo]?)\s*"
)
_LINK = re.compile(r"\s*(<?)(?:-{2,}|={2,}|-\.+-+)([>xo]?)\s*(?:\|([^|]*)\|)?\s*")


class Flowchart(NamedTuple):
    """names: as written, in the order of the graph's nodes; kinds: of their shapes."""

    direction: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    kinds: tuple[str, ...]
    edges: tuple[Edge, ...]

    def graph(self) -> Graph:
        """What is compared: the nodes' words and whether they decide, and the arrows."""
        labels = [
            f"{'?' if kind == 'decision' else ''}{plain(text)}"
            for text, kind in zip(self.texts, self.kinds, strict=True)
        ]
        return make_graph(labels, [edge._replace(label=plain(edge.label)) for edge in self.edges])


def parse_mermaid(text: str) -> Flowchart:
    """Raises FormalError with the line at fault."""
    direction, nodes, edges = None, {}, []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("%%")[0].strip()
        if not line:
            continue
        if direction is None:
            direction = _header(line, number)
            continue
        if line.split()[0].rstrip(";") in _IGNORED or line.startswith("subgraph"):
            continue
        for statement in _statements(line):
            _read(statement, number, nodes, edges)
    if direction is None:
        raise FormalError("the text is empty, expected `flowchart TD`")
    chart = _chart(direction, nodes, edges)
    chart.graph()  # Checks its size.
    return chart


def write_mermaid(chart: Flowchart) -> str:
    """Nodes as they first appear, then arrows sorted by their ends; own names are kept."""
    lines = [f"flowchart {chart.direction}"]
    marks = {"box": "[]", "round": "()", "decision": "{}", "hexagon": ("{{", "}}")}
    for name, text, kind in zip(chart.names, chart.texts, chart.kinds, strict=True):
        if kind != "plain":
            quoted = f'"{text}"' if re.search(r'[\[\](){}|"]', text) else text
            lines.append(f"{name}{marks[kind][0]}{quoted}{marks[kind][1]}")
    for start, stop, label in sorted(chart.edges):
        middle = f"|{label}|" if label else ""
        lines.append(f"{chart.names[start]}-->{middle}{chart.names[stop]}")
    return "\n".join(lines)


def compare_mermaid(a: Flowchart, b: Flowchart) -> float:
    """`compare_graphs`, the names of nodes that have words of their own set aside."""
    return compare_graphs(a.graph(), b.graph())


def _header(line: str, number: int) -> str:
    words = line.rstrip(";").split()
    if words[0] not in ("flowchart", "graph"):
        raise FormalError(f"expected `flowchart TD`, found {shown(line)}", number)
    if len(words) == 1:
        return "TD"
    if len(words) > 2 or words[1] not in DIRECTIONS:
        raise FormalError(
            f"the direction {shown(' '.join(words[1:]))} is none of {', '.join(DIRECTIONS)}", number
        )
    return "TD" if words[1] == "TB" else words[1]


def _statements(line: str) -> list[str]:
    """Cut at semicolons outside of quotes."""
    parts = re.findall(r'(?:[^;"]|"[^"]*"?)+', line)
    return [part.strip() for part in parts if part.strip()]


def _read(text: str, number: int, nodes: dict[str, list[str]], edges: list) -> None:
    """One statement: groups of nodes joined by links."""
    place, before, label = 0, None, ""
    while True:
        group, place = _group(text, place, number, nodes)
        if before is not None:
            edges += [(start, stop, label) for start in before for stop in group]
        if place >= len(text):
            return
        found = _NAMED_LINK.match(text, place)
        label = found[2] if found else ""
        if not found:
            found = _LINK.match(text, place)
            if not found:
                raise FormalError(f"expected an arrow at {shown(text[place:])}", number)
            label = found[3] or ""
        label, before, place = _unquote(label), group, found.end()


def _group(text: str, place: int, number: int, nodes: dict) -> tuple[list[str], int]:
    """`A[text] & B` -> names, and where it ends."""
    names = []
    while True:
        name, place = _node(text, place, number, nodes)
        names.append(name)
        more = re.compile(r"\s*&\s*").match(text, place)
        if not more:
            return names, place
        place = more.end()


def _node(text: str, place: int, number: int, nodes: dict) -> tuple[str, int]:
    found = _ID.match(text, place)
    if not found:
        raise FormalError(
            f"expected a node at {shown(text[place:] or 'the end of the line')}", number
        )
    name, place = found[0], found.end()
    node = nodes.setdefault(name, [name, "plain"])
    for opening, closing, kind in SHAPES:
        if not text.startswith(opening, place):
            continue
        inside = place + len(opening)
        stop = _closing(text, inside, closing)
        if stop is not None:
            node[:] = [_unquote(text[inside:stop]), kind]
            place = stop + len(closing)
            break
    else:
        if place < len(text) and text[place] in "[({":
            raise FormalError(f"the label {shown(text[place:])} is not closed", number)
    style = re.compile(r":::[\w-]+").match(text, place)
    return name, style.end() if style else place


def _closing(text: str, start: int, mark: str) -> int | None:
    """Where the label ends; a quoted label may hold any mark."""
    if text.startswith('"', start):
        quote = text.find('"', start + 1)
        return quote + 1 if quote >= 0 and text.startswith(mark, quote + 1) else None
    stop = text.find(mark, start)
    if stop < 0 or any(character in text[start:stop] for character in '[](){}"'):
        return None
    return stop


def _unquote(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return " ".join(re.sub(r"<br\s*/?>", " ", text).split())


def _chart(direction: str, nodes: dict[str, list[str]], edges: list) -> Flowchart:
    index = {name: place for place, name in enumerate(nodes)}
    return Flowchart(
        direction,
        tuple(nodes),
        tuple(text for text, _ in nodes.values()),
        tuple(kind for _, kind in nodes.values()),
        tuple(Edge(index[start], index[stop], label) for start, stop, label in edges),
    )
