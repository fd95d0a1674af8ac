"""The TPU kernels, interpreted on the CPU with races looked for, against float64.

The interpreter compiles slowly and runs fast, so each set of shapes is traced once and the masks,
which are data, go through the same program. Keys nobody sees and queries that see nothing hold
NaN in every run.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_kernels.attention import AttentionOutput, Call, range_attention, tpu
from onevision_kernels.attention.tpu_blocks import Blocks, Settings
from onevision_kernels.target import Target, interpreting

GROUPED = {"B": 2, "T": 136, "S": 136, "N": 4, "K": 2, "H": 128, "dtype": "float32"}
VISION = {"B": 1, "T": 136, "S": 136, "N": 2, "K": 2, "H": 80, "dtype": "bfloat16"}
CROSS = {"B": 1, "T": 70, "S": 130, "N": 2, "K": 1, "H": 32, "dtype": "float32"}


class Arrays(NamedTuple):
    q: Any
    k: Any
    v: Any
    d_out: Any
    d_lse: Any


class Results(NamedTuple):
    out: Any
    lse: Any
    q: Any
    k: Any
    v: Any


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks that do not divide the lengths; the two directions differ."""

    def settings(call):
        if call.num_heads == GROUPED["N"]:
            return Settings(forward=Blocks(64, 64, 64), backward=Blocks(64, 64, 64))
        return Settings(
            forward=Blocks(query=64, key=64, key_step=32, kv_heads=call.num_kv_heads),
            backward=Blocks(query=32, key=64, key_step=64, kv_heads=call.num_kv_heads),
        )

    monkeypatch.setattr(tpu, "settings_for", settings)


