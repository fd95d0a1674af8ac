"""The TPU and Hopper kernels of linear -> log-prob, interpreted on the CPU with races looked for.

Memory that was not yet written is NaN. The truth is float64 on the same rounded inputs.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_kernels.logprob import implementations, linear_logprob
from onevision_kernels.logprob.api import choose
from onevision_kernels.logprob.call import Call
from onevision_kernels.target import interpreting, mosaic_gpu_missing

BF16 = jnp.dtype(jnp.bfloat16)
GPU = pytest.param(
    "gpu", marks=pytest.mark.skipif(bool(mosaic_gpu_missing()), reason=str(mosaic_gpu_missing()))
)


def truth(hidden, head_VD, targets, temperature, banned):
    """[3, B, T] log-prob, log-sum-exp and entropy in float64."""
    hidden, head = np.asarray(hidden, np.float64), np.asarray(head_VD, np.float64)
    logits = hidden @ head.T / temperature
    logits[..., banned] = -np.inf
    peak = logits.max(-1, keepdims=True)
    lse = np.log(np.exp(logits - peak).sum(-1, keepdims=True)) + peak
    log_probs = logits - lse
    finite = np.where(np.isfinite(log_probs), log_probs, 0)
    entropy = -(np.exp(log_probs) * finite).sum(-1)
    return np.stack(
        [np.take_along_axis(log_probs, targets[..., None], -1)[..., 0], lse[..., 0], entropy]
    )


def inputs(rows, tokens, width, vocab, dtype=jnp.bfloat16, seed=0):
    rng = np.random.default_rng(seed)
    hidden = jnp.asarray(rng.standard_normal((rows, tokens, width)), dtype)
    head = jnp.asarray(rng.standard_normal((vocab, width)) * 4 / width**0.5, dtype)
    targets = rng.integers(0, vocab, (rows, tokens))
    # The first and the last entry, and both sides of the kernels' borders.
    edges = [x for x in (0, 127, 128, 255, 256, 511, 512, vocab - 1) if x < vocab]
    targets[0, : len(edges)] = edges[:tokens]
    return hidden, head, targets


def run(name, hidden, head_VD, targets, *, vocab_first=True, banned=None, temperature=1.0):
    """[3, B, T] from the interpreted kernel."""

    def call(hidden, head):
        return jnp.stack(
            linear_logprob(
                hidden,
                head,
                jnp.asarray(targets, jnp.int32),
                vocab_first=vocab_first,
                temperature=temperature,
                banned_V=None if banned is None else jnp.asarray(banned),
                implementation=name,
            )
        )

    with interpreting(name, detect_races=True):
        return jax.jit(call)(hidden, head_VD if vocab_first else head_VD.T)


@pytest.mark.parametrize(
    ("name", "rows", "tokens", "width", "vocab", "vocab_first", "dtype"),
    [
        ("tpu", 2, 11, 6, 50, True, jnp.float32),
        ("tpu", 1, 1, 64, 1300, False, jnp.bfloat16),  # two blocks, the last one cut
        ("tpu", 1, 1040, 16, 640, True, jnp.bfloat16),  # two blocks of tokens, the last one cut
        pytest.param("gpu", 2, 100, 128, 520, False, jnp.bfloat16, marks=GPU.marks),
        pytest.param("gpu", 1, 1, 64, 1300, True, jnp.bfloat16, marks=GPU.marks),
        pytest.param("gpu", 1, 256, 448, 512, True, jnp.float16, marks=GPU.marks),
    ],
)
def test_kernels_match_float64(name, rows, tokens, width, vocab, vocab_first, dtype):
    """float32 sums of bfloat16 products: far closer than the bar of 1e-3."""
    hidden, head, targets = inputs(rows, tokens, width, vocab, dtype)
    got = run(name, hidden, head, targets, vocab_first=vocab_first)
    assert np.abs(np.asarray(got) - truth(hidden, head, targets, 1.0, [])).max() <= 2e-5


@pytest.mark.parametrize("name", ["tpu", GPU])
def test_temperature_and_banned_entries(name):
    """Whole blocks are banned, the first among them; a banned target has log-prob -inf."""
    hidden, head, targets = inputs(1, 24, 64, 1304)
    banned = np.zeros(1304, bool)
    banned[:512] = True
    banned[1200:] = True
    targets = np.where(banned[targets], 600, targets)
    got = run(name, hidden, head, targets, banned=banned, temperature=0.7)
    assert np.abs(np.asarray(got) - truth(hidden, head, targets, 0.7, banned)).max() <= 2e-5
    targets[0, 3], targets[0, 4] = 5, 1303
    logprob = run(name, hidden, head, targets, banned=banned, temperature=0.7)[0]
    assert (np.isneginf(np.asarray(logprob[0])) == banned[targets[0]]).all()


@pytest.mark.parametrize("name", ["tpu", GPU])
def test_a_token_of_nan_stays_alone(name):
    hidden, head, targets = inputs(1, 40, 64, 520)
    clean = run(name, hidden, head, targets)
    dirty = run(name, hidden.at[0, 7].set(jnp.nan), head, targets)
    assert np.isnan(np.asarray(dirty)[:, 0, 7]).all()
    keep = np.arange(40) != 7
    np.testing.assert_array_equal(np.asarray(clean)[..., keep], np.asarray(dirty)[..., keep])


@pytest.mark.parametrize("name", ["tpu", GPU])
def test_gradients_come_from_the_kernels_log_sum_exp(name):
    hidden, head, targets = inputs(1, 20, 64, 520)

    def loss(name):
        def of(hidden, head):
            got = linear_logprob(
                hidden, head, jnp.asarray(targets), vocab_first=True, implementation=name
            )
            return (2 * got.logprob - got.lse + 3 * got.entropy).sum()

        return jax.jit(jax.grad(of, argnums=(0, 1)))

    want = loss("reference")(hidden.astype(jnp.float32), head.astype(jnp.float32))
    with interpreting(name):
        got = loss(name)(hidden, head)
    for ours, theirs in zip(got, want, strict=True):
        error = np.linalg.norm(np.asarray(ours, np.float64) - theirs)
        assert error <= 1e-2 * np.linalg.norm(theirs)


def test_they_refuse_in_words_what_they_cannot_run():
    call = Call.typical()
    hidden, head, targets = inputs(1, 4, 64, 520)
    with pytest.raises(ValueError, match="'tpu' needs a TPU, the target is cpu"):
        linear_logprob(hidden, head, jnp.asarray(targets), vocab_first=True, implementation="tpu")
    with pytest.raises(ValueError, match="'gpu' needs a Hopper GPU, the target is cpu"):
        choose(call, "gpu")
    with interpreting("tpu"):
        assert choose(call) == "tpu"
        for other, reason in [
            (call._replace(dtype=jnp.dtype(jnp.float64)), "hidden states are float64"),
            (call._replace(num_shards=8), "the work is shared by 8"),
            (call._replace(width=65_536), "fast memory"),
        ]:
            assert choose(other) == "xla"
            with pytest.raises(ValueError, match=reason):
                choose(other, "tpu")
    shown = implementations()
    assert shown["xla"].startswith("active on")
    assert shown["tpu"].startswith("needs a TPU")


@pytest.mark.skipif(bool(mosaic_gpu_missing()), reason=str(mosaic_gpu_missing()))
def test_hopper_is_asked_for_by_name_until_someone_measures_it():
    call = Call.typical()
    with interpreting("gpu"):
        assert choose(call) == "xla"
        assert choose(call, "gpu") == "gpu"
        for other, reason in [
            (call._replace(dtype=jnp.dtype(jnp.float32)), "hidden states are float32"),
            (call._replace(width=100), "multiple of 64, it is 100"),
            (call._replace(vocab_size=255), "vocabulary of 256 or more, it has 255"),
            (call._replace(vocab_size=1001), "multiple of 8 \\(TMA\\), V is 1001"),
            (call._replace(num_shards=2), "the work is shared by 2"),
        ]:
            with pytest.raises(ValueError, match=reason):
                choose(other, "gpu")
