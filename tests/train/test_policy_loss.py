"""The policy loss against the published formula in float64, token by token: value and gradient."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_jax.errors import InputError
from onevision_jax.train.policy_loss import PolicyLossConfig, policy_loss
from onevision_jax.types import Batch

B, T = 6, 40
RL_FIELDS = ("loss_weights", "advantages", "sampler_logprobs", "old_logprobs")
CASES = {
    "default": {},
    "asymmetric": {"clip_low": 0.1, "clip_high": 0.4},
    "tight": {"clip_low": 0.01, "clip_high": 0.02, "importance_cap": 1.0},
    "uncorrected": {"importance_cap": None},
    "kl": {"kl_weight": 0.04},
    "all": {"clip_high": 0.28, "kl_weight": 0.3, "importance_cap": 1.1},
}


def make_fields(seed, with_old):
    """(fields of the batch, log-probs, reference) of a step that has moved far, float32."""
    rng = np.random.default_rng(seed)
    fields = {
        "loss_weights": rng.uniform(0.1, 1, (B, T)) * (rng.random((B, T)) < 0.7),
        "advantages": rng.normal(0, 1, (B, T)) * (rng.random((B, T)) < 0.9),
    }
    logprob = rng.uniform(-4, -0.01, (B, T))
    old = logprob + rng.normal(0, 0.4, (B, T)) if with_old else logprob
    fields["sampler_logprobs"] = old + rng.normal(0, 0.5, (B, T))
    if with_old:
        fields["old_logprobs"] = old
    reference = logprob + rng.normal(0, 0.7, (B, T))
    return as_float32(fields), logprob.astype(np.float32), reference.astype(np.float32)


def as_float32(fields):
    return {name: array.astype(np.float32) for name, array in fields.items()}


def as_batch(fields) -> Batch:
    """A batch with nothing but what the loss reads."""
    empty = jnp.zeros((0,))
    others = {f.name: empty for f in dataclasses.fields(Batch) if f.name not in RL_FIELDS}
    given = {name: jnp.asarray(array) for name, array in fields.items()}
    return Batch(**{**others, **given})


def direct(config, fields, b, t, logprob, old, reference):
    """The terms of one token in Python's float64."""
    advantage, sampler = (float(fields[n][b, t]) for n in ("advantages", "sampler_logprobs"))
    ratio = math.exp(logprob - old)
    low, high = 1 - config.clip_low, 1 + config.clip_high
    gain = min(ratio * advantage, min(max(ratio, low), high) * advantage)
    weight = 1.0
    if config.importance_cap is not None:
        weight = min(math.exp(old - sampler), config.importance_cap)
    odds = math.exp(reference - logprob)
    kl = odds - math.log(odds) - 1 if config.kl_weight else 0.0
    stopped = (advantage > 0 and ratio > high) or (advantage < 0 and ratio < low)
    return {
        "loss": -weight * gain + config.kl_weight * kl,
        "kl": kl,
        "clipped": float(stopped),
        "difference": abs(old - sampler),
        "weight": weight,
    }


def direct_gradient(config, fields, b, t, logprob, old, reference):
    """Central difference of the loss of one token; `old` and the weight stand still."""
    eps = 1e-6
    above, below = (
        direct(config, fields, b, t, logprob + step, old, reference)["loss"] for step in (eps, -eps)
    )
    return (above - below) / (2 * eps)


def check(config, fields, logprob, reference):
    """Compares with `direct`; returns {term: worst difference}, "gradient" among them."""
    batch, weights = as_batch(fields), jnp.asarray(fields["loss_weights"])
    other = jnp.asarray(reference) if config.kl_weight else None

    def total(logprob_BT):
        terms = policy_loss(logprob_BT, batch, config, other)
        return (weights * terms["loss"]).sum(), terms

    grads, terms = jax.grad(total, has_aux=True)(jnp.asarray(logprob))
    got = {name: np.asarray(term) for name, term in {**terms, "gradient": grads}.items()}
    want = {name: np.zeros((B, T)) for name in got}
    for b, t in np.argwhere(fields["loss_weights"]):
        here = float(logprob[b, t])
        old = float(fields["old_logprobs"][b, t]) if "old_logprobs" in fields else here
        point = (config, fields, b, t, here, old, float(reference[b, t]))
        for name, term in direct(*point).items():
            want[name][b, t] = term
        want["gradient"][b, t] = fields["loss_weights"][b, t] * direct_gradient(*point)
    for name, array in got.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, want[name], rtol=2e-5, atol=2e-6, err_msg=name)
    return want