def arrays(B, T, S, N, K, H, dtype, seed=0) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes = (B, T, N, H), (B, S, K, H), (B, S, K, H), (B, T, N, H), (B, T, N)
    drawn = [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
    return Arrays(*drawn[:4], d_lse=drawn[4].astype(jnp.float32))


def mask(ranges, S, causal):
    """bool [B, T, S]."""
    key = np.arange(S)
    a0, a1, b0, b1 = (ranges[..., n, None] for n in range(4))
    seen = ((key >= a0) & (key < a1)) | ((key >= b0) & (key < b1))
    return seen & (key <= np.arange(ranges.shape[1])[:, None]) if causal else seen


def hide(x: Arrays, ranges, causal, value) -> Arrays:
    """`value` where it must not matter: keys nobody sees, queries that see nothing."""
    seen = mask(ranges, x.k.shape[1], causal)
    asks, asked = seen.any(2)[..., None, None], seen.any(1)[..., None, None]
    q, d_out = (jnp.where(asks, a, value) for a in (x.q, x.d_out))
    k, v = (jnp.where(asked, a, value) for a in (x.k, x.v))
    return Arrays(q, k, v, d_out, jnp.where(asks[..., 0], x.d_lse, value))


def exact(x: Arrays, ranges, causal) -> Results:
    """Dense attention and its gradients in float64."""
    q, k, v, d_out, d_lse = (np.asarray(a, np.float64) for a in hide(x, ranges, causal, 0.0))
    G = q.shape[2] // k.shape[2]
    k, v = (np.repeat(a, G, axis=2) for a in (k, v))
    seen = mask(ranges, k.shape[1], causal)[:, None]
    scale = q.shape[-1] ** -0.5
    scores = np.where(seen, np.einsum("btnh,bsnh->bnts", q, k) * scale, -np.inf)
    top = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = weights.sum(-1, keepdims=True)
    probs = weights / np.where(total > 0, total, 1)
    with np.errstate(divide="ignore"):
        lse = np.where(total > 0, np.log(total) + np.where(np.isfinite(top), top, 0), -np.inf)
    out = np.einsum("bnts,bsnh->btnh", probs, v)
    d_probs = np.einsum("btnh,bsnh->bnts", d_out, v)
    own = (d_out * out).sum(-1) - d_lse
    d_scores = probs * (d_probs - own.transpose(0, 2, 1)[..., None]) * scale

    def grouped(a):
        B, S, N, H = a.shape
        return a.reshape(B, S, N // G, G, H).sum(3)

    d_q = np.einsum("bnts,bsnh->btnh", d_scores, k)
    d_k = grouped(np.einsum("bnts,btnh->bsnh", d_scores, q))
    d_v = grouped(np.einsum("bnts,btnh->bsnh", probs, d_out))
    return Results(out, lse[..., 0].transpose(0, 2, 1), d_q, d_k, d_v)


@functools.cache
def program(name: str, causal: bool):
    def both(x: Arrays, ranges):
        def attend(q, k, v):
            return range_attention(q, k, v, ranges, causal=causal, implementation=name)

        found, pull = jax.vjp(attend, x.q, x.k, x.v)
        return Results(*found, *pull(AttentionOutput(x.d_out, x.d_lse)))

    return jax.jit(both)


def run(x: Arrays, ranges, causal=False, name="tpu") -> Results:
    if name != "tpu":
        return program(name, causal)(x, jnp.asarray(ranges))
    with interpreting("tpu", detect_races=True):
        found = program(name, causal)(x, jnp.asarray(ranges))
        return Results(*(np.asarray(a, np.float32) for a in found))


def check(got: Results, want: Results, forward: float, gradients: float):
    """Largest errors, by name."""
    assert (np.isfinite(got.lse) == np.isfinite(want.lse)).all(), "lse"
    for name, limit in zip(Results._fields, [forward] * 2 + [gradients] * 3, strict=True):
        a, b = (np.nan_to_num(getattr(r, name), neginf=0, nan=np.inf) for r in (got, want))
        assert np.abs(a - b).max() <= limit, name


def stacked(*rows):
    return np.stack([np.asarray(row, np.int32) for row in rows])


def segments(*sizes, T=136, causal=True):
    """Rows packed with segments of these sizes, the rest seeing nothing."""
    ranges, start = np.zeros((T, 4), np.int32), 0
    for size in sizes:
        for t in range(start, start + size):
            ranges[t, :2] = (start, t + 1 if causal else start + size)
        start += size
    return ranges


def shared_prompt(prompt, *answers, T=136):
    """[prompt | answers]: each answer sees the prompt and, up to itself, its own tokens."""
    ranges = segments(prompt, *answers, T=T)
    ranges[prompt : prompt + sum(answers), 2:] = ranges[prompt : prompt + sum(answers), :2]
    ranges[prompt : prompt + sum(answers), :2] = (0, prompt)
    return ranges


def scattered(B, T, S, seed):
    """Random disjoint pairs of ranges, some empty, some alike in a whole block."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, S + 1, (B, T, 4)), axis=-1)
    cuts[:, ::5, :2] = 0
    cuts[:, ::7] = 0
    cuts[:, 64:128] = (0, min(S, 128), 0, 0)
    return cuts.astype(np.int32)


MASKS = {
    "two ranges": scattered(2, 136, 136, 0),
    "packed": stacked(segments(1, 65, 63), segments(136)),
    "prompts": stacked(shared_prompt(50, 30, 1, 29), shared_prompt(64, 36, 36)),
    "windows": stacked(segments(*range(4, 17), causal=False), segments(64, 60, 5, causal=False)),
}


@pytest.mark.parametrize("name", MASKS)
def test_grouped_heads_match_float64(name):
    x = arrays(**GROUPED)
    got = run(hide(x, MASKS[name], False, jnp.nan), MASKS[name])
    check(got, exact(x, MASKS[name], False), 1e-5, 1e-4)


@pytest.mark.parametrize("ranges", [scattered(1, 136, 136, 3), segments(136, T=136)[None]])
def test_bfloat16_is_as_exact_as_xla(ranges):
    """Head width 80, several kv heads in a step, and the causal flag."""
    x = arrays(**VISION)
    want = exact(x, ranges, True)
    got = run(hide(x, ranges, True, jnp.nan), ranges, causal=True)
    other = run(hide(x, ranges, True, 0.0), ranges, causal=True, name="xla")
    assert (np.isfinite(got.lse) == np.isfinite(want.lse)).all()
    seen = np.isfinite(want.lse)
    assert np.abs(got.lse[seen] - want.lse[seen]).max() <= 2e-3
    assert np.abs(got.out - want.out).max() <= 2e-2
    for field in ("out", "q", "k", "v"):
        a, b, c = (np.asarray(getattr(r, field), np.float64) for r in (got, want, other))
        error, xla_error = (np.sqrt(((y - b) ** 2).mean()) for y in (a, c))
        size = np.sqrt((b**2).mean())
        assert error <= size * (4e-3 if field == "out" else 1e-2), field
        assert error <= 1.5 * xla_error, field


def test_more_keys_than_queries():
    ranges = scattered(1, 70, 130, 5)
    x = arrays(**CROSS)
    check(run(hide(x, ranges, False, jnp.nan), ranges), exact(x, ranges, False), 1e-5, 1e-4)


def test_other_segments_do_not_change_a_single_bit():
    """Outputs and gradients of a segment; and a second run is the same bit for bit."""
    ranges = stacked(segments(30, 60, 46), segments(30, 60, 46))
    x = arrays(**GROUPED)
    y = Arrays(*(a.at[:, 30:90].multiply(-3.0) for a in x))
    first, again, other = run(x, ranges), run(x, ranges), run(y, ranges)
    for name, a, b, c in zip(Results._fields, first, again, other, strict=True):
        assert (a == b).all(), name
        assert (a[:, :30] == c[:, :30]).all(), name
        assert (a[:, 90:] == c[:, 90:]).all(), name
        assert (a[:, 30:90] != c[:, 30:90]).any(), name


def test_gradients_of_a_shared_prompt_are_those_of_repeated_prompts():
    prompt, answers = 60, (40, 36)
    x = arrays(**GROUPED)
    once = run(x, stacked(shared_prompt(prompt, *answers), np.zeros((136, 4))))
    assert not any(np.asarray(a)[1].any() for a in (once.out, once.q, once.k, once.v))
    assert (once.lse[1] == -np.inf).all(), "a row that sees nothing"
    # Row r of the second batch: the prompt and answer r; what flows into the prompt is halved.
    spans = (60, 100), (100, 136)

    def repeat(a, share):
        rows = [jnp.concatenate([a[0, :60] * share, a[0, lo:hi]]) for lo, hi in spans]
        return jnp.stack([jnp.pad(r, [(0, 136 - len(r))] + [(0, 0)] * (r.ndim - 1)) for r in rows])

    y = Arrays(*(repeat(a, 0.5 if n > 2 else 1.0) for n, a in enumerate(x)))
    twice = run(y, stacked(*(segments(prompt + size) for size in answers)))
    for name in ("q", "k", "v"):
        a, b = getattr(once, name)[0], getattr(twice, name)
        limit = 1e-5 * np.abs(a).max()
        assert np.abs(a[:60] - b[:, :60].sum(0)).max() <= limit, name
        for row, (lo, hi) in enumerate(spans):
            assert np.abs(a[lo:hi] - b[row, 60 : 60 + hi - lo]).max() <= limit, name


def test_declines_in_words():
    call = Call.typical()
    v6e = Target("tpu", "TPU v6 lite")
    assert tpu.refuses(v6e, call) is None
    assert "needs a TPU" in str(tpu.refuses(Target("cpu", "cpu"), call))
    assert "decoding has its own" in str(tpu.refuses(v6e, call._replace(num_queries=1)))
    assert "float16" in str(tpu.refuses(v6e, call._replace(dtype=jnp.dtype("float16"))))
    long = call._replace(num_queries=2**20, num_keys=2**20)
    assert "keys" in str(tpu.refuses(v6e, long))
