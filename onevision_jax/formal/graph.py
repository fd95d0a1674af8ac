"""Labelled graphs, compared up to the names of their nodes: flowcharts, food webs, netlists."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from onevision_jax.formal.errors import FormalError
from onevision_jax.formal.f1 import f1
from onevision_jax.formal.matching import best_mapping

MAX_NODES = 200
MAX_EDGES = 1000


class Edge(NamedTuple):
    """From node `start` to node `stop`, by index."""

    start: int
    stop: int
    label: str = ""


class Graph(NamedTuple):
    """labels: of the nodes, comparable as they are. Several equal edges may stand side by side."""

    labels: tuple[str, ...]
    edges: tuple[Edge, ...]
    directed: bool = True


def make_graph(labels: Iterable[str], edges: Iterable[Edge], *, directed: bool = True) -> Graph:
    """Checks the size; raises FormalError."""
    graph = Graph(tuple(labels), tuple(edges), directed)
    if not graph.labels:
        raise FormalError("the graph has no node")
    if len(graph.labels) > MAX_NODES or len(graph.edges) > MAX_EDGES:
        raise FormalError(
            f"the graph has {len(graph.labels)} nodes and {len(graph.edges)} edges, at most "
            f"{MAX_NODES} and {MAX_EDGES} are read"
        )
    return graph


def compare_graphs(a: Graph, b: Graph) -> float:
    """F1 over nodes and edges under the best mapping of nodes that is found.

    A node counts where its label is met, an edge where its ends and its label are. 1 only for
    isomorphic graphs; a search with a bound looks for the isomorphism, so a very regular pair of
    large graphs may be given less.
    """
    if a.directed != b.directed:
        return 0.0
    # In one order, whichever way round they are given: the mapping found may depend on it.
    a, b = sorted((a, b), key=lambda graph: (len(graph.labels), graph))
    mapping = best_mapping(a, b)
    matched = sum(a.labels[i] == b.labels[j] for i, j in mapping.items())
    moved = Counter(
        _key(mapping[edge.start], mapping[edge.stop], edge.label, a.directed)
        for edge in a.edges
        if edge.start in mapping and edge.stop in mapping
    )
    there = Counter(_key(*edge, b.directed) for edge in b.edges)
    matched += (moved & there).total()
    return f1(matched, len(a.labels) + len(a.edges), len(b.labels) + len(b.edges))


def _key(start: int, stop: int, label: str, directed: bool) -> tuple[int, int, str]:
    return (start, stop, label) if directed or start <= stop else (stop, start, label)
