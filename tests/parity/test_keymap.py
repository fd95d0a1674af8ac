"""Names and shapes against transformers itself, and folders that each side reads of the other."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import json
import re

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

from onevision_jax.checkpoint import by_path
from onevision_jax.convert import from_hf, keymap, load_model, to_hf
from onevision_jax.model import PRESETS, QwenVLConfig, from_folder, preset
from onevision_jax.model import to_hf as config_json

pytestmark = pytest.mark.parity
Theirs = transformers.Qwen2_5_VLForConditionalGeneration
PUBLISHED = [name for name in PRESETS if name != "debug"]


def their_config(config: QwenVLConfig) -> transformers.Qwen2_5_VLConfig:
    return transformers.Qwen2_5_VLConfig.from_dict(config_json(config))


def renamed_on_load(name: str) -> str:
    """The state_dict name of a name in a file on the Hub, by transformers' own mapping."""
    for pattern, replacement in Theirs._checkpoint_conversion_mapping.items():
        name, found = re.subn(pattern, replacement, name)
        if found:
            break
    return name


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_name_and_shape(name):
    config = preset(name)
    with torch.device("meta"):
        model = Theirs(their_config(config))
    assert model.config.tie_word_embeddings == config.text.tie_word_embeddings
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    if config.text.tie_word_embeddings:
        assert shapes.pop("lm_head.weight") == (config.text.vocab_size, config.text.hidden_size)
    assert keymap.hf_shapes(config, "transformers") == shapes
    hub = keymap.hf_shapes(config, "hub")
    assert {renamed_on_load(key): shape for key, shape in hub.items()} == shapes
    assert len(hub) == len(shapes)
    assert sum(parameter.numel() for parameter in model.parameters()) == sum(
        int(np.prod(entry.shape(config))) for entry in keymap.entries(config)
    )


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def theirs(request, tmp_path):
    """A tiny random bf16 model of transformers and its folder."""
    fields = config_json(preset("debug")) | {"tie_word_embeddings": request.param}
    config = transformers.Qwen2_5_VLConfig.from_dict(fields)
    torch.manual_seed(0)
    model = Theirs(config).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    folder = tmp_path / "theirs"
    model.save_pretrained(folder, max_shard_size="100KB")
    return model, folder


def bits(tensor) -> bytes:
    return tensor.detach().contiguous().view(torch.int16).numpy().tobytes()


def test_a_folder_of_theirs_is_read(theirs, tmp_path):
    model, folder = theirs
    from_hf(folder, tmp_path / "ckpt")
    config = from_folder(tmp_path / "ckpt" / "assets")
    params = by_path(load_model(tmp_path / "ckpt"))
    state = model.state_dict()
    for entry in keymap.entries(config):
        ours = np.asarray(params[entry.path])
        for layer, values in enumerate(ours if entry.stacked else ours[None]):
            name = entry.name("transformers", layer)
            turned = np.ascontiguousarray(entry.to_hf(values, config))
            assert turned.tobytes() == bits(state[name]), name


@pytest.mark.parametrize("layout", keymap.LAYOUTS)
def test_transformers_reads_what_we_write(theirs, tmp_path, layout):
    model, folder = theirs
    from_hf(folder, tmp_path / "ckpt")
    to_hf(tmp_path / "ckpt", tmp_path / "ours", layout=layout, max_shard_bytes=100_000)
    loaded, info = Theirs.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
        tmp_path / "ours", output_loading_info=True, dtype=torch.bfloat16
    )
    assert info["missing_keys"] == info["unexpected_keys"] == []
    assert info["mismatched_keys"] == info["error_msgs"] == []
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        assert bits(tensor) == bits(expected[name]), name


def test_our_files_are_those_of_save_pretrained(theirs, tmp_path):
    """Same names in the same number of files, same metadata; and back to the same bits."""
    _, folder = theirs
    from_hf(folder, tmp_path / "ckpt")
    to_hf(tmp_path / "ckpt", tmp_path / "ours", max_shard_bytes=100_000)
    index = "model.safetensors.index.json"
    mine, other = (json.loads((f / index).read_text()) for f in (tmp_path / "ours", folder))
    assert mine["weight_map"].keys() == other["weight_map"].keys()
    assert mine["metadata"]["total_size"] == other["metadata"]["total_size"]

    def tensors(place):
        shards = [load_file(file) for file in sorted(place.glob("*.safetensors"))]
        return {name: tensor for shard in shards for name, tensor in shard.items()}

    written, original = tensors(tmp_path / "ours"), tensors(folder)
    assert written.keys() == original.keys()
    assert all(written[name].tobytes() == original[name].tobytes() for name in original)
    for file in sorted(folder.glob("*.json")):
        if file.name != index:
            assert (tmp_path / "ours" / file.name).read_bytes() == file.read_bytes()
