"""Every implementation of linear -> log-prob against a dense float64 computation, gradients too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_jax.parallel import make_mesh
from onevision_kernels.logprob import linear_logprob, xla

NAMES = ["reference", "xla"]  # test_logprob_pallas.py has the others
B, T, D, V = 2, 11, 6, 50


def dense(hidden, head_VD, targets, temperature, banned, cotangents):
    """(log-prob, lse, entropy), (d hidden, d head) in float64 by the closed formulas."""
    hidden, head = np.asarray(hidden, np.float64), np.asarray(head_VD, np.float64)
    logits = hidden @ head.T / temperature
    logits[..., banned] = -np.inf
    peak = logits.max(-1, keepdims=True)
    lse = np.log(np.exp(logits - peak).sum(-1, keepdims=True)) + peak
    log_probs = logits - lse
    probs = np.exp(log_probs)
    finite = np.where(np.isfinite(log_probs), log_probs, 0)
    entropy = -(probs * finite).sum(-1)
    onehot = np.eye(head.shape[0])[targets]
    d_logprob, d_lse, d_entropy = (np.asarray(g, np.float64)[..., None] for g in cotangents)
    d_logits = d_logprob * (onehot - probs) + d_lse * probs
    d_logits -= d_entropy * probs * (finite + entropy[..., None])
    d_logits[..., banned] = 0
    d_logits /= temperature
    d_head = np.einsum("BTV,BTD->VD", d_logits, hidden)
    logprob = np.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
    return (logprob, lse[..., 0], entropy), (d_logits @ head, d_head)


def inputs(seed=0, dtype=jnp.float32, rows=B, tokens=T, width=D, vocab=V):
    rng = np.random.default_rng(seed)
    hidden = jnp.asarray(rng.standard_normal((rows, tokens, width)), dtype)
    head = jnp.asarray(rng.standard_normal((vocab, width)), dtype)
    targets = rng.integers(3, vocab, (rows, tokens))
    banned = np.zeros(vocab, bool)
    banned[:3] = True
    cotangents = tuple(jnp.asarray(rng.standard_normal((rows, tokens)), jnp.float32) for _ in "123")
    return hidden, head, targets, banned, cotangents


def run(hidden, head_VD, targets, banned, cotangents, *, vocab_first=True, **settings):
    """Results and gradients as `dense` gives them."""

    def call(hidden, head):
        return tuple(
            linear_logprob(
                hidden,
                head,
                jnp.asarray(targets, jnp.int32),
                vocab_first=vocab_first,
                banned_V=None if banned is None else jnp.asarray(banned),
                **settings,
            )
        )

    head = head_VD if vocab_first else head_VD.T
    results, pull = jax.vjp(call, hidden, head)
    d_hidden, d_head = pull(cotangents)
    assert d_head.dtype == head.dtype
    assert d_hidden.dtype == hidden.dtype
    return results, (d_hidden, d_head if vocab_first else d_head.T)


def check(got, want, tolerance):
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert np.abs(np.asarray(ours, np.float64) - theirs).max() <= tolerance


@pytest.fixture(params=["whole", "pieces"])
def piecewise(request, monkeypatch):
    """The same arrays at once, and in pieces of few tokens and blocks that do not divide V."""
    if request.param == "pieces":
        monkeypatch.setattr(xla, "LOGITS_BYTES", 4 * B * V * 3)  # 3 tokens; blocks of 13 of 50


@pytest.mark.parametrize("vocab_first", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", NAMES)
def test_results_and_gradients_match_float64(name, temperature, vocab_first, piecewise):
    hidden, head, targets, banned, cotangents = inputs()
    want, want_grads = dense(hidden, head, targets, temperature, banned, cotangents)
    got, grads = run(
        hidden,
        head,
        targets,
        banned,
        cotangents,
        vocab_first=vocab_first,
        temperature=temperature,
        implementation=name,
    )
    check(got, want, 1e-5)
    check(grads, want_grads, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_float64_is_exact(name, piecewise):
    with jax.enable_x64(True):
        hidden, head, targets, banned, cotangents = inputs(dtype=jnp.float64)
        cotangents = tuple(g.astype(jnp.float64) for g in cotangents)
        want, want_grads = dense(hidden, head, targets, 1.3, banned, cotangents)
        got, grads = run(
            hidden, head, targets, banned, cotangents, temperature=1.3, implementation=name
        )
        check((got, grads), (want, want_grads), 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_sums_in_float32(name, piecewise):
    """Many tokens of one sign: a bfloat16 sum would stop growing at 256 times a term."""
    hidden, head, targets, banned, cotangents = inputs(dtype=jnp.bfloat16, tokens=600, width=16)
    cotangents = (jnp.ones_like(cotangents[0]), *(jnp.zeros_like(g) for g in cotangents[1:]))
    targets = np.full_like(targets, 7)
    want, (d_hidden, d_head) = dense(hidden, head, targets, 1.0, banned, cotangents)
    got, grads = run(hidden, head, targets, banned, cotangents, implementation=name)
    check(got, want, 1e-3)
    for ours, theirs in zip(grads, (d_hidden, d_head), strict=True):
        error = np.linalg.norm(np.asarray(ours, np.float64) - theirs)
        assert error <= 1e-2 * np.linalg.norm(theirs)


def test_nan_where_nobody_asks_stays_there(piecewise):
    hidden, head, targets, banned, cotangents = inputs()
    cotangents = tuple(g.at[:, 8:].set(0.0) for g in cotangents)
    clean = run(hidden, head, targets, banned, cotangents, implementation="xla")[1]
    _, grads = run(
        hidden.at[:, 8:].set(jnp.nan), head, targets, banned, cotangents, implementation="xla"
    )
    check(grads, jax.tree.map(np.asarray, clean), 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_banned_target_has_no_probability(name):
    hidden, head, targets, banned, _ = inputs()
    targets[0, 0] = 1
    got = linear_logprob(
        hidden,
        head,
        jnp.asarray(targets),
        vocab_first=True,
        banned_V=jnp.asarray(banned),
        implementation=name,
    )
    assert got.logprob[0, 0] == -jnp.inf
    assert np.isfinite(np.asarray(got.logprob).ravel()[1:]).all()
    assert np.isfinite(got.entropy).all()
    kept = head[3:]
    same = linear_logprob(
        hidden, kept, jnp.asarray(targets) - 3, vocab_first=True, implementation=name
    )
    check((got.lse, got.entropy), (np.asarray(same.lse), np.asarray(same.entropy)), 1e-6)


@pytest.mark.parametrize(("fsdp", "tensor"), [(4, 2), (1, 8)])
@pytest.mark.parametrize("vocab_first", [True, False])
def test_a_split_vocabulary_changes_nothing(fsdp, tensor, vocab_first, monkeypatch):
    monkeypatch.setattr(xla, "LOGITS_BYTES", 4 * 24 * 2)
    hidden, head, targets, banned, cotangents = inputs(rows=4, tokens=6, vocab=48)
    want, want_grads = dense(hidden, head, targets, 1.0, banned, cotangents)
    mesh = make_mesh(fsdp=fsdp, tensor=tensor)
    place = lambda x, *spec: jax.device_put(x, jax.NamedSharding(mesh, jax.P(*spec)))  # noqa: E731

    @jax.jit
    def compiled(hidden, head, cotangents):
        return run(
            hidden,
            head,
            targets,
            banned,
            cotangents,
            vocab_first=vocab_first,
            vocab_shards=tensor,
            num_shards=8,
        )

    cotangents = tuple(place(g, "fsdp") for g in cotangents)
    args = (place(hidden, "fsdp"), place(head, "tensor"), cotangents)
    check(compiled(*args), (want, want_grads), 1e-5)
    assert "f32[4,6,48]" not in str(compiled.lower(*args).compile().as_text())  # all the logits


@pytest.mark.parametrize("vocab_first", [True, False])
def test_memory_stays_far_below_the_logits(vocab_first):
    """Compiled only: float32 logits of 16,384 tokens x 65,536 entries would be 4.3 GB."""
    rows, tokens, vocab, width = 8, 2048, 65_536, 64
    hidden = jax.ShapeDtypeStruct((rows, tokens, width), jnp.float32)
    head = jax.ShapeDtypeStruct((vocab, width) if vocab_first else (width, vocab), jnp.float32)
    targets = jax.ShapeDtypeStruct((rows, tokens), jnp.int32)

    def loss(hidden, head, targets):
        got = linear_logprob(hidden, head, targets, vocab_first=vocab_first)
        return (got.logprob + got.entropy).sum()

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(hidden, head, targets).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    print(f"temp {memory.temp_size_in_bytes / 2**20:.0f} MiB")
    assert memory.temp_size_in_bytes <= 4.5 * xla.LOGITS_BYTES  # a sixth of the logits


def test_what_does_not_fit_is_refused():
    hidden, head, targets, banned, _ = inputs()
    targets = jnp.asarray(targets)
    with pytest.raises(ValueError, match=r"head \[D, V\] of shape \(50, 6\) does not fit width 6"):
        linear_logprob(hidden, head, targets, vocab_first=False)
    with pytest.raises(ValueError, match=r"targets have shape \(2, 10\)"):
        linear_logprob(hidden, head, targets[:, 1:], vocab_first=True)
    with pytest.raises(ValueError, match="temperature is 0"):
        linear_logprob(hidden, head, targets, vocab_first=True, temperature=0.0)
    with pytest.raises(ValueError, match=r"banned entries has shape \(49,\)"):
        linear_logprob(hidden, head, targets, vocab_first=True, banned_V=jnp.asarray(banned[1:]))
    with pytest.raises(ValueError, match="vocabulary of 50 does not divide into 4"):
        linear_logprob(hidden, head, targets, vocab_first=True, vocab_shards=4)
    with pytest.raises(ValueError, match="'cuda' is none of"):
        linear_logprob(hidden, head, targets, vocab_first=True, implementation="cuda")
