"""AdamW against its formulas in float64, the schedule, and what must not move."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from onevision_jax.errors import InputError
from onevision_jax.train.optimizer import (
    OptimizerConfig,
    make_optimizer,
    make_schedule,
    trainable_filter,
    update,
)

SHAPES = {"kernel": (5, 3), "bias": (3,), "weight": (3,), "embed": (7, 3)}


class Toy(nnx.Module):
    """One parameter of each kind that weight decay tells apart."""

    def __init__(self, dtype=jnp.float32):
        rng = np.random.default_rng(0)
        for name, shape in SHAPES.items():
            setattr(self, name, nnx.Param(jnp.asarray(rng.standard_normal(shape), dtype)))


def parameters(dtype=jnp.float32) -> Any:
    return nnx.state(Toy(dtype), nnx.Param)


def run(config, num_steps, gradients, dtype=jnp.float32):
    """(parameters, norms) after steps with the given gradients."""
    params = parameters(dtype)
    optimizer = make_optimizer(config)
    state = optimizer.init(jax.tree.map(lambda x: x.astype(jnp.float32), params))
    norms, schedule = [], make_schedule(config, num_steps)
    for number, step in enumerate(gradients):
        grads = jax.tree.map(lambda p: p, params)
        for name, value in step.items():
            grads[name] = params[name].replace(jnp.asarray(value, jnp.float32))
        params, state, norm = update(
            optimizer, config.clip_norm, schedule(number), params, state, grads
        )
        norms.append(float(norm))
    return {name: np.asarray(params[name][...]) for name in SHAPES}, norms


def random_gradients(num_steps, scale=1.0):
    rng = np.random.default_rng(1)
    return [
        {n: scale * rng.standard_normal(s) for n, s in SHAPES.items()} for _ in range(num_steps)
    ]


def test_five_steps_equal_the_formulas():
    config = OptimizerConfig(
        peak_lr=1e-2, warmup_steps=2, weight_decay=0.1, clip_norm=2.0, beta2=0.95
    )
    gradients = random_gradients(5)
    got, norms = run(config, 5, gradients)
    schedule = make_schedule(config, 5)
    want = {n: np.asarray(parameters()[n][...], np.float64) for n in SHAPES}
    m = {n: np.zeros(s) for n, s in SHAPES.items()}
    v = {n: np.zeros(s) for n, s in SHAPES.items()}
    for t, step in enumerate(gradients, 1):
        norm = np.sqrt(sum((g**2).sum() for g in step.values()))
        assert abs(norms[t - 1] - norm) <= 1e-5 * norm
        assert norm > config.clip_norm  # else nothing is shown of the clipping
        for name, g in step.items():
            g = g * config.clip_norm / norm
            m[name] = config.beta1 * m[name] + (1 - config.beta1) * g
            v[name] = config.beta2 * v[name] + (1 - config.beta2) * g * g
            m_hat, v_hat = m[name] / (1 - config.beta1**t), v[name] / (1 - config.beta2**t)
            decay = 0.0 if name in ("bias", "weight") else config.weight_decay
            rate = float(schedule(t - 1))
            want[name] -= rate * (m_hat / (np.sqrt(v_hat) + config.eps) + decay * want[name])
    for name in SHAPES:
        assert np.abs(got[name] - want[name]).max() <= 1e-6, name


def test_a_step_that_is_not_finite_changes_nothing():
    config = OptimizerConfig(peak_lr=1e-2, weight_decay=0.1, schedule="constant")
    good = random_gradients(3)
    bad = {name: g * np.nan for name, g in good[0].items()}
    got, norms = run(config, 9, [good[0], bad, good[1], good[2]])
    want, _ = run(config, 9, good)
    assert np.isnan(norms[1])
    # Adam's own count stands still too: what follows is as if the step had not been there.
    for name in SHAPES:
        np.testing.assert_array_equal(got[name], want[name])


def test_moments_of_bfloat16_parameters_are_float32():
    config = OptimizerConfig(peak_lr=1e-2)
    optimizer = make_optimizer(config)
    params = parameters(jnp.bfloat16)
    state = optimizer.init(jax.tree.map(lambda x: x.astype(jnp.float32), params))
    grads = jax.tree.map(lambda x: jnp.ones(x.shape, jnp.float32), params)
    params, state, _ = update(optimizer, None, jnp.asarray(0.1), params, state, grads)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state)} == {"float32", "int32"}


def test_warmup_and_cosine():
    config = OptimizerConfig(peak_lr=2.0, warmup_steps=4, end_lr_fraction=0.1)
    rates = [float(make_schedule(config, 14)(step)) for step in range(15)]
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates[9] == pytest.approx(2.0 * (0.1 + 0.9 / 2))
    assert rates[14] == pytest.approx(0.2)
    assert rates == [*rates[:4], *sorted(rates[4:], reverse=True)]
    constant = OptimizerConfig(peak_lr=2.0, warmup_steps=4, schedule="constant")
    assert [float(make_schedule(constant, 14)(s)) for s in (1, 13)] == [1.0, 2.0]


def test_frozen_paths():
    trained = trainable_filter(Toy(), ("embed", "bias"))
    moved, still = nnx.split_state(nnx.state(Toy()), trained, ...)
    assert set(moved) == {"kernel", "weight"}
    assert set(still) == {"embed", "bias"}


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"peak_lr": 0.0}, "optimizer.peak_lr is 0.0; give more than 0"),
        ({"beta2": 1.0}, "optimizer.beta2 is 1.0; give 0 to below 1"),
        ({"weight_decay": -1.0}, "optimizer.weight_decay is -1.0; give 0 or more"),
        ({"clip_norm": 0.0}, "optimizer.clip_norm is 0.0; give more than 0, or none"),
        ({"end_lr_fraction": 2.0}, "optimizer.end_lr_fraction is 2.0; give 0 to 1"),
    ],
)
def test_settings_out_of_range(changes, answer):
    with pytest.raises(InputError, match=answer):
        OptimizerConfig(**changes)
    with pytest.raises(InputError, match="warmup_steps 9 is more than num_steps 4"):
        make_schedule(OptimizerConfig(warmup_steps=9), 4)
