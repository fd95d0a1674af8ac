"""Every implementation of range attention against a float64 loop over queries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_kernels.attention import (
    cache_ranges,
    implementations,
    range_attention,
    segment_bounds,
    segment_ranges,
    xla,
)

# What runs on this machine; the kernels for accelerators have tests of their own.
NAMES = sorted(n for n, state in implementations().items() if state.startswith(("av", "ac")))


def loop_attention(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal):
    """One query at a time in float64: (out, lse)."""
    q, k, v = (np.asarray(x, np.float64) for x in (q_BTNH, k_BSKH, v_BSKH))
    B, T, N, H = q.shape
    group = N // k.shape[2]
    out, lse = np.zeros((B, T, N, H)), np.full((B, T, N), -np.inf)
    for b in range(B):
        for t in range(T):
            a0, a1, b0, b1 = ranges_BT4[b, t]
            keys = [*range(a0, a1), *range(b0, b1)]
            keys = [s for s in keys if not causal or s <= t]
            if not keys:
                continue
            for n in range(N):
                scores = k[b, keys, n // group] @ q[b, t, n] / np.sqrt(H)
                lse[b, t, n] = np.log(np.exp(scores - scores.max()).sum()) + scores.max()
                out[b, t, n] = np.exp(scores - lse[b, t, n]) @ v[b, keys, n // group]
    return out, lse


def inputs(B, T, S, N, K, H, seed=0):
    rng = np.random.default_rng(seed)
    q = rng.standard_normal((B, T, N, H), np.float32)
    k = rng.standard_normal((B, S, K, H), np.float32)
    v = rng.standard_normal((B, S, K, H), np.float32)
    return jnp.asarray(q), jnp.asarray(k), jnp.asarray(v)


def two_ranges(B, T, S, seed=0):
    """Random disjoint pairs of ranges, some empty."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, S + 1, (B, T, 4)), axis=-1)
    cuts[:, ::5, :2] = 0
    cuts[:, ::7] = 0
    return cuts.astype(np.int32)


def check(got, want, tolerance):
    assert np.abs(np.asarray(got) - want).max() <= tolerance


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("T", "S", "N", "K", "H", "causal"),
    [
        (9, 9, 4, 2, 16, True),
        (7, 20, 6, 2, 80, False),
        (1, 33, 3, 1, 16, False),
        (5, 5, 2, 2, 8, True),
    ],
)
def test_two_ranges_match_the_loop(name, T, S, N, K, H, causal):
    q, k, v = inputs(2, T, S, N, K, H)
    ranges = two_ranges(2, T, S)
    want_out, want_lse = loop_attention(q, k, v, ranges, causal)
    out, lse = range_attention(q, k, v, jnp.asarray(ranges), causal=causal, implementation=name)
    check(out, want_out, 1e-5)
    seen = np.isfinite(want_lse)
    assert (np.isfinite(lse) == seen).all()
    check(np.where(seen, lse, 0), np.where(seen, want_lse, 0), 1e-5)


@pytest.mark.parametrize("length", [1, 63, 64, 65])
@pytest.mark.parametrize("name", NAMES)
def test_packed_segments_match_the_loop(name, length):
    ids = np.repeat([3, 1, 2, 0], length)[None]
    q, k, v = inputs(1, 4 * length, 4 * length, 2, 1, 16)
    ranges = segment_ranges(jnp.asarray(ids))
    want, _ = loop_attention(q, k, v, np.asarray(ranges), True)
    out = range_attention(q, k, v, ranges, causal=True, implementation=name).out
    check(out, want, 1e-5)
    assert not np.asarray(out)[ids == 0].any()


@pytest.mark.parametrize("name", NAMES)
def test_other_segments_do_not_change_a_single_bit(name):
    ids = jnp.asarray(np.repeat([1, 2, 3], [10, 13, 9])[None])
    q, k, v = inputs(1, 32, 32, 4, 2, 16)
    attend = jax.jit(
        lambda q, k, v: (
            range_attention(q, k, v, segment_ranges(ids), causal=True, implementation=name).out
        )
    )
    before = np.asarray(attend(q, k, v))
    q2, k2, v2 = (x.at[:, 10:23].multiply(-3.0) for x in (q, k, v))
    after = np.asarray(attend(q2, k2, v2))
    assert (before[:, :10] == after[:, :10]).all()
    assert (before[:, 23:] == after[:, 23:]).all()
    assert (before[:, 10:23] != after[:, 10:23]).any()


@pytest.mark.parametrize("name", NAMES)
def test_nan_in_padding_stays_there(name):
    ids = jnp.asarray([[1, 1, 1, 2, 2, 0, 0]])
    q, k, v = inputs(1, 7, 7, 2, 1, 16)
    q, k, v = (x.at[:, 5:].set(jnp.nan) for x in (q, k, v))

    def loss(q, k, v):
        out = range_attention(q, k, v, segment_ranges(ids), causal=True, implementation=name).out
        return (out * out).sum()

    value, grads = jax.value_and_grad(loss, argnums=(0, 1, 2))(q, k, v)
    assert np.isfinite(value)
    for grad in grads:
        assert np.isfinite(grad).all()
        assert not np.asarray(grad)[:, 5:].any()


