"""Tables, as CSV: what charts and tables say. The order of rows and columns is no part of it.

The first row holds the names of the columns, the first column those of the rows.
"""

import csv
import io
from collections import Counter
from typing import NamedTuple

from onevision_jax.formal.cell import count_same, name_key
from onevision_jax.formal.errors import FormalError
from onevision_jax.formal.f1 import f1

MAX_CELLS = 10_000


class Table(NamedTuple):
    """header: one name a column, that of the first column included; rows: as long as it."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def make_table(rows: list[list[str]], lines: list[int] | None = None) -> Table:
    """Checks the shape; raises FormalError naming the first row that does not fit."""
    if len(rows) < 2:
        raise FormalError("a table needs a row of names and at least one row of cells")
    width = len(rows[0])
    if width < 2:
        raise FormalError("a table needs at least two columns", lines[0] if lines else 1)
    for number, row in enumerate(rows):
        if len(row) != width:
            raise FormalError(
                f"{len(row)} cells where the first row has {width}",
                lines[number] if lines else number + 1,
            )
    if width * len(rows) > MAX_CELLS:
        raise FormalError(f"the table has {width * len(rows)} cells, at most {MAX_CELLS} are read")
    cells = [tuple(" ".join(cell.split()) for cell in row) for row in rows]
    return Table(cells[0], tuple(cells[1:]))


def parse_csv(text: str) -> Table:
    """A table from comma-separated values (RFC 4180); blank lines count for nothing."""
    reader = csv.reader(io.StringIO(text), strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise FormalError(f"no CSV: {error}", reader.line_num) from None
    return make_table(rows, lines)


def write_csv(table: Table) -> str:
    """Without spaces around commas, quoted only where it must be."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([table.header, *table.rows])
    return out.getvalue().rstrip("\n")


def compare_tables(a: Table, b: Table) -> float:
    """F1 over the names of columns and rows and over the cells, each by its two names."""
    names_a, names_b, cells_a, cells_b = _names(a), _names(b), _cells(a), _cells(b)
    matched = (names_a & names_b).total()
    matched += sum(count_same(values, cells_b.get(key, [])) for key, values in cells_a.items())
    return f1(
        matched,
        names_a.total() + sum(map(len, cells_a.values())),
        names_b.total() + sum(map(len, cells_b.values())),
    )


def _names(table: Table) -> Counter[tuple[str, str]]:
    """Names have no tolerance: 2020 is not 2021."""
    found = Counter({("corner", name_key(table.header[0])): 1})
    found.update(("column", name_key(name)) for name in table.header[1:])
    found.update(("row", name_key(row[0])) for row in table.rows)
    return found


def _cells(table: Table) -> dict[tuple[str, str], list[str]]:
    """Cells by the names of their row and column; names that come twice hold several."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in table.rows:
        for name, cell in zip(table.header[1:], row[1:], strict=True):
            found.setdefault((name_key(row[0]), name_key(name)), []).append(cell)
    return found
