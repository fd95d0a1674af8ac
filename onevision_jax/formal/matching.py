"""The mapping of one graph's nodes onto another's under which most nodes and edges agree.

Colours are refined as Weisfeiler and Leman do: a node's colour is its label, then its colour with
those of its neighbours, round by round. Nodes whose colours agree for more rounds suit each other
better; an assignment (scipy) pairs all of them, in small graphs also after growing a mapping along
equal edges from every pair; the best is kept, and swaps that gain are made until none is left.
Where the colours of the whole graphs agree, an isomorphism is looked for first, by giving two nodes
of one colour a colour of their own and refining again, with a bound on the tries.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

ROUNDS = 4
TRIES = 200  # pairs of nodes tried when looking for an isomorphism
SWAPS = 4000  # exchanges weighed after the assignment
GROWN = 400  # pairs of nodes up to which a mapping is grown from every pair of one label

Neighbours = list[list[tuple[int, str, int]]]  # of each node: (side, edge label, neighbour)


def best_mapping(a: Any, b: Any) -> Mapping[int, int]:
    """Indices of `a` (a `Graph`, no larger than `b`) to indices of `b`, one to one."""
    near_a, near_b = _neighbours(a), _neighbours(b)
    if len(a.labels) == len(b.labels) and len(a.edges) == len(b.edges):
        budget = [TRIES]
        start = list(a.labels), list(b.labels)
        found = _isomorphism(near_a, near_b, *start, budget)
        if found is not None:
            return found
    fit = _fit(a, b, near_a, near_b)
    there = Counter(_ends(edge, b.directed) for edge in b.edges)
    starts = [_assign(fit, {})]
    if len(a.labels) * len(b.labels) <= GROWN:
        seeds = [(i, j) for i, x in enumerate(a.labels) for j, y in enumerate(b.labels) if x == y]
        starts += [_assign(fit, _grow(near_a, near_b, fit, seed)) for seed in seeds]
    best = max(starts, key=lambda mapping: _agreement(a, b, mapping, there))
    return _improve(a, b, best, there)


def _neighbours(graph: Any) -> Neighbours:
    near: Neighbours = [[] for _ in graph.labels]
    for start, stop, label in graph.edges:
        near[start].append((1, label, stop))
        near[stop].append((-1 if graph.directed else 1, label, start))
    return near


def _refine(near_a: Neighbours, near_b: Neighbours, colours_a: list, colours_b: list, table: dict):
    """One round for both graphs with one table of colours."""
    return tuple(
        [
            table.setdefault(
                (colour, tuple(sorted((side, label, colours[j]) for side, label, j in near[i]))),
                len(table),
            )
            for i, colour in enumerate(colours)
        ]
        for near, colours in ((near_a, colours_a), (near_b, colours_b))
    )


def _numbered(colours_a: list, colours_b: list) -> tuple[list[int], list[int]]:
    names = {name: number for number, name in enumerate(sorted({*colours_a, *colours_b}))}
    return [names[c] for c in colours_a], [names[c] for c in colours_b]


def _isomorphism(near_a, near_b, colours_a, colours_b, budget: list[int]) -> dict[int, int] | None:
    """A mapping that keeps colours and edges, None where there is none or the budget is spent."""
    colours_a, colours_b = _numbered(colours_a, colours_b)
    while True:
        if Counter(colours_a) != Counter(colours_b):
            return None
        count = len(set(colours_a))
        colours_a, colours_b = _refine(near_a, near_b, colours_a, colours_b, {})
        if len(set(colours_a)) == count:
            break
    if Counter(colours_a) != Counter(colours_b):
        return None
    sizes = Counter(colours_a)
    if len(sizes) == len(colours_a):
        return {i: colours_b.index(colour) for i, colour in enumerate(colours_a)}
    colour = min((c for c in sizes if sizes[c] > 1), key=lambda c: (sizes[c], c))
    first = colours_a.index(colour)
    for other in (j for j, c in enumerate(colours_b) if c == colour):
        if budget[0] <= 0:
            return None
        budget[0] -= 1
        split_a, split_b = list(colours_a), list(colours_b)
        split_a[first] = split_b[other] = -1
        found = _isomorphism(near_a, near_b, split_a, split_b, budget)
        if found is not None:
            return found
    return None


def _fit(a: Any, b: Any, near_a: Neighbours, near_b: Neighbours) -> np.ndarray:
    """[nodes of a, nodes of b]: for how many rounds their colours, and what is around, agree."""
    colours_a, colours_b = _numbered(list(a.labels), list(b.labels))
    fit = np.zeros((len(a.labels), len(b.labels)))
    for turn in range(ROUNDS):
        same = np.asarray(colours_a)[:, None] == np.asarray(colours_b)[None]
        fit += same * (4.0 if turn == 0 else 1.0)
        fit += _common(near_a, near_b, colours_a, colours_b) / (turn + 1)
        colours_a, colours_b = _refine(near_a, near_b, colours_a, colours_b, {})
    return fit


def _grow(
    near_a: Neighbours, near_b: Neighbours, fit: np.ndarray, seed: tuple[int, int]
) -> dict[int, int]:
    """From one pair along equal edges, each node to the neighbour that suits it best."""
    mapping, taken, waiting = dict([seed]), {seed[1]}, [seed[0]]
    while waiting:
        node = waiting.pop(0)
        for side, label, next_a in near_a[node]:
            if next_a in mapping:
                continue
            ends = {j for s, name, j in near_b[mapping[node]] if (s, name) == (side, label)} - taken
            if ends:
                mapping[next_a] = max(ends, key=lambda j: (fit[next_a, j], -j))
                taken.add(mapping[next_a])
                waiting.append(next_a)
    return mapping


def _assign(fit: np.ndarray, fixed: dict[int, int]) -> dict[int, int]:
    """`fixed`, and the best pairs of the nodes it leaves."""
    rows = [i for i in range(fit.shape[0]) if i not in fixed]
    taken = set(fixed.values())
    columns = [j for j in range(fit.shape[1]) if j not in taken]
    found = linear_sum_assignment(fit[np.ix_(rows, columns)], maximize=True)
    return {**fixed, **{rows[i]: columns[j] for i, j in zip(*found, strict=True)}}


def _common(near_a: Neighbours, near_b: Neighbours, colours_a: list, colours_b: list) -> np.ndarray:
    """[nodes of a, nodes of b]: the share of their neighbourhoods that is alike."""
    around_a, around_b = (
        [Counter((side, label, colours[j]) for side, label, j in edges) for edges in near]
        for near, colours in ((near_a, colours_a), (near_b, colours_b))
    )
    return np.array(
        [[(x & y).total() * 2 / max(1, x.total() + y.total()) for y in around_b] for x in around_a]
    ).reshape(len(around_a), len(around_b))


def _improve(a: Any, b: Any, mapping: dict[int, int], there: Counter) -> dict[int, int]:
    """Exchanges two images, or takes a free one, wherever that matches more; a bounded number."""
    free = [j for j in range(len(b.labels)) if j not in set(mapping.values())]
    best, left = _agreement(a, b, mapping, there), SWAPS
    changed = True
    while changed and left > 0:
        changed = False
        for i in sorted(mapping):
            for other in [*(k for k in sorted(mapping) if k > i), *(~n for n in range(len(free)))]:
                left -= 1
                if left <= 0:
                    return mapping
                trial = dict(mapping)
                if other >= 0:
                    trial[i], trial[other] = trial[other], trial[i]
                else:
                    trial[i] = free[~other]
                value = _agreement(a, b, trial, there)
                if value > best:
                    if other < 0:
                        free[~other] = mapping[i]
                    mapping, best, changed = trial, value, True
    return mapping


def _agreement(a: Any, b: Any, mapping: dict[int, int], there: Counter) -> int:
    moved = Counter(
        _ends((mapping[start], mapping[stop], label), a.directed)
        for start, stop, label in a.edges
        if start in mapping and stop in mapping
    )
    nodes = sum(a.labels[i] == b.labels[j] for i, j in mapping.items())
    return nodes + (moved & there).total()


def _ends(edge: Any, directed: bool) -> tuple:
    start, stop, label = edge
    return (start, stop, label) if directed or start <= stop else (stop, start, label)
