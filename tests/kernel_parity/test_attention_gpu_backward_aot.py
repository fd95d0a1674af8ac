"""The backward kernels compiled for an H200 that is not here: registers, spills, shared memory."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from onevision_jax.plan import compile_only_devices
from onevision_kernels.attention.gpu_backward import attention_backward
from onevision_kernels.attention.gpu_tiles import TILES, GpuSchedule
from onevision_kernels.attention.schedule import block_schedule
from onevision_kernels.target import compiling_for, mosaic_gpu_missing

pytestmark = [
    pytest.mark.aot,
    pytest.mark.skipif(mosaic_gpu_missing() is not None, reason=mosaic_gpu_missing() or "runs"),
]

SHARED_MEMORY = 227 * 1024
# B, T, N, K, H, causal
SHAPES = {
    "7B decoder, packed": (1, 8192, 28, 4, 128, True),
    "7B decoder, a short GRPO row": (1, 5596, 28, 4, 128, True),
    "vision encoder": (1, 8192, 16, 16, 80, False),
}


def ptxas():
    """The assembler of the aot extra, or of the path."""
    inside = (Path(x) / "nvidia" for x in sys.path if x)
    found = [str(p) for folder in inside for p in sorted(folder.glob("*/bin/ptxas"))]
    return found[0] if found else shutil.which("ptxas")


def assembled(ptx):
    """(registers, spilled bytes, remarks) of what ptxas makes of a file.

    Asked directly: where nvJitLink is installed, XLA of jax 0.12 assembles with it in two steps,
    which ignores setmaxnreg, and reports the spills of that.
    """
    report = subprocess.run(
        [str(ptxas()), "-arch=sm_90a", "-v", str(ptx), "-o", os.devnull],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    registers, spilled = (
        re.search(x, report) for x in (r"Used (\d+) registers", r"(\d+) bytes spill stores")
    )
    assert registers, report
    assert spilled, report
    return int(registers[1]), int(spilled[1]), re.findall(r"\(C7\d+\).*", report)


@pytest.mark.parametrize("name", SHAPES)
def test_kernels_fit_the_registers_and_the_memory_of_an_h200(name, tmp_path, monkeypatch, capsys):
    B, T, N, K, H, causal = SHAPES[name]
    monkeypatch.setenv("MOSAIC_GPU_DUMP_TO", str(tmp_path))
    device = compile_only_devices("h200:1")[1][0]
    here = NamedSharding(Mesh(np.array([device]), ("x",)), PartitionSpec())

    def array(*shape, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=here)

    def gradients(q, k, v, ranges, lse, delta, d_out):
        blocks = block_schedule(
            ranges,
            T,
            causal=causal,
            query_block=TILES.backward_query_block,
            key_block=TILES.backward_key_block,
        )
        schedule = GpuSchedule(blocks, blocks)
        return attention_backward(
            q, k, v, ranges, schedule, lse, delta, d_out, causal=causal, scale=H**-0.5
        )

    queries, keys = array(B, T, N, H), array(B, T, K, H)
    row = array(B, T, N, dtype=jnp.float32)
    started = time.process_time()
    with compiling_for(device):
        lowered = jax.jit(gradients).lower(
            queries, keys, keys, array(B, T, 4, dtype=jnp.int32), row, row, queries
        )
        compiled = lowered.compile()
    seconds = time.process_time() - started
    assert seconds < 30
    kernels = sorted(tmp_path.glob("*.ptx"))
    assert len(kernels) == 2
    for kernel in kernels:
        registers, spilled, remarks = assembled(kernel)
        resources = kernel.with_suffix(".resources.txt").read_text()
        shared = re.search(r"smem_scratch_bytes=(\d+)", resources)
        assert shared
        with capsys.disabled():
            print(
                f"\n{name}, jax {jax.__version__}: {registers} registers at entry, {spilled} bytes "
                f"spilled, {shared[1]} bytes of shared memory, {seconds:.0f} s for both kernels"
            )
        assert "wgmma.mma_async" in kernel.read_text()
        assert "setmaxnreg" in kernel.read_text()
        assert spilled <= 64
        assert not remarks, remarks
        assert int(shared[1]) <= SHARED_MEMORY
    # Beyond the gradients: copies padded to whole programs, the parts of d_k and d_v by query head.
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 6 * B * T * N * H * 2
