"""Parameters on disk: all that goes in comes out, onto any devices, and gaps are noticed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from orbax.checkpoint import v1 as ocp

from onevision_jax.checkpoint import by_path, load_params, resolve, save_params, store
from onevision_jax.errors import InputError
from onevision_jax.model import ModelOptions, QwenVL, preset, to_hf
from onevision_jax.parallel import ShardingRules, make_mesh


@pytest.fixture(scope="module")
def model():
    return QwenVL(preset("debug"), options=ModelOptions(), rngs=nnx.Rngs(0))


def write_assets(folder):
    (folder / "assets").mkdir()
    (folder / "assets" / "config.json").write_text(json.dumps(to_hf(preset("debug"))))


@pytest.fixture
def saved(model, tmp_path):
    save_params(tmp_path / "ckpt", by_path(model))
    write_assets(tmp_path / "ckpt")
    return resolve(tmp_path / "ckpt")


def assert_equal(given, expected):
    assert given.keys() == expected.keys()
    for path, array in expected.items():
        assert given[path].dtype == array.dtype, path
        np.testing.assert_array_equal(np.asarray(given[path]), np.asarray(array), err_msg=path)


@pytest.mark.parametrize("small", [store.SMALL_BYTES, 10_000])
def test_saved_in_pieces_or_at_once(model, tmp_path, monkeypatch, small):
    monkeypatch.setattr(store, "SMALL_BYTES", small)
    save_params(tmp_path / "ckpt", by_path(model))
    write_assets(tmp_path / "ckpt")
    assert_equal(load_params(resolve(tmp_path / "ckpt")), by_path(model))


def test_onto_a_mesh_and_into_another_dtype(model, saved):
    rules = ShardingRules(make_mesh(fsdp=2, tensor=4))
    shardings = by_path(rules.params(nnx.state(model, nnx.Param)))
    loaded = load_params(saved, shardings=shardings, dtype=jnp.bfloat16)
    expected = {path: array.astype(jnp.bfloat16) for path, array in by_path(model).items()}
    assert_equal(loaded, expected)
    for path, array in loaded.items():
        assert array.sharding.is_equivalent_to(shardings[path], array.ndim), path


def test_a_sharded_model_is_saved_whole(model, tmp_path):
    rules = ShardingRules(make_mesh(fsdp=8))
    state = nnx.state(model, nnx.Param)
    spread = by_path(jax.device_put(state, rules.params(state)))
    save_params(tmp_path / "ckpt", spread)
    write_assets(tmp_path / "ckpt")
    assert_equal(load_params(resolve(tmp_path / "ckpt")), by_path(model))


def test_a_training_step_of_orbax_is_read(model, tmp_path):
    """What ocp.training.Checkpointer writes beside optimizer and data is the same tree."""
    state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    with ocp.training.Checkpointer(tmp_path / "checkpoints") as checkpointer:
        checkpointer.save_checkpointables(7, {"model": state, "optimizer": {"count": jnp.ones(())}})
    write_assets(tmp_path)
    found = resolve(tmp_path)
    assert found.step == 7
    assert_equal(load_params(found), by_path(model))
    assert_equal(store.load_arrays(found, ["embed"]), {"embed": np.asarray(model.embed[...])})


def test_our_tree_is_an_ordinary_orbax_checkpoint(model, saved):
    """Read with nothing of ours: Orbax alone finds and restores it."""
    state = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state)
    loaded = ocp.load_checkpointables(saved.path, {"model": wanted})["model"]
    jax.tree.map(np.testing.assert_array_equal, loaded, state)


def test_gaps_are_noticed(model, tmp_path):
    params = by_path(model)
    embed = params.pop("embed")
    cases = {
        "missing": ({}, r"1 missing \(embed\)"),
        "extra": ({"embed": embed, "more/x": embed}, r"1 unexpected \(more/x\)"),
        "shape": ({"embed": embed[:-1]}, r"embed has shape \[511, 64\], .* asks for \[512, 64\]"),
        "dtype": ({"embed": embed.astype(jnp.int32)}, "embed has dtype int32, a floating dtype"),
    }
    for name, (change, sentence) in cases.items():
        save_params(tmp_path / name, params | change)
        write_assets(tmp_path / name)
        with pytest.raises(InputError, match=sentence):
            load_params(resolve(tmp_path / name))


def test_a_damaged_tree_is_an_input_error(saved):
    (saved.path / "model" / "_METADATA").write_text("{")
    with pytest.raises(InputError, match="ckpt/model cannot be read, it may be damaged"):
        load_params(saved)