@pytest.mark.parametrize("with_old", [True, False], ids=["old", "first"])
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_value_and_gradient_follow_the_formula(changes, with_old):
    config = PolicyLossConfig(**changes)
    for seed in range(3):
        fields, logprob, reference = make_fields(seed, with_old)
        want = check(config, fields, logprob, reference)
        assert np.abs(want["gradient"]).max() > 0.1
        pulls = np.sign(fields["advantages"]) * want["clipped"]
        # Clipped above and below; never before the first update.
        assert {-1.0, 1.0} <= set(pulls.flat) if with_old else not pulls.any()
        if config.importance_cap is None:
            assert set(want["weight"].flat) == {0.0, 1.0}
        else:
            at_cap = want["weight"] == config.importance_cap
            assert 0 < at_cap.sum() < (want["weight"] > 0).sum()
        assert (want["kl"] > 0.01).any() == (config.kl_weight > 0)


@pytest.mark.parametrize("hostile", [-np.inf, np.inf, np.nan])
def test_what_is_masked_adds_exactly_nothing(hostile):
    """Whatever stands there: log-probs of banned targets are -inf."""
    config = PolicyLossConfig(kl_weight=0.1)
    fields, logprob, reference = make_fields(0, with_old=True)
    masked = fields["loss_weights"] == 0
    assert masked.any()
    for name in ("advantages", "sampler_logprobs", "old_logprobs"):
        fields[name] = np.where(masked, hostile, fields[name]).astype(np.float32)
    logprob = np.where(masked, hostile, logprob).astype(np.float32)
    reference = np.where(masked, hostile, reference).astype(np.float32)
    want = check(config, fields, logprob, reference)  # Every term is 0 where masked.
    assert all((term[masked] == 0).all() for term in want.values())


def test_before_the_first_update_it_is_the_policy_gradient():
    """-A at every token when the sampler was right, whatever the clip."""
    fields, logprob, _ = make_fields(1, with_old=False)
    batch = as_batch({**fields, "sampler_logprobs": logprob})
    config = PolicyLossConfig(clip_low=0.001, clip_high=0.001)
    grads = jax.grad(lambda x: policy_loss(x, batch, config)["loss"].sum())(jnp.asarray(logprob))
    counted = fields["loss_weights"] != 0
    np.testing.assert_allclose(grads, -fields["advantages"] * counted, rtol=1e-6)


@pytest.mark.parametrize("missing", ["loss_weights", "advantages", "sampler_logprobs"])
def test_a_batch_without_its_fields_is_refused(missing):
    fields, logprob, _ = make_fields(0, with_old=True)
    del fields[missing]
    with pytest.raises(InputError, match=f"the batch has no {missing}"):
        policy_loss(jnp.asarray(logprob), as_batch(fields), PolicyLossConfig())


def test_kl_without_a_reference_is_refused():
    fields, logprob, _ = make_fields(0, with_old=True)
    with pytest.raises(InputError, match="no reference log-probs"):
        policy_loss(jnp.asarray(logprob), as_batch(fields), PolicyLossConfig(kl_weight=0.1))


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"clip_low": -0.1}, "loss.clip_low is -0.1; give 0 or more"),
        ({"clip_high": math.nan}, "loss.clip_high is nan; give 0 or more"),
        ({"kl_weight": -1.0}, "loss.kl_weight is -1.0; give 0 or more"),
        ({"importance_cap": 0.5}, "loss.importance_cap is 0.5; give 1+, or none"),
        ({"importance_cap": math.nan}, "loss.importance_cap is nan; give 1+, or none"),
    ],
)
def test_bad_constants_are_refused(changes, answer):
    with pytest.raises(InputError) as caught:
        PolicyLossConfig(**changes)
    assert str(caught.value) == answer