def test_query_blocks_equal_the_dense_form(monkeypatch):
    """Beyond the limit, in blocks that do not divide the length; values and gradients."""
    monkeypatch.setattr(xla, "DENSE_LIMIT", 16)
    monkeypatch.setattr(xla, "QUERY_BLOCK", 24)
    q, k, v = inputs(2, 70, 70, 4, 2, 16)
    ranges = jnp.asarray(two_ranges(2, 70, 70))

    def loss(name):
        def value(q, k, v):
            out, lse = range_attention(q, k, v, ranges, causal=True, implementation=name)
            return (out**2).sum() + jnp.where(jnp.isfinite(lse), lse, 0.0).sum()

        return jax.value_and_grad(value, argnums=(0, 1, 2))(q, k, v)

    (want, want_grads), (got, got_grads) = loss("reference"), loss("xla")
    check(got, want, 1e-3)
    for got_grad, want_grad in zip(got_grads, want_grads, strict=True):
        check(got_grad, want_grad, 1e-4)


@pytest.mark.parametrize("last", [1, 37, 64])
def test_window_blocks_equal_the_dense_form(last):
    """A promised span cuts the keys a block meets, and nothing else."""
    sizes = [64, 16, 4, 64, 28, 64, 64, 64, 48, 64, 64, 4, 64, 64, last]
    ids = jnp.asarray(np.repeat(np.arange(len(sizes)) + 1, sizes)[None])
    T = ids.shape[1]
    assert T > xla.WINDOW_BLOCK + 2 * 64
    q, k, v = inputs(1, T, T, 2, 2, 16)
    ranges = segment_ranges(ids)
    dense = range_attention(q, k, v, ranges, implementation="reference")
    cut = range_attention(q, k, v, ranges, max_span=64, implementation="xla")
    check(cut.out, dense.out, 1e-5)
    check(cut.lse, dense.lse, 1e-5)


def test_long_rows_never_hold_all_scores():
    """T = 8192: the compiled program's scratch stays far below one T x T array per head."""
    T, N = 8192, 2
    q = jax.ShapeDtypeStruct((1, T, N, 16), jnp.float32)
    ranges = jax.ShapeDtypeStruct((1, T, 4), jnp.int32)

    def loss(q, k, v, ranges):
        return range_attention(q, k, v, ranges, causal=True, implementation="xla").out.sum()

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(q, q, q, ranges).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < T * T * 4 * N / 3


def test_bounds_of_segments():
    starts, stops = segment_bounds(jnp.asarray([[7, 7, 7, 2, 0, 0], [1, 2, 2, 2, 2, 3]]))
    assert starts.tolist() == [[0, 0, 0, 3, 4, 4], [0, 1, 1, 1, 1, 5]]
    assert stops.tolist() == [[3, 3, 3, 4, 6, 6], [1, 5, 5, 5, 5, 6]]
    assert segment_ranges(jnp.zeros((2, 0), jnp.int32)).shape == (2, 0, 4)


def test_cache_ranges_see_up_to_their_own_slot():
    ranges = cache_ranges(jnp.asarray([0, 6]), jnp.int32(5), 2)
    assert ranges[0].tolist() == [[0, 6, 0, 0], [0, 7, 0, 0]]
    assert ranges[1].tolist() == [[6, 6, 0, 0], [6, 7, 0, 0]]


def test_grouped_heads_must_be_told_apart():
    """Fails for an implementation that ignores which kv head a query head uses."""
    q, k, v = inputs(1, 6, 6, 4, 2, 16)
    ranges = segment_ranges(jnp.ones((1, 6), jnp.int32))
    for name in NAMES:
        out = np.asarray(range_attention(q, k, v, ranges, implementation=name).out)
        swapped = range_attention(q, k[:, :, ::-1], v[:, :, ::-1], ranges, implementation=name).out
        assert np.abs(out - np.asarray(swapped)).max() > 0.1


def test_bad_calls_say_what_is_wrong():
    q, k, v = inputs(1, 4, 4, 3, 2, 8)
    ranges = segment_ranges(jnp.ones((1, 4), jnp.int32))
    with pytest.raises(ValueError, match="3 query heads cannot share 2 kv heads"):
        range_attention(q, k, v, ranges)
    with pytest.raises(ValueError, match="'flash' is none of"):
        range_attention(q, k[:, :, :1], v[:, :, :1], ranges, implementation="flash")
    with pytest.raises(ValueError, match="as many keys as queries"):
        range_attention(q[:, :2], k[:, :, :1], v[:, :, :1], ranges[:, :2], causal=True)
