"""However a batch is cut, packed or spread: the same loss and the same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_jax.convert import load_model
from onevision_jax.data.packing import Packing, join, stack, unpack
from onevision_jax.errors import InputError
from onevision_jax.model import from_folder
from onevision_jax.parallel import ShardingRules, make_mesh, on_mesh, place
from onevision_jax.train import MeshConfig, OptimizerConfig, Setup, Trainer
from onevision_jax.types import Batch

ONE = MeshConfig(fsdp=1, tensor=1)


def as_batch(arrays) -> Batch:
    return Batch(**{name: jnp.asarray(array) for name, array in arrays.items()})


def make_trainer(config):
    size = config.mesh.fsdp * config.mesh.tensor
    mesh = make_mesh(fsdp=config.mesh.fsdp, tensor=config.mesh.tensor, devices=jax.devices()[:size])
    rules = ShardingRules(mesh)
    return Trainer(config, Setup(config, from_folder(f"{config.checkpoint}/assets"), rules))


def loss_and_gradients(config, batch):
    """(loss, {path: gradient}) by the code of the training step."""
    trainer = make_trainer(config)
    rules = trainer.setup.rules
    model = load_model(config.checkpoint, options=config.model, shardings_for=rules.params)
    _, state = trainer.setup.start(model)
    compute = jax.jit(on_mesh(rules, trainer.gradients))
    loss, grads = compute(state, place(batch, rules.batch(batch)))
    leaves = jax.tree_util.tree_leaves_with_path(grads)
    return float(loss), {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def check_equal(got, want):
    """Design section 6: 1e-5 of each tensor's norm; returns the worst share of it."""
    assert abs(got[0] - want[0]) <= 1e-5 * abs(want[0])
    assert got[1].keys() == want[1].keys()
    total = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in want[1].values()))
    errors = {
        path: np.linalg.norm(got[1][path] - g) / (np.linalg.norm(g) + 1e-6 * total)
        for path, g in want[1].items()
    }
    print(f"loss {abs(got[0] - want[0]):.1e}, gradients {max(errors.values()):.1e}")
    assert max(errors.values()) <= 1e-5, errors


@pytest.fixture(scope="module")
def whole(settings, batch):
    """On one device, in one part; every parameter has a gradient, and images take part."""
    loss, grads = loss_and_gradients(settings(mesh=ONE), batch)
    assert np.isfinite(loss)
    assert all(np.abs(g).max() > 0 for g in grads.values())
    return loss, grads


def test_the_batch_is_packed_and_mixed(arrays):
    assert arrays["segment_ids"].max() >= 2
    assert (arrays["image_ids"] > 0).any()
    assert 0 < arrays["loss_weights"].mean() < 0.8


@pytest.mark.parametrize("parts", [8])
def test_any_split_of_the_batch_is_one_batch(settings, batch, whole, parts):
    check_equal(loss_and_gradients(settings(mesh=ONE, accumulation=parts), batch), whole)


@pytest.mark.parametrize(
    ("fsdp", "tensor", "parts"), [(8, 1, 1), (4, 2, 2), (2, 4, 1)], ids=["8x1", "4x2", "2x4"]
)
def test_eight_devices_equal_one(settings, batch, whole, fsdp, tensor, parts):
    config = settings(mesh=MeshConfig(fsdp=fsdp, tensor=tensor), accumulation=parts)
    check_equal(loss_and_gradients(config, batch), whole)


def test_packed_rows_equal_one_example_a_row(settings, arrays, whole, pipeline):
    rows = [join([example]) for example in unpack(arrays)]
    assert len(rows) > len(arrays["tokens"])
    alone = stack(
        rows,
        Packing(tokens_per_row=320, patch_budgets=(192,)),
        pad_id=pipeline.processor.tokenizer.pad_id,
        patch_bytes=588,
    )
    check_equal(loss_and_gradients(settings(mesh=ONE), as_batch(alone)), whole)


def test_frozen_parts_have_no_gradient_and_the_others_the_same(settings, batch, whole):
    config = settings(mesh=ONE, optimizer=OptimizerConfig(freeze=("vision", "embed")))
    loss, grads = loss_and_gradients(config, batch)
    wanted = {path: g for path, g in whole[1].items() if "decoder" in path}
    assert 0 < len(wanted) < len(whole[1])
    check_equal((loss, grads), (whole[0], wanted))


def test_rows_that_do_not_divide_are_refused(settings, batch):
    with pytest.raises(InputError, match=r"8 rows does not divide into 3 parts \(accumulation\)"):
        loss_and_gradients(settings(mesh=ONE, accumulation=3), batch)


@pytest.mark.parametrize(
    ("names", "answer"),
    [
        (("vison",), "freeze names 'vison', which the model has not; did you mean vision?"),
        (("vision", "decoder", "embed"), "freeze leaves nothing to train"),
    ],
)
def test_unknown_frozen_parts_are_refused(settings, names, answer):
    with pytest.raises(InputError) as caught:
        make_trainer(settings(mesh=ONE, optimizer=OptimizerConfig(freeze=names)))
    assert answer in str(caught.value)
