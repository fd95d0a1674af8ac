"""Matrices in LaTeX: `A=\\begin{bmatrix}6&8\\\\-2&1\\end{bmatrix}`, several side by side."""

import re
from collections import Counter
from typing import NamedTuple

from onevision_jax.formal.cell import name_key
from onevision_jax.formal.errors import FormalError, shown
from onevision_jax.formal.f1 import f1

MAX_ENTRIES = 10_000
MAX_NAME = 40
_BETWEEN = " \t\n,;$"  # may stand between matrices
_BEGIN = re.compile(r"\\begin\{([bpvBV]?matrix)\}")


class Matrix(NamedTuple):
    """name: what stands before the equals sign, or nothing."""

    name: str
    rows: tuple[tuple[str, ...], ...]


def parse_matrices(text: str) -> tuple[Matrix, ...]:
    """Raises FormalError for rows of different lengths and for anything between the matrices."""
    found, place = [], 0
    while match := _BEGIN.search(text, place):
        mark = f"\\end{{{match[1]}}}"
        stop = text.find(mark, match.end())
        if stop < 0:
            raise FormalError(f"{match[0]} has no {mark}", text.count("\n", 0, match.start()) + 1)
        found.append(_matrix(text[place : match.start()], text[match.end() : stop]))
        place = stop + len(mark)
    if text[place:].strip(_BETWEEN):
        raise FormalError(f"{shown(text[place:].strip())} is no matrix")
    if not found:
        raise FormalError(r"there is no matrix, expected \begin{bmatrix}1&2\\3&4\end{bmatrix}")
    if sum(len(row) for matrix in found for row in matrix.rows) > MAX_ENTRIES:
        raise FormalError(f"the matrices have more than {MAX_ENTRIES} entries")
    return tuple(found)


def write_matrices(matrices: tuple[Matrix, ...]) -> str:
    """With brackets, one a line."""
    lines = []
    for name, rows in matrices:
        inside = r"\\".join("&".join(row) for row in rows)
        lines.append(f"{name}={_wrap(inside)}" if name else _wrap(inside))
    return "\n".join(lines)


def compare_matrices(a: tuple[Matrix, ...], b: tuple[Matrix, ...]) -> float:
    """F1 over entries by matrix, row and column, and over the sizes."""
    first, second = _entries(a), _entries(b)
    return f1((first & second).total(), first.total(), second.total())


def _wrap(inside: str) -> str:
    return rf"\begin{{bmatrix}}{inside}\end{{bmatrix}}"


def _entries(matrices: tuple[Matrix, ...]) -> Counter:
    found: Counter = Counter()
    for number, (name, rows) in enumerate(matrices):
        found[number, name, len(rows), len(rows[0])] += 1
        found.update(
            (number, i, j, name_key(cell))
            for i, row in enumerate(rows)
            for j, cell in enumerate(row)
        )
    return found


def _matrix(before: str, inside: str) -> Matrix:
    """before: `A =`, or nothing but what may stand between matrices."""
    name, equals, rest = before.strip(_BETWEEN).partition("=")
    if (name and not equals) or rest.strip() or len(name) > MAX_NAME:
        raise FormalError(f"{shown(before.strip())} is no matrix and no name of one")
    rows = [row for row in inside.split("\\\\") if row.strip()]
    cells = tuple(tuple("".join(cell.split()) for cell in row.split("&")) for row in rows)
    name = "".join(name.split())
    where = f"the matrix {name}" if name else "a matrix"
    if not cells:
        raise FormalError(f"{where} has no entry")
    if len({len(row) for row in cells}) > 1:
        counts = " and ".join(str(len(row)) for row in cells[:5])
        raise FormalError(f"{where} has rows of {counts} entries")
    if not all(cell for row in cells for cell in row):
        raise FormalError(f"{where} has an empty entry")
    return Matrix(name, cells)
