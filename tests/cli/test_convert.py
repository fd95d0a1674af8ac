"""`onevision convert` from end to end."""

import json
import re

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from onevision_jax.cli.convert import line_printer, parse_size
from onevision_jax.cli.main import main
from onevision_jax.convert import keymap
from onevision_jax.model import preset, to_hf


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "hf"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(to_hf(preset("debug"))))
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape).astype(ml_dtypes.bfloat16)
        for name, shape in keymap.hf_shapes(preset("debug"), "hub").items()
    }
    save_file(tensors, place / "model.safetensors")
    return place


def test_there_and_back(folder, tmp_path, capsys):
    there, back = str(tmp_path / "ckpt"), str(tmp_path / "out")
    assert main(["convert", "from-hf", str(folder), there]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    for line in (
        r"wrote +.*ckpt",
        r"tensors +68",
        r"parameters +184,288",
        r"bytes +368,576",
        r"seconds +[\d.]+",
        r"rate +\d+ MB/s",
        r"peak memory +[\d,]+ MB",
    ):
        assert re.search(f"^{line}$", shown.out, re.MULTILINE), line
    words = ["--layout", "transformers", "--dtype", "float32", "--max-shard-size", "200KB"]
    assert main(["convert", "to-hf", there, back, *words]) == 0
    files = sorted((tmp_path / "out").glob("model-*.safetensors"))
    assert len(files) > 3
    written = {name: tensor for file in files for name, tensor in load_file(file).items()}
    original = load_file(folder / "model.safetensors")
    assert len(written) == len(original)
    embed = written["model.language_model.embed_tokens.weight"]
    np.testing.assert_array_equal(embed, original["model.embed_tokens.weight"].astype(np.float32))
    assert main(["convert", "to-hf", there, back]) == 1
    assert "out is not empty; give a new folder, or --force" in capsys.readouterr().err
    assert main(["convert", "to-hf", there, back, "--force"]) == 0
    assert [p.name for p in (tmp_path / "out").glob("*.safetensors")] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "the following arguments are required: DIRECTION"),
        (["from-hf", "a"], "the following arguments are required: CKPT"),
        (["from-hg", "a", "b"], "did you mean from-hf?"),
        (["to-hf", "a", "b", "--layout", "hubs"], "did you mean hub?"),
        (["to-hf", "a", "b", "--max-shard-size", "big"], "'big' is no size such as 500MB"),
        (["from-hf", "a", "b", "--dtype", "int8"], "'int8' is none of float32, bfloat16, float16"),
        (["from-hf", "a", "b", "--dtpye", "x"], "did you mean --dtype?"),
    ],
)
def test_bad_usage(words, sentence, capsys):
    assert main(["convert", *words]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert sentence in shown.err


def test_sizes():
    assert parse_size("5GB") == 5 * 10**9
    assert parse_size("1.5 GiB") == 3 * 2**29
    assert parse_size("200kb") == 200_000
    assert parse_size("123") == 123


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    show = line_printer()
    for second in range(1, 25):
        now[0] = float(second)
        show(second * 10**8, 4 * 10**9, f"tensor {second}")
    assert capsys.readouterr().err.splitlines() == [
        "1.00 of 4.00 GB, 100 MB/s, 30 s left (tensor 10)",
        "2.00 of 4.00 GB, 100 MB/s, 20 s left (tensor 20)",
    ]
