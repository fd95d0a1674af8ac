"""Every way a folder can be wrong: one sentence that names the thing, and nothing written."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from onevision_jax.cli.main import main
from onevision_jax.convert import from_hf, load_model, to_hf
from onevision_jax.convert.shards import Spec, shard_names
from onevision_jax.errors import InputError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
NORM = "model.norm.weight"
FIRST, SECOND = shard_names(2)


def edit_config(folder: Path, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def edit_index(folder: Path, **places):
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"] |= places
    index["weight_map"] = {n: f for n, f in index["weight_map"].items() if f is not None}
    (folder / INDEX).write_text(json.dumps(index))


def edit_tensors(folder: Path, file=SINGLE, drop=(), **tensors):
    from safetensors.numpy import load_file

    kept = {n: t for n, t in load_file(folder / file).items() if n not in drop}
    save_file(kept | {n.replace("__", "."): t for n, t in tensors.items()}, folder / file)


def truncate(folder: Path, size: int):
    path = folder / SINGLE
    path.write_bytes(path.read_bytes()[:size])


def repeat_in_header(folder: Path):
    entry = '"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f"{{{entry},{entry}}}".encode()
    (folder / SINGLE).write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def only(folder: Path, name: str):
    (folder / SINGLE).rename(folder / name)


def wrong_shape(folder: Path):
    edit_tensors(folder, model__norm__weight=np.ones(63, np.float32))


def norm_in_both(folder: Path):
    edit_tensors(folder, FIRST, model__norm__weight=np.ones(64, np.float32))
    edit_tensors(folder, SECOND, model__norm__weight=np.ones(64, np.float32))


def link_out(folder: Path):
    secret = folder.parent / "secret"
    secret.write_text("key")
    (folder / "LICENSE").symlink_to(secret)


# name: (shards, damage, words of the message)
CASES = {
    "no such folder": (1, shutil.rmtree, "bad is not a folder"),
    "no config": (1, lambda f: (f / "config.json").unlink(), "bad/config.json does not exist"),
    "config is no JSON": (
        1,
        lambda f: (f / "config.json").write_text("{"),
        "bad/config.json is not valid JSON",
    ),
    "wrong model": (
        1,
        lambda f: edit_config(f, model_type="qwen2_vl"),
        "model_type is 'qwen2_vl', expected 'qwen2_5_vl'",
    ),
    "no weights": (1, lambda f: (f / SINGLE).unlink(), f"neither {SINGLE} nor {INDEX}"),
    "pickled weights": (1, lambda f: only(f, "pytorch_model.bin"), "pytorch_model.bin), which can"),
    "pickled .pt": (1, lambda f: only(f, "consolidated.00.pth"), "to get safetensors"),
    "shards without index": (1, lambda f: only(f, FIRST), f"has {FIRST} but neither"),
    "empty file": (1, lambda f: truncate(f, 0), f"{SINGLE} is truncated"),
    "half a length": (1, lambda f: truncate(f, 5), f"{SINGLE} is truncated"),
    "header longer than file": (1, lambda f: truncate(f, 60), f"{SINGLE} is truncated"),
    "data shorter than header": (1, lambda f: truncate(f, 200_000), f"{SINGLE} is truncated"),
    "an LFS pointer": (
        1,
        lambda f: (f / SINGLE).write_text("version https://git-lfs.github.com/spec/v1\n"),
        f"{SINGLE} is truncated or no safetensors file",
    ),
    "a name twice in a header": (1, repeat_in_header, f"{SINGLE} is truncated or no safetensors"),
    "missing tensor": (1, lambda f: edit_tensors(f, drop=[NORM]), f"1 missing ({NORM})"),
    "unexpected tensor": (
        1,
        lambda f: edit_tensors(f, model__extra=np.ones(2, np.float32)),
        "1 unexpected (model.extra)",
    ),
    "layer too many": (
        1,
        lambda f: edit_config(f, num_hidden_layers=1),
        "12 unexpected (model.layers.1.input_layernorm.weight, ",
    ),
    "head of an untied model missing": (
        1,
        lambda f: edit_config(f, tie_word_embeddings=False),
        "1 missing (lm_head.weight)",
    ),
    "wrong shape": (1, wrong_shape, f"{NORM} has shape [63], its config.json asks for [64]"),
    "integers": (
        1,
        lambda f: edit_tensors(f, model__norm__weight=np.ones(64, np.int8)),
        f"{NORM} has dtype I8, expected one of BF16, F16, F32, F64",
    ),
    "layers of two dtypes": (
        1,
        lambda f: edit_tensors(
            f, model__layers__1__input_layernorm__weight=np.ones(64, np.float32)
        ),
        "model.layers.1.input_layernorm.weight is F32 while model.layers.0.input_layernorm.weight",
    ),
    "two layouts": (
        1,
        lambda f: edit_tensors(f, model__visual__x=np.ones(1, np.float32)),
        "mixes two layouts of tensor names",
    ),
    "another model's names": (
        1,
        lambda f: save_file({"transformer.h.0": np.ones(1, np.float32)}, f / SINGLE),
        "holds no Qwen2.5-VL tensor names (visual.*, model.*): found transformer.h.0",
    ),
    "shard of the index missing": (
        2,
        lambda f: (f / SECOND).unlink(),
        f"{INDEX} names the shard {SECOND}, which is not in the folder",
    ),
    "tensor of the index absent from its shard": (
        2,
        lambda f: edit_index(f, **{"model.norm.weights": FIRST}),
        f"places model.norm.weights in {FIRST}, which does not hold it",
    ),
    "tensor in another shard": (
        2,
        lambda f: edit_index(f, **{NORM: FIRST}),
        f"places {NORM} in {FIRST}, which does not hold it",
    ),
    "tensor the index does not list": (
        2,
        lambda f: edit_index(f, **{NORM: None}),
        f"{SECOND} holds {NORM}, which {INDEX} does not list",
    ),
    "tensor in two shards": (2, norm_in_both, f"{NORM} is in two shards, {FIRST} and {SECOND}"),
    "index leads out of the folder": (
        2,
        lambda f: edit_index(f, **{NORM: "../other/model.safetensors"}),
        f"places {NORM} in '../other/model.safetensors'; a plain file name",
    ),
    "index names a pickle": (
        2,
        lambda f: edit_index(f, **{NORM: "pytorch_model.bin"}),
        "a plain file name ending in .safetensors",
    ),
    "index is no index": (2, lambda f: (f / INDEX).write_text("[]"), f"{INDEX} is no index"),
    "index is no JSON": (2, lambda f: (f / INDEX).write_text("{"), f"{INDEX} is no index"),
    "a file links out of the folder": (1, link_out, "LICENSE links to "),
}


def assert_one_sentence(message: str):
    assert "\n" not in message
    assert len(message) < 400
    assert ". " not in message.replace("config. ", ""), message


@pytest.mark.parametrize("name", CASES)
def test_from_hf_refuses(folders, name):
    shards, damage, words = CASES[name]
    config = folders.config()
    folder = folders.write("bad", config, folders.tensors(config), shards=shards)
    damage(folder)
    before = set(folders.root.iterdir())
    with pytest.raises(InputError) as caught:
        from_hf(folder, folders.root / "ckpt")
    assert words in str(caught.value)
    assert_one_sentence(str(caught.value))
    assert set(folders.root.iterdir()) == before


@pytest.mark.parametrize("name", ["wrong model", "missing tensor", "wrong shape", "empty file"])
def test_loading_refuses_alike(folders, name):
    shards, damage, words = CASES[name]
    config = folders.config()
    folder = folders.write("bad", config, folders.tensors(config), shards=shards)
    damage(folder)
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert words in str(caught.value)


def test_the_command_says_it_and_exits_with_1(folders, sample, capsys):
    edit_tensors(sample, drop=[NORM])
    assert main(["convert", "from-hf", str(sample), str(folders.root / "ckpt")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("onevision: ")
    assert f"1 missing ({NORM})" in shown.err
    assert shown.err.count("\n") == 1


def test_to_hf_refuses(folders, sample):
    checkpoint = folders.root / "ckpt"
    from_hf(sample, checkpoint)
    out = folders.root / "out"
    with pytest.raises(InputError, match="is a Hugging Face folder, not a checkpoint"):
        to_hf(sample, out)
    with pytest.raises(InputError, match="layout is 'hf', expected one of hub, transformers"):
        to_hf(checkpoint, out, layout="hf")
    with pytest.raises(InputError, match="max_shard_bytes is 0"):
        to_hf(checkpoint, out, max_shard_bytes=0)
    with pytest.raises(InputError, match="no-such does not exist"):
        to_hf(folders.root / "no-such", out)
    edit_config(checkpoint / "assets", num_hidden_layers=3)
    with pytest.raises(InputError, match=r"ckpt: decoder/.* has shape \[2, .*asks for \[3, "):
        to_hf(checkpoint, out)
    edit_config(checkpoint / "assets", num_hidden_layers=2, tie_word_embeddings=False)
    with pytest.raises(InputError, match=r"ckpt does not hold .*: 1 missing \(head\)"):
        to_hf(checkpoint, out)
    edit_config(checkpoint / "assets", tie_word_embeddings=True)
    assert sorted(p.name for p in folders.root.iterdir()) == ["ckpt", "sample"]


def test_damaged_data_of_a_checkpoint(folders, sample):
    """In a process of its own: Orbax's threads go on complaining after a failed read."""
    checkpoint = folders.root / "ckpt"
    from_hf(sample, checkpoint)
    for file in (checkpoint / "model").rglob("*"):
        if file.is_file() and file.stat().st_size > 50_000:
            file.write_bytes(file.read_bytes()[:20_000])
    code = "import sys; from onevision_jax.cli.main import main; sys.exit(main())"
    words = ["convert", "to-hf", str(checkpoint), str(folders.root / "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"onevision: .*ckpt/model cannot be read, it may be damaged \(.*\)\n", done.stderr
    )
    assert sorted(p.name for p in folders.root.iterdir()) == ["ckpt", "sample"]


def test_specs_count_bytes():
    spec = Spec((3, 4), np.dtype(np.float16))
    assert (spec.parameters, spec.nbytes) == (12, 24)
