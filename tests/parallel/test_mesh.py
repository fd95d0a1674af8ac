"""Eight simulated devices compute what one computes; the rules say where everything lives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from onevision_jax.errors import InputError
from onevision_jax.model import ModelOptions, abstract, initialise, preset
from onevision_jax.parallel import ShardingRules, bytes_per_device, make_mesh, on_mesh, place
from onevision_jax.types import Batch

FLOAT32 = ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32, init_scale=0.2)
ROWS, TOKENS, PATCHES = 8, 24, 32


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Rows of two segments; the first sees an image of four windows."""
    rng = np.random.default_rng(0)
    index = np.full((ROWS, TOKENS), -1, np.int32)
    index[:, 2:10] = np.arange(8)
    segments = np.repeat([1, 2, 0], [14, 8, 2])[None].repeat(ROWS, 0)
    arrays = {
        "tokens": rng.integers(0, 500, (ROWS, TOKENS)),
        "positions": np.sort(rng.integers(0, 30, (3, ROWS, TOKENS)), axis=2),
        "segment_ids": segments,
        "vision_index": index,
        "patch_positions": rng.integers(0, 9, (ROWS, PATCHES, 2)),
        "image_ids": np.ones((ROWS, PATCHES)),
        "window_ids": np.repeat(np.arange(1, 5), 8)[None].repeat(ROWS, 0),
    }
    patches = rng.integers(0, 256, (ROWS, PATCHES, 588)).astype(np.uint8)
    fields = {name: jnp.asarray(value.astype(np.int32)) for name, value in arrays.items()}
    return Batch(patches=jnp.asarray(patches), **fields)


def logits_and_gradient(graphdef, direction):
    def loss(params, batch):
        model = nnx.merge(graphdef, params)
        logits = model.logits(model(batch).hidden)
        return (logits * direction).sum(), logits

    def both(params, batch):
        (_, logits), grads = jax.value_and_grad(loss, has_aux=True)(params, batch)
        return logits, grads

    return both


@pytest.fixture(scope="module")
def on_one_device(batch):
    model = initialise(preset("debug"), FLOAT32)
    direction = np.random.default_rng(1).standard_normal((ROWS, TOKENS, 512), np.float32)
    graphdef, params = nnx.split(model)
    logits, grads = jax.jit(logits_and_gradient(graphdef, direction))(params, batch)
    return direction, np.asarray(logits), jax.tree.map(np.asarray, grads)


@pytest.mark.parametrize(("fsdp", "tensor"), [(8, 1), (4, 2), (2, 4)])
def test_eight_devices_equal_one(batch, on_one_device, fsdp, tensor):
    direction, want_logits, want_grads = on_one_device
    rules = ShardingRules(make_mesh(fsdp=fsdp, tensor=tensor))
    model = initialise(preset("debug"), FLOAT32, shardings_for=rules.params)
    graphdef, params = nnx.split(model)
    shardings = rules.params(params)
    placed = place(batch, rules.batch(batch))
    step = jax.jit(
        on_mesh(rules, logits_and_gradient(graphdef, direction)), out_shardings=(None, shardings)
    )
    logits, grads = step(params, placed)

    def error(got, want):
        return np.linalg.norm(got - want) / (np.linalg.norm(want) + 1e-6 * total)

    total = np.sqrt(sum(np.linalg.norm(leaf) ** 2 for leaf in jax.tree.leaves(want_grads)))
    assert np.linalg.norm(logits - want_logits) <= 1e-5 * np.linalg.norm(want_logits)
    for got, want in zip(jax.tree.leaves(grads), jax.tree.leaves(want_grads), strict=True):
        assert error(np.asarray(got), want) <= 1e-5
    # It is really spread: the matrices are split, so a device holds little more than its share
    # (two heads cannot be split over four devices).
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    assert bytes_per_device(params, shardings) < whole / fsdp / tensor * 2.2
    mlp = nnx.to_pure_dict(grads)["decoder"]["blocks"]["mlp"]["up"]["kernel"].sharding.spec
    assert mlp == (
        PartitionSpec(None, "fsdp", "tensor") if tensor > 1 else PartitionSpec(None, "fsdp")
    )


def test_dimensions_that_do_not_divide_stay_whole_and_are_named():
    rules = ShardingRules(make_mesh(fsdp=2, tensor=4))
    notes = rules.undivided(nnx.state(abstract(preset("3b"))))
    assert any("decoder/blocks/attn/k/kernel: kv_heads of 2" in note for note in notes)
    assert rules.spec(("embed", "kv_heads", "head"), (64, 2, 16)) == PartitionSpec("fsdp")
    assert rules.spec(("heads", "head"), (3, 16)) == PartitionSpec()


def test_every_parameter_of_every_preset_has_a_place():
    rules = ShardingRules(make_mesh(fsdp=4, tensor=2))
    for name in ("3b", "7b", "32b", "72b"):
        state = nnx.state(abstract(preset(name), ModelOptions(param_dtype=jnp.bfloat16)))
        share = bytes_per_device(state, rules.params(state))
        whole = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        assert whole / 8 <= share < whole / 8 * 1.01


def test_a_cache_is_split_by_rows_and_kv_heads():
    rules = ShardingRules(make_mesh(fsdp=4, tensor=2))
    model = abstract(preset("debug"))
    start = jax.ShapeDtypeStruct((4,), jnp.int32)
    cache = jax.eval_shape(lambda s: model.with_answers(model.empty_cache(s, 8), 3, 8), start)
    found: Any = rules.cache(cache)
    assert found.k.spec == found.answers.v.spec == PartitionSpec(None, "fsdp", "tensor")
    assert found.start.spec == found.answers.lengths.spec == PartitionSpec("fsdp")
    assert found.length.spec == found.answers.step.spec == PartitionSpec()
    assert rules.cache(jax.eval_shape(lambda s: model.empty_cache(s, 8), start)).answers is None


def test_two_dimensions_on_one_mesh_axis_collide():
    mesh = make_mesh(fsdp=4, tensor=2)
    rules = ShardingRules(mesh, {"embed": "tensor", "mlp": "tensor", "norm": None})
    with pytest.raises(InputError, match=r"collide: dimensions \('embed', 'mlp'\)"):
        rules.spec(("embed", "mlp"), (64, 64))


def test_bad_meshes_and_rules_say_what_is_wrong(batch):
    with pytest.raises(InputError, match="fsdp 3 x tensor 2 does not fit 8 devices"):
        make_mesh(fsdp=3, tensor=2)
    with pytest.raises(InputError, match="must be positive"):
        make_mesh(tensor=0)
    mesh = make_mesh()
    with pytest.raises(InputError, match=r"mesh axes \['expert'\]"):
        ShardingRules(mesh, {"embed": "expert"})
    with pytest.raises(InputError, match="no sharding rule for the logical axis 'embde'"):
        ShardingRules(mesh).spec(("embde",), (8,))
    three = jax.tree.map(lambda leaf: leaf[:3], batch)
    with pytest.raises(InputError, match=r"3 rows does not divide over 8 devices"):
        ShardingRules(mesh).batch(three)
