"""Ordered trees and their edit distance (Zhang and Shasha 1989)."""

from collections.abc import Iterator
from typing import NamedTuple

from onevision_jax.formal.cell import plain, same_cell
from onevision_jax.formal.wording import compare_words

# Pairs of subtrees the exact distance may look at: about ten seconds of Python at the worst.
MAX_WORK = 4_000_000


class Node(NamedTuple):
    """tag: the kind of node; text: its words."""

    tag: str
    text: str
    children: tuple["Node", ...]

    def walk(self) -> Iterator["Node"]:
        """Itself and all below, parents first."""
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def size(self) -> int:
        """How many nodes it has."""
        return sum(1 for _ in self.walk())

    def words(self) -> str:
        """All text below, in order."""
        return " ".join(node.text for node in self.walk() if node.text)


def similarity(a: Node, b: Node) -> float:
    """1 - edit distance / size of the larger tree; at least 0.

    A node that is put in or taken out costs 1, another tag 1, other words up to 1/2 (by how many
    letters differ). Trees too large for the exact distance are compared as the list of their tags
    and words, by the letters of the lists that agree: less telling, as bounded and symmetric.
    """
    left, right = _Tree(a), _Tree(b)
    if left.work * right.work > MAX_WORK:
        return _rough(a, b)
    size = max(len(left.nodes), len(right.nodes))
    return max(0.0, 1.0 - _distance(left, right) / size)


class _Tree:
    """Nodes in postorder, the leftmost leaf below each, and the key roots."""

    def __init__(self, root: Node):
        self.nodes: list[Node] = []
        self.leftmost: list[int] = []
        self._add(root)
        last = {first: place for place, first in enumerate(self.leftmost)}
        self.roots = sorted(last.values())
        self.work = sum(root - self.leftmost[root] + 1 for root in self.roots)

    def _add(self, node: Node) -> int:
        """Its leftmost leaf's place."""
        firsts = [self._add(child) for child in node.children]
        self.nodes.append(node)
        self.leftmost.append(firsts[0] if firsts else len(self.nodes) - 1)
        return self.leftmost[-1]


def _distance(a: _Tree, b: _Tree) -> float:
    costs: dict[tuple[Node, Node], float] = {}
    known = [[0.0] * len(b.nodes) for _ in a.nodes]
    for i in a.roots:
        for j in b.roots:
            _forest(a, b, i, j, known, costs)
    return known[-1][-1]


def _forest(a: _Tree, b: _Tree, i: int, j: int, known: list[list[float]], costs: dict) -> None:
    """Fills `known` for the pair of key roots (i, j)."""
    first_a, first_b = a.leftmost[i], b.leftmost[j]
    rows, columns = i - first_a + 2, j - first_b + 2
    table = [[float(x + y) if not (x and y) else 0.0 for y in range(columns)] for x in range(rows)]
    for x in range(1, rows):
        here, above = table[x], table[x - 1]
        node, left_a = first_a + x - 1, a.leftmost[first_a + x - 1]
        for y in range(1, columns):
            other, left_b = first_b + y - 1, b.leftmost[first_b + y - 1]
            whole = left_a == first_a and left_b == first_b
            if whole:
                pair = above[y - 1] + _change(a.nodes[node], b.nodes[other], costs)
            else:
                pair = table[left_a - first_a][left_b - first_b] + known[node][other]
            here[y] = min(above[y] + 1, here[y - 1] + 1, pair)
            if whole:
                known[node][other] = here[y]


def _change(a: Node, b: Node, costs: dict) -> float:
    """What it costs to make one of the other, children aside."""
    if a.tag != b.tag:
        return 1.0
    if a.text == b.text or same_cell(a.text, b.text):
        return 0.0
    key = (a._replace(children=()), b._replace(children=()))
    if key not in costs:
        # Different words are never free, however long they are.
        costs[key] = max(0.05, 0.5 * (1.0 - compare_words(plain(a.text), plain(b.text))))
    return costs[key]


def _rough(a: Node, b: Node) -> float:
    first, second = (
        "\n".join(f"{node.tag} {plain(node.text)}" for node in root.walk())[:20_000]
        for root in (a, b)
    )
    return compare_words(first, second) if a == b else min(0.99, compare_words(first, second))
