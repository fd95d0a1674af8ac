"""The tables of kernels/README.md, written from the records so that they cannot differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onevision_jax.plan.gates.case import EVERY_TARGET, GPUS
from onevision_jax.plan.gates.records import Records

BEGIN, END = "<!-- gates: written by --accept -->", "<!-- end of gates -->"
GPU_COLUMNS = {
    "registers": "registers",
    "spill_stores": "spill stores B",
    "spill_loads": "spill loads B",
    "shared_bytes": "shared B",
    "wgmma": "wgmma",
}
TPU_COLUMNS = {
    "bundles": "bundles",
    "block_bundles": "of the block",
    "mxu_percent": "MXU %",
    "valu_percent": "VALU %",
    "vector_spills": "vector spills",
}


def rewrite(folder: Path) -> None:
    """Bring README.md beside the records' folder up to date; nothing where there is none."""
    path = folder.parent / "README.md"
    if path.exists() and BEGIN in (text := path.read_text(encoding="utf-8")):
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        path.write_text(f"{before}{BEGIN}\n\n{tables(folder)}\n{END}{after}", encoding="utf-8")


def tables(folder: Path) -> str:
    """One Markdown table for each target and set of versions."""
    return "\n".join(line for target in EVERY_TARGET for line in _target(Records(target, folder)))


def _target(records: Records) -> Iterator[str]:
    columns = GPU_COLUMNS if records.target in GPUS else TPU_COLUMNS
    for packages in records.versions():
        versions = ", ".join(f"{name} {number}" for name, number in packages.items())
        yield f"**{records.target}** ({versions})\n"
        yield " | ".join(("| case and kernel", *columns.values(), "temp MB", "copies |"))
        yield "|---" + "|---:" * (len(columns) + 2) + "|"
        for name, numbers in (records.cases(packages) or {}).items():
            yield from _case(name, numbers, columns)
        yield ""


def _case(name: str, numbers: dict[str, Any], columns: dict[str, str]) -> Iterator[str]:
    program = (f"{numbers['temp_bytes'] / 1e6:.1f}", f"{numbers['copies']} |")
    yield " | ".join((f"| {name}", *[""] * len(columns), *program))
    for kernel, found in numbers["kernels"].items():
        cells = (str(found[measure]) for measure in columns)
        yield " | ".join((f"| &nbsp;&nbsp;`{kernel}`", *cells, "", " |"))
