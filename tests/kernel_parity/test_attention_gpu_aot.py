"""Range attention compiled for an H200 that is not here: what ptxas says of the machine code."""

import os
import re
import subprocess
import sys

import pytest

from onevision_kernels.target import mosaic_gpu_missing

SHARED_MEMORY = 227 * 1024  # Bytes a block of threads may take on Hopper.
SHAPES = {
    # name: (tokens, query heads, kv heads, head width, causal)
    "7B decoder, packed": (8192, 28, 4, 128, True),
    "ViT windows": (8192, 16, 16, 80, False),
    "3B decoder, prompt and answers": (9692, 16, 2, 128, True),
}
# Ranges are data: one program serves packed rows, windows and GRPO rows of the same shape.
PROGRAM = """
import os, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from onevision_jax.plan import compile_only_devices
from onevision_kernels.attention import range_attention
from onevision_kernels.target import compiling_for

T, N, K, H, causal = map(int, sys.argv[1:])
device = compile_only_devices("h200:1")[1][0]
here = NamedSharding(Mesh(np.array([device]), ("x",)), PartitionSpec())
shapes = [((1, T, heads, H), jnp.bfloat16) for heads in (N, K, K)] + [((1, T, 4), jnp.int32)]
arrays = [jax.ShapeDtypeStruct(*shape, sharding=here) for shape in shapes]
begin = sum(os.times()[:4])  # Of this process and its compilers: others may use the machine.
with compiling_for(device):
    attend = lambda q, k, v, ranges: range_attention(
        q, k, v, ranges, causal=bool(causal), implementation="gpu"
    )
    jax.jit(attend).trace(*arrays).lower().compile()
print(sum(os.times()[:4]) - begin)
"""


@pytest.mark.aot
@pytest.mark.skipif(mosaic_gpu_missing() is not None, reason=str(mosaic_gpu_missing()))
@pytest.mark.parametrize("name", SHAPES)
def test_forward_compiles_for_h200_without_spills(name, tmp_path, capsys):
    # Its own process: Mosaic reads where to write its dumps once, when it is loaded.
    environment = dict(
        os.environ,
        MOSAIC_GPU_DUMP_TO=str(tmp_path),
        CUDA_VISIBLE_DEVICES="-1",
        PYTHONPATH=os.pathsep.join(sys.path),
    )
    command = [sys.executable, "-c", PROGRAM, *(str(int(x)) for x in SHAPES[name])]
    run = subprocess.run(
        command, env=environment, check=True, timeout=600, capture_output=True, text=True
    )
    seconds = float(run.stdout.split()[-1])
    (ptx,) = (path.read_text() for path in tmp_path.glob("*.ptx"))
    (report,) = (path.read_text() for path in tmp_path.glob("*.ptxas"))
    (resources,) = (path.read_text() for path in tmp_path.glob("*.resources.txt"))
    registers = number(r"Used (\d+) registers", report)
    spills = number(r"(\d+) bytes spill stores", report)
    shared = number(r"smem_scratch_bytes=(\d+)", resources)
    with capsys.disabled():
        print(
            f"\n{name}: {registers} registers, {spills} bytes of spill stores, "
            f"{shared:,} bytes of shared memory, compiled in {seconds:.1f} CPU seconds"
        )
    assert "wgmma.mma_async" in ptx
    assert "setmaxnreg.inc" in ptx
    assert "serialized" not in report, "the compiler gave up overlapping wgmma"
    assert spills == 0
    assert shared <= SHARED_MEMORY
    assert seconds < 30


def number(pattern, text):
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in:\n{text}"
    return int(found[1])
