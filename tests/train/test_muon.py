"""Muon on stacked layers: each layer's matrix on its own, everything else by AdamW."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from onevision_jax.model import ModelOptions, initialise, preset
from onevision_jax.train.optimizer import OptimizerConfig, make_optimizer

RATE = 0.1


@pytest.fixture(scope="module")
def params():
    options = ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32, init_scale=0.1)
    return nnx.state(initialise(preset("debug"), options), nnx.Param)


@pytest.fixture(scope="module")
def grads(params):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: jnp.asarray(rng.standard_normal(p.shape), jnp.float32), params)


def steps(config, params, grads):
    """What one update adds, before the learning rate, by path."""
    optimizer = make_optimizer(config)
    added, _ = jax.jit(optimizer.update)(grads, jax.jit(optimizer.init)(params), params)
    return {"/".join(map(str, p)): np.asarray(v[...]) for p, v in nnx.to_flat_state(added)}


@pytest.fixture(scope="module")
def muon(params, grads):
    return steps(OptimizerConfig(kind="muon", weight_decay=0.1), params, grads)


def plain(matrix, grad) -> np.ndarray:
    """optax's own Muon on one ordinary matrix [in, out]."""
    optimizer = optax.contrib.muon(-1.0, consistent_rms=0.2, weight_decay=0.1)
    added, _ = optimizer.update([grad], optimizer.init([matrix]), [matrix])
    return np.asarray(jax.tree.leaves(added)[0])


# path, shape of one layer's matrix [in, out], and where its input axes lie (first or last to go)
MATRICES = [
    ("decoder/blocks/attn/q/kernel", (64, 64)),
    ("decoder/blocks/attn/k/kernel", (64, 32)),
    ("decoder/blocks/attn/out/kernel", (64, 64)),
    ("decoder/blocks/mlp/down/kernel", (96, 64)),
    ("vision/blocks/attn/out/kernel", (32, 32)),
]


def at(tree, path):
    for part in path.split("/"):
        tree = tree[part]
    return np.asarray(tree[...])


@pytest.mark.parametrize(("path", "shape"), MATRICES)
def test_each_layer_is_a_matrix_of_its_own(params, grads, muon, path, shape):
    for layer in (0, 1):
        matrix, grad = (jnp.asarray(at(t, path)[layer]).reshape(shape) for t in (params, grads))
        want = plain(matrix, grad)
        np.testing.assert_allclose(muon[path][layer].reshape(shape), want, rtol=1e-3, atol=1e-5)


def test_query_key_and_value_of_a_joint_kernel_are_three_matrices(params, grads, muon):
    path = "vision/blocks/attn/qkv/kernel"
    for part in range(3):
        matrix, grad = (
            jnp.asarray(at(t, path)[1][:, part]).reshape(32, 32) for t in (params, grads)
        )
        got = muon[path][1][:, part].reshape(32, 32)
        np.testing.assert_allclose(got, plain(matrix, grad), rtol=1e-3, atol=1e-5)


def test_a_step_is_nearly_orthogonal_and_as_large_as_adamws(params, grads):
    added = steps(OptimizerConfig(kind="muon"), params, grads)["decoder/blocks/attn/q/kernel"][0]
    values = np.linalg.svd(added.reshape(64, 64), compute_uv=False)
    assert values.max() / values.min() < 2.5  # Newton-Schulz leaves them within 0.7 to 1.2
    assert np.sqrt((added**2).mean()) == pytest.approx(0.2, rel=0.15)


@pytest.mark.parametrize(
    "path", ["embed", "decoder/norm/weight", "decoder/blocks/attn/q/bias", "vision/patch_embed"]
)
def test_tables_norms_biases_and_patches_are_left_to_adamw(params, grads, muon, path):
    """With Nesterov momentum, as optax's muon has it."""
    nadam = optax.scale_by_adam(0.9, 0.999, 1e-8, nesterov=True)
    added: Any
    added, _ = nadam.update(grads, nadam.init(params))
    names = [p for p, _ in nnx.to_flat_state(added) if "/".join(map(str, p)).startswith(path)]
    assert names
    for name in ("/".join(map(str, p)) for p in names):
        np.testing.assert_allclose(muon[name], at(added, name), rtol=1e-5, atol=1e-6)
