"""load_model: every kind of folder, every dtype, onto every mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_jax.checkpoint import by_path, save_params
from onevision_jax.convert import from_hf, keymap, load_model, read_assets_folder, to_hf
from onevision_jax.errors import InputError
from onevision_jax.model import ModelOptions
from onevision_jax.parallel import ShardingRules, make_mesh
from onevision_jax.types import Batch


@pytest.fixture(params=["hugging face", "checkpoint", "workdir", "step"])
def place(request, folders, sample):
    if request.param == "hugging face":
        return sample
    checkpoint = folders.root / "ckpt"
    from_hf(sample, checkpoint)
    if request.param == "checkpoint":
        return checkpoint
    workdir = folders.root / "run"
    (workdir / "checkpoints").mkdir(parents=True)
    (checkpoint / "assets").rename(workdir / "assets")
    checkpoint.rename(workdir / "checkpoints" / "20")
    save_params(workdir / "checkpoints" / "3", {"embed": np.zeros((2, 2), np.float32)})
    (workdir / "checkpoints" / "30.orbax-checkpoint-tmp-1").mkdir()
    return workdir if request.param == "workdir" else workdir / "checkpoints" / "20"


def test_every_kind_of_folder(place, folders, sample):
    params = by_path(load_model(place))
    config = folders.config()
    tensors = folders.read(sample)
    for entry in keymap.entries(config):
        layers = [tensors[entry.name("hub", i)] for i in range(entry.num_layers(config))]
        expected = [entry.to_ours(layer, config) for layer in layers]
        expected = np.stack(expected) if entry.stacked else expected[0]
        assert params[entry.path].dtype == jnp.bfloat16
        assert np.asarray(params[entry.path]).tobytes() == expected.tobytes(), entry.path
    assert (read_assets_folder(place) / "tokenizer.json").is_file()


def test_placed_by_the_rules_of_a_mesh(place):
    rules = ShardingRules(make_mesh(fsdp=4, tensor=2))
    whole = by_path(load_model(place))
    model = load_model(place, shardings_for=rules.params)
    for path, array in by_path(model).items():
        assert np.asarray(array).tobytes() == np.asarray(whole[path]).tobytes(), path
    kernel = model.decoder.blocks.mlp.gate.kernel[...]
    layers, width, inner = kernel.shape
    assert kernel.addressable_shards[0].data.shape == (layers, width // 4, inner // 2)


def test_dtype_of_the_parameters(place):
    for path, array in by_path(load_model(place, dtype="float32")).items():
        assert array.dtype == jnp.float32, path
    with pytest.raises(InputError, match="int8 is not float32, bfloat16 or float16"):
        load_model(place, dtype="int8")


def test_the_loaded_model_computes(folders):
    config = folders.config(tied=False)
    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.standard_normal(shape) * 0.1).astype(np.float32)
        for name, shape in keymap.hf_shapes(config, "hub").items()
    }
    folder = folders.write("in", config, tensors)
    model = load_model(folder, options=ModelOptions(dtype=jnp.float32))
    tokens = jnp.arange(6, dtype=jnp.int32)[None]
    batch = Batch(
        tokens=tokens,
        positions=jnp.broadcast_to(jnp.arange(6, dtype=jnp.int32), (3, 1, 6)),
        segment_ids=jnp.ones((1, 6), jnp.int32),
        vision_index=jnp.full((1, 6), -1, jnp.int32),
        patches=jnp.zeros((1, 0, 588), jnp.uint8),
        patch_positions=jnp.zeros((1, 0, 2), jnp.int32),
        image_ids=jnp.zeros((1, 0), jnp.int32),
        window_ids=jnp.zeros((1, 0), jnp.int32),
    )
    logits = model.logits(model(batch).hidden)
    assert logits.shape == (1, 6, config.text.vocab_size)
    assert bool(jnp.isfinite(logits).all())
    assert float(jnp.std(logits)) > 0


def test_a_replaced_folder_is_read_anew(folders, sample):
    """Nothing of a file is remembered between two loads of one path."""
    from_hf(sample, folders.root / "ckpt")
    to_hf(folders.root / "ckpt", folders.root / "out")
    before = np.asarray(load_model(folders.root / "out").embed[...])
    config = folders.config()
    zeros = {n: np.zeros_like(t) for n, t in folders.tensors(config).items()}
    from_hf(folders.write("zeros", config, zeros), folders.root / "ckpt", force=True)
    to_hf(folders.root / "ckpt", folders.root / "out", force=True)
    assert before.view(np.uint16).any()
    assert not np.asarray(load_model(folders.root / "out").embed[...]).any()


def test_float64_is_kept_where_jax_can(folders):
    config = folders.config()
    rng = np.random.default_rng(0)
    shapes = keymap.hf_shapes(config, "hub")
    tensors = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    folder = folders.write("in", config, tensors)
    assert by_path(load_model(folder))["embed"].dtype == jnp.float32
    with jax.enable_x64(True):
        embed = by_path(load_model(folder))["embed"]
        assert embed.dtype == jnp.float64
        assert np.asarray(embed).tobytes() == tensors["model.embed_tokens.weight"].tobytes()
