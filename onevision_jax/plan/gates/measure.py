"""Compiles cases for one target. Run as a program, in a process made for it (see launch.py).

    python -m onevision_jax.plan.gates.measure v6e FOLDER CPU_SECONDS CASE CASE ...

FOLDER is where the compiler was told to write. A case that takes more than CPU_SECONDS ends the
process. For every case a line of JSON is written to standard output:
{"case", "outcome": "measured" | "not registered" | "failed", "reason" or "numbers"}.
"""

import json
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from onevision_jax.errors import InputError
from onevision_jax.plan.gates import bundles, ptxas
from onevision_jax.plan.gates.case import GPUS, Case, NotRegistered
from onevision_jax.plan.gates.cases import CASES
from onevision_jax.plan.gates.launch import TARGETS
from onevision_jax.plan.topology import compile_only_devices


def main(target: str, folder: Path, cpu_seconds: int, names: list[str]) -> None:
    """One line for each case, written as soon as it is known."""
    try:
        device = compile_only_devices(TARGETS[target])[1][0]
    except InputError as error:  # The compiler is not installed.
        for name in names:
            print(json.dumps({"case": name, "outcome": "failed", "reason": str(error)}))
        return
    cases = {case.name: case for case in CASES}
    for name in names:
        limit_cpu(cpu_seconds)
        for path in folder.iterdir():
            path.unlink()
        print(json.dumps({"case": name, **outcome(cases[name], device, target, folder)}))
        sys.stdout.flush()


def limit_cpu(seconds: int) -> None:
    """The system ends this process (SIGXCPU) once it has used that much more CPU time."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + seconds, hard))


def outcome(case: Case, device: Any, target: str, folder: Path) -> dict[str, Any]:
    """What became of it. Whatever a compiler raises is the finding."""
    try:
        return {"outcome": "measured", "numbers": compile_case(case, device, target, folder)}
    except NotRegistered as error:
        return {"outcome": "not registered", "reason": str(error)}
    except Exception as error:
        first = (str(error).strip() or "no message").splitlines()[0][:300]
        return {"outcome": "failed", "reason": f"{type(error).__name__}: {first}"}


def compile_case(case: Case, device: Any, target: str, folder: Path) -> dict[str, Any]:
    """The numbers of one case; bytes are of one device."""
    from onevision_kernels.target import compiling_for

    mesh = Mesh(np.array([device]), ("x",))
    whole = NamedSharding(mesh, PartitionSpec())
    with compiling_for(device), jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        function, arguments = case.build()
        arguments = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), arguments
        )
        began = time.process_time()
        compiled = jax.jit(function, keep_unused=True).lower(*arguments).compile()
        seconds = time.process_time() - began
    hlo, memory = compiled.as_text() or "", compiled.memory_analysis()
    assert memory is not None, "only backends that run nothing analyse no memory"
    if target in GPUS:
        kernels = ptxas.read_kernels(folder)
    else:
        kernels = bundles.read_kernels(folder, custom_calls(hlo))
    return {
        "cpu_seconds": round(seconds, 1),
        "temp_bytes": memory.temp_size_in_bytes,
        "copies": count_copies(hlo),
        "kernels": kernels,
    }


def custom_calls(hlo: str) -> list[str]:
    """Names of the Pallas kernels of a program compiled for TPU."""
    pattern = r'^\s*(?:ROOT )?%([\w.-]+) = .*custom_call_target="tpu_custom_call"'
    return re.findall(pattern, hlo, flags=re.MULTILINE)


def count_copies(hlo: str) -> int:
    """Copies of whole arrays (changes of layout); prefetches (copy-start) are none of them."""
    return len(re.findall(r"^\s*(?:ROOT )?%[\w.-]+ = \S.* copy\(", hlo, flags=re.MULTILINE))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
