"""Peak memory on a model of 2.1 GB in 12 shards, both directions, measured in processes of its own.

The bound is two shards plus twice the largest stacked tensor, and covers the whole process with
its libraries. What counts is memory that no file backs (RssAnon).
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from onevision_jax.convert import keymap
from onevision_jax.convert.progress import anonymous_bytes
from onevision_jax.convert.shards import Spec, shard_names, split
from onevision_jax.convert.tensors import open_tensors
from onevision_jax.model import QwenVLConfig, TextConfig, VisionConfig, to_hf

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(anonymous_bytes() is None, reason="the system does not tell RssAnon"),
]

BF16 = np.dtype(ml_dtypes.bfloat16)
SHARD = 200 * 10**6
CONFIG = QwenVLConfig(
    vision=VisionConfig(
        depth=4, hidden_size=640, intermediate_size=1712, num_heads=8, out_hidden_size=1536
    ),
    text=TextConfig(
        vocab_size=65_536,
        hidden_size=1536,
        intermediate_size=6144,
        num_layers=24,
        num_heads=12,
        num_kv_heads=2,
    ),
)
CHILD = f"""
import dataclasses, json, sys
from onevision_jax.convert import from_hf, load_model, to_hf
from onevision_jax.convert.progress import PeakMemory
verb, source, target = sys.argv[1:]
settings = {{"max_shard_bytes": {SHARD}}} if verb == "to_hf" else {{}}
with PeakMemory() as memory:
    report = globals()[verb](source, target, **settings)
print(json.dumps(dataclasses.asdict(report) | {{"peak": memory.bytes}}))
"""


@dataclasses.dataclass(frozen=True)
class Synthetic:
    folder: Path
    checksums: dict[str, int]
    bound: int


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    shapes = keymap.hf_shapes(CONFIG, "hub")
    shards = split({name: Spec(shape, BF16) for name, shape in shapes.items()}, SHARD)
    (folder / "config.json").write_text(json.dumps(to_hf(CONFIG)))
    rng = np.random.default_rng(0)
    checksums, where = {}, {}
    for file, names in zip(shard_names(len(shards)), shards, strict=True):
        tensors = {n: rng.integers(0, 2**16, shapes[n], np.uint16).view(BF16) for n in names}
        checksums |= {
            name: zlib.crc32(tensor.view(np.uint8).data) for name, tensor in tensors.items()
        }
        where |= dict.fromkeys(names, file)
        save_file(tensors, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    largest_shard = max(file.stat().st_size for file in folder.glob("*.safetensors"))
    stacked = [2 * int(np.prod(e.shape(CONFIG))) for e in keymap.entries(CONFIG) if e.stacked]
    yield Synthetic(folder, checksums, 2 * largest_shard + 2 * max(stacked))
    shutil.rmtree(folder, ignore_errors=True)


def measured(verb: str, source: Path, target: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, verb, str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_peak_memory_of_both_directions(synthetic, tmp_path, capsys):
    total = sum(tensor.nbytes for tensor in open_tensors(synthetic.folder).values())
    assert total >= 2 * 10**9
    assert synthetic.bound < 0.7 * total, "the bound would not notice a whole copy"
    inward = measured("from_hf", synthetic.folder, tmp_path / "ckpt")
    shutil.rmtree(synthetic.folder)
    outward = measured("to_hf", tmp_path / "ckpt", tmp_path / "out")
    shutil.rmtree(tmp_path / "ckpt")
    written = open_tensors(tmp_path / "out")
    checksums = {
        n: zlib.crc32(t.view().reshape(-1).view(np.uint8).data) for n, t in written.items()
    }
    shutil.rmtree(tmp_path / "out")
    with capsys.disabled():
        for name, result in (("from-hf", inward), ("to-hf", outward)):
            print(
                f"\n{name}: {total / 1e9:.2f} GB in {result['seconds']:.1f} s, "
                f"{total / result['seconds'] / 1e6:.0f} MB/s, peak {result['peak'] / 1e6:.0f} MB, "
                f"bound {synthetic.bound / 1e6:.0f} MB"
            )
    assert checksums == synthetic.checksums
    assert inward["peak"] <= synthetic.bound
    assert outward["peak"] <= synthetic.bound
