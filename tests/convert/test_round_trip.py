"""There and back again, to the last bit."""

import json

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from onevision_jax.checkpoint import by_path
from onevision_jax.convert import from_hf, keymap, load_model, to_hf
from onevision_jax.convert.shards import Spec, split
from onevision_jax.convert.tensors import open_tensors
from onevision_jax.errors import InputError

DTYPES = {"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32}


def assert_same_bits(given, expected):
    assert given.keys() == expected.keys()
    for name, tensor in expected.items():
        assert given[name].dtype == tensor.dtype, name
        assert given[name].shape == tensor.shape, name
        assert given[name].tobytes() == tensor.tobytes(), name


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("layout", keymap.LAYOUTS)
@pytest.mark.parametrize("shards", [1, 3])
def test_from_and_to_are_bit_identical(folders, layout, shards, tied):
    config = folders.config(tied=tied)
    tensors = folders.tensors(config, layout)
    folder = folders.write("in", config, tensors, shards=shards)
    told = []
    report = from_hf(folder, folders.root / "ckpt", progress=lambda *call: told.append(call))
    size = sum(tensor.nbytes for tensor in tensors.values())
    assert (report.tensors, report.bytes, report.parameters) == (len(tensors), size, size // 2)
    assert [done for done, total, name in told][-1] == size
    limit = size // 3
    out = to_hf(folders.root / "ckpt", folders.root / "out", layout=layout, max_shard_bytes=limit)
    assert (out.tensors, out.bytes) == (len(tensors), size)
    assert_same_bits(folders.read(folders.root / "out"), tensors)


def test_shards_are_small_and_indexed(folders, sample):
    from_hf(sample, folders.root / "ckpt")
    to_hf(folders.root / "ckpt", folders.root / "out", max_shard_bytes=100_000)
    tensors = open_tensors(folders.root / "out")  # checks index against files
    sizes = [file.stat().st_size for file in sorted((folders.root / "out").glob("*.safetensors"))]
    assert len(sizes) > 3
    assert max(sizes) < 100_000 + 10_000  # data and header
    index = json.loads((folders.root / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in tensors.values())


def test_a_tensor_above_the_limit_has_a_shard_of_its_own():
    specs = {n: Spec((s,), np.dtype(np.float32)) for n, s in (("a", 1), ("b", 9), ("c", 1))}
    assert split(specs, 8) == [["a"], ["b"], ["c"]]
    assert split(specs, 40) == [["a", "b"], ["c"]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_stored_dtypes_are_kept(folders, dtype):
    config = folders.config()
    tensors = folders.tensors(config, dtype=np.dtype(DTYPES[dtype]))
    # Norms in float32 beside bf16 matrices are common; each stack has its own dtype.
    norms = {n: t.astype(np.float32) for n, t in tensors.items() if t.ndim == 1 and "norm" in n}
    folder = folders.write("in", config, tensors | norms)
    from_hf(folder, folders.root / "ckpt")
    to_hf(folders.root / "ckpt", folders.root / "out")
    assert_same_bits(folders.read(folders.root / "out"), tensors | norms)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_dtype_on_the_way_in_and_out(folders, name):
    config = folders.config()
    dtype = jnp.dtype(name)
    rng = np.random.default_rng(1)
    shapes = keymap.hf_shapes(config, "hub")
    tensors = {n: rng.standard_normal(s, dtype=np.float32) for n, s in shapes.items()}
    folder = folders.write("in", config, tensors)
    expected = {n: t.astype(dtype) for n, t in tensors.items()}
    from_hf(folder, folders.root / "cast", dtype=name)
    to_hf(folders.root / "cast", folders.root / "out1")
    assert_same_bits(folders.read(folders.root / "out1"), expected)
    from_hf(folder, folders.root / "kept")
    to_hf(folders.root / "kept", folders.root / "out2", dtype=name)
    assert_same_bits(folders.read(folders.root / "out2"), expected)


def test_a_value_beyond_float16_is_refused(folders):
    config = folders.config()
    tensors = {n: np.ones(s, np.float32) for n, s in keymap.hf_shapes(config, "hub").items()}
    tensors["model.norm.weight"][3] = 1e6
    folder = folders.write("in", config, tensors)
    with pytest.raises(InputError, match=r"model.norm.weight holds 1e\+06, beyond .*float16"):
        from_hf(folder, folders.root / "ckpt", dtype="float16")
    assert not (folders.root / "ckpt").exists()


def test_files_beside_the_weights_travel_byte_for_byte(folders, sample):
    (sample / "additional_chat_templates").mkdir()
    (sample / "additional_chat_templates" / "rag.jinja").write_text("{{ x }}")
    for left in ("pytorch_model.bin", "optimizer.pt", ".hidden", "model.gguf"):
        (sample / left).write_bytes(b"not to be carried")
    from_hf(sample, folders.root / "ckpt")
    to_hf(folders.root / "ckpt", folders.root / "out")

    def files(folder):
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.endswith(".safetensors")
        }

    carried = files(folders.root / "ckpt" / "assets")
    assert files(folders.root / "out") == carried
    left_behind = {"pytorch_model.bin", "optimizer.pt", ".hidden", "model.gguf"}
    assert carried == {n: c for n, c in files(sample).items() if n not in left_behind}
    assert "additional_chat_templates/rag.jinja" in carried


def test_tokenizer_files_are_optional(folders):
    config = folders.config()
    folder = folders.write("in", config, folders.tensors(config), extras=False)
    from_hf(folder, folders.root / "ckpt")
    assert [f.name for f in (folders.root / "ckpt" / "assets").iterdir()] == ["config.json"]


def test_inert_rotary_tables_are_left_out(folders):
    config = folders.config()
    tensors = folders.tensors(config)
    tables = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32),
        "visual.rotary_pos_emb.inv_freq": np.ones(4, np.float32),
    }
    folder = folders.write("in", config, tensors | tables)
    report = from_hf(folder, folders.root / "ckpt")
    assert report.tensors == len(tensors)
    assert report.notes[0].startswith("2 rotary tables left out")


@pytest.mark.parametrize("layout", keymap.LAYOUTS)
def test_a_tied_head_stored_again(folders, layout):
    config = folders.config(tied=True)
    tensors = folders.tensors(config, layout)
    embed = next(t for n, t in tensors.items() if n.endswith("embed_tokens.weight"))
    folder = folders.write("same", config, tensors | {"lm_head.weight": embed})
    report = from_hf(folder, folders.root / "ckpt")
    assert report.notes == (
        "lm_head.weight left out: the model is tied and it equals the embedding",
    )
    other = embed.copy()
    other.view(np.uint16)[-1, -1] ^= 1
    folder = folders.write("other", config, tensors | {"lm_head.weight": other})
    with pytest.raises(InputError, match=r"lm_head.weight, different from the embedding"):
        from_hf(folder, folders.root / "ckpt2")


def test_both_ways_of_loading_agree(folders):
    config = folders.config(tied=False)
    folder = folders.write("in", config, folders.tensors(config), shards=2)
    from_hf(folder, folders.root / "ckpt")
    one, two = (by_path(load_model(path)) for path in (folder, folders.root / "ckpt"))
    assert_same_bits(*({n: np.asarray(a) for n, a in p.items()} for p in (one, two)))
