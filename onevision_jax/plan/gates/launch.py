"""One process per target: the compilers read their settings once, when they load.

A case that takes longer than its limit is killed with its process; the rest go on in a new one.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onevision_jax.plan.gates import bundles
from onevision_jax.plan.gates.case import GPUS
from onevision_jax.plan.gates.cases import CASES, names_for

# Kind -> the smallest topology of it.
TARGETS = {"h200": "h200:1", "v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}
CPU_SECONDS = 120  # Of one case: the longest needs 30; a compiler gone astray would need minutes.
WALL_SECONDS = 1800.0  # Of one case, should it wait for ever; machines may be very busy.


def measure_target(
    target: str, names: list[str] | None = None, *, cpu_seconds: int = CPU_SECONDS
) -> Iterator[dict[str, Any]]:
    """What became of each case, one after the other (the lines of measure.py).

    names: by default all cases of the target.
    """
    plain = {case.name for case in CASES if case.plain}
    chosen = names_for(target) if names is None else names
    for dumping in (True, False):
        left = [name for name in chosen if (name not in plain) == dumping]
        while left:
            for found in _one_process(target, tuple(left), cpu_seconds, dumping):
                left.remove(found["case"])
                yield found


def _one_process(
    target: str, names: tuple[str, ...], cpu_seconds: int, dumping: bool
) -> Iterator[dict[str, Any]]:
    """Up to the end or to the first case that fails with the process; at least one case."""
    with tempfile.TemporaryDirectory(prefix="onevision-gates-") as home:
        folder, errors = Path(home) / "dump", Path(home) / "stderr"
        folder.mkdir()
        command = [sys.executable, "-m", "onevision_jax.plan.gates.measure", target, str(folder)]
        command.append(str(cpu_seconds))
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                [*command, *names],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment(target, folder if dumping else None),
            )
        try:
            lines = _lines_of(process)
            for name in names:
                try:
                    line = lines.get(timeout=WALL_SECONDS)
                except queue.Empty:
                    reason = f"not compiled within {WALL_SECONDS:g} s"
                else:
                    if line is not None:
                        yield json.loads(line)
                        continue
                    reason = _how_it_ended(process.wait(), cpu_seconds, errors)
                yield {"case": name, "outcome": "failed", "reason": reason}
                return
        finally:
            process.kill()
            process.wait()


def environment(target: str, folder: Path | None) -> dict[str, str]:
    """What the compilers of the target must see: where to dump, no flags or caches of ours."""
    drop = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "MOSAIC_GPU_DUMP_TO", "JAX_COMPILATION_CACHE_DIR")
    inherited = {name: value for name, value in os.environ.items() if name not in drop}
    ours = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    # Who only compiles needs no lock on the machine's TPU: without this two processes exclude
    # each other.
    ours["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    if folder is not None and target in GPUS:
        ours["MOSAIC_GPU_DUMP_TO"] = str(folder)
    elif folder is not None:
        ours["LIBTPU_INIT_ARGS"] = bundles.FLAGS.format(folder=folder)
    return inherited | ours


def _lines_of(process: subprocess.Popen[str]) -> "queue.Queue[str | None]":
    """The JSON lines the process writes, None after the last."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if line.startswith('{"case"'):  # Compilers write here too.
                    lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _how_it_ended(code: int, cpu_seconds: int, errors: Path) -> str:
    if code == -signal.SIGXCPU:
        return f"not compiled within {cpu_seconds} s of CPU time"
    lines = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    last = lines[-1][:300] if lines else "it said nothing"
    return f"the compiling process ended with code {code}: {last}"
