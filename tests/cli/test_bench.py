"""`onevision bench rollout` runs, counts what it says it counts, and keeps every round."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from onevision_jax.cli.main import main
from onevision_jax.convert import keymap
from onevision_jax.model import preset, to_hf
from onevision_jax.processor.tiny import train_tokenizer, write_processor_files


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "hf"
    ids = write_processor_files(place, train_tokenizer(["Describe."], num_merges=5))
    debug = preset("debug")
    names = [field.name for field in dataclasses.fields(debug) if field.name in ids]
    config = dataclasses.replace(debug, **{name: ids[name] for name in names})
    (place / "config.json").write_text(json.dumps(to_hf(config)))
    rng = np.random.default_rng(0)
    shapes = keymap.hf_shapes(config, "hub").items()
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes}
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
    return place


def test_rollout(folder, tmp_path, capsys):
    out = tmp_path / "rollout.json"
    words = ["--rows", "2", "--new-tokens", "3", "--rounds", "2", "--json", str(out)]
    assert main(["bench", "rollout", "--checkpoint", str(folder), *words]) == 0
    result = json.loads(out.read_text())
    rounds = result["seconds"]["onevision"]
    assert len(rounds) == 2
    assert result["tokens_per_second"]["onevision"] == pytest.approx(6 / np.median(rounds))
    shown = capsys.readouterr().out
    assert "2 rows x 3 tokens" in shown
    assert ("ratio" in shown) == ("transformers" in result["seconds"])


def test_bad_numbers_are_one_sentence(folder, capsys):
    assert main(["bench", "rollout", "--checkpoint", str(folder), "--rows", "0"]) == 1
    assert capsys.readouterr().err == "onevision: --rows must be 1 or more\n"
    assert main(["bench", "rolout", "--checkpoint", str(folder)]) == 2
    assert "did you mean rollout" in capsys.readouterr().err
