"""What NVIDIA's assembler says of Mosaic GPU kernels: the files under MOSAIC_GPU_DUMP_TO.

Each kernel leaves NAME_3.ptxas (the assembler's report), NAME_3.ptx and NAME_3.resources.txt, with
a number that counts up over the process.
"""

import re
from pathlib import Path
from typing import Any

WGMMA = "wgmma.mma_async"


def read_kernels(folder: Path) -> dict[str, dict[str, Any]]:
    """Kernel name -> its numbers, in the order of compilation; a name met again gets #2, #3."""
    found: dict[str, dict[str, Any]] = {}
    reports = sorted(folder.glob("*.ptxas"), key=lambda path: int(path.stem.rpartition("_")[2]))
    for report in reports:
        numbers = parse_ptxas(report.read_text())
        numbers["shared_bytes"] = parse_resources(report.with_suffix(".resources.txt").read_text())
        numbers["wgmma"] = report.with_suffix(".ptx").read_text().count(WGMMA)
        found[unused_name(report.stem.rpartition("_")[0], found)] = numbers
    return found


def unused_name(name: str, taken: Any) -> str:
    """The name itself, or with the first free number from 2."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}#{number}", number + 1
    return free


def parse_ptxas(text: str) -> dict[str, Any]:
    """Registers a thread and bytes spilled, from `ptxas -v`. Raises ValueError for other text."""
    registers = re.search(r"Used (\d+) registers", text)
    spills = re.search(r"frame, (\d+) bytes spill stores, (\d+) bytes spill loads", text)
    if not registers or not spills:
        raise ValueError("no report of ptxas -v: it names no registers or no spills")
    return {
        "registers": int(registers[1]),
        "spill_stores": int(spills[1]),
        "spill_loads": int(spills[2]),
    }


def parse_resources(text: str) -> int:
    """Bytes of shared memory a block asks for at launch (ptxas sees only what is static)."""
    found = re.search(r"smem_scratch_bytes=(\d+)", text)
    if not found:
        raise ValueError("no smem_scratch_bytes in Mosaic's resources file")
    return int(found[1])
