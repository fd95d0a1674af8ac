"""What the TPU compiler says of its own schedule: the files under --xla_jf_dump_to.

A bundle is one instruction word, about one cycle when nothing waits. Two files of a kernel matter:
`*-final_hlo-static-per-bundle-utilization.txt`, a row of slots used for every bundle, and
`*-final_bundles.txt`, the bundles with their addresses, in which branches part straight runs.
"""

import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

from onevision_jax.plan.gates.ptxas import unused_name

UTILIZATION = "final_hlo-static-per-bundle-utilization.txt"
LISTING = "-final_bundles.txt"
# What the compiler must be told before it loads; {folder} is where the files go.
FLAGS = (
    "--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true "
    "--xla_jf_dump_llo_pass_label_regex=.*final.*"
)


class Utilization(NamedTuple):
    """columns: names of the units; capacity: slots of each in a bundle; rows: used, by bundle."""

    columns: list[str]
    capacity: list[int]
    rows: list[list[int]]

    def percent(self, column: str, start: int, stop: int) -> float:
        """Of the unit's slots in these bundles, how many are used."""
        place = self.columns.index(column)
        used = sum(row[place] for row in self.rows[start:stop])
        return round(100 * used / (self.capacity[place] * max(1, stop - start)), 1)

    def total(self, column: str) -> int:
        """Slots used in the whole kernel."""
        place = self.columns.index(column)
        return sum(row[place] for row in self.rows)


def read_kernels(folder: Path, instructions: list[str]) -> dict[str, dict[str, Any]]:
    """Kernel name -> its numbers, for these instructions of the HLO (names without `%`).

    Raises ValueError when the compiler left no schedule of one of them.
    """
    found: dict[str, dict[str, Any]] = {}
    for instruction in instructions:
        tables = sorted(folder.glob(f"*-{instruction}-*-{UTILIZATION}"))
        listings = sorted(folder.glob(f"*-{instruction}-*{LISTING}"))
        listings = [path for path in listings if "schedule-analysis" not in path.name]
        if not tables or not listings:
            raise ValueError(f"the compiler left no schedule of {instruction}")
        name = unused_name(re.sub(r"\.\d+$", "", instruction), found)
        found[name] = summarise(
            parse_utilization(tables[0].read_text()), parse_cuts(listings[0].read_text())
        )
    return found


def parse_utilization(text: str) -> Utilization:
    """The table of slots. Raises ValueError for other text."""
    lines = text.splitlines()
    if len(lines) < 4 or not lines[1].startswith("MXU"):
        raise ValueError("no table of slots per bundle: its second line does not name the units")
    columns = [name.strip() for name in lines[1].split(",")]
    capacity = [int(word) for word in lines[2].split()]
    rows = [[int(word) for word in line.split()] for line in lines[4:] if line[:1].isdigit()]
    return Utilization(columns, capacity, rows)


def parse_cuts(text: str) -> list[int]:
    """Addresses that begin or end a straight run: branches and heads of loop bodies."""
    cuts = []
    for line in text.splitlines():
        address = re.match(r"\s*(?:0x)?([0-9a-f]+)\s+(LB)?\s*:", line)
        if address and (address[2] or "sbr.rel" in line):
            cuts.append(int(address[1], 16))
    return cuts


def summarise(table: Utilization, cuts: list[int]) -> dict[str, Any]:
    """bundles: of the whole kernel; block_bundles: of its longest straight run, the work on one
    block; mxu/valu_percent: slots used in that run; vector_spills: stores of spilled vectors."""
    edges = [0, *sorted(cuts), len(table.rows)]
    size, start = max((stop - start, start) for start, stop in itertools.pairwise(edges))
    return {
        "bundles": len(table.rows),
        "block_bundles": size,
        "mxu_percent": table.percent("MXU", start, start + size),
        "valu_percent": table.percent("VALU", start, start + size),
        "vector_spills": table.total("VSTORE:SPILL"),
    }
