"""Every implementation of decode attention against a float64 loop over rows and heads."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_kernels.decode import SharedCache, decode_attention, implementations, xla
from onevision_kernels.decode.merge import Part, merge

NAMES = [name for name, state in implementations().items() if state.startswith(("active", "avail"))]


def loop_decode(q_BTNH, cache: SharedCache, layer):
    """One query at a time in float64: (out, lse)."""
    q = np.asarray(q_BTNH, np.float64)
    pk, pv, ak, av = (
        np.asarray(x[layer], np.float64)
        for x in (cache.prompt_k, cache.prompt_v, cache.answer_k, cache.answer_v)
    )
    (B, T, N, H), (P, K, _, _) = q.shape, pk.shape
    out, lse = np.zeros((B, T, N, H)), np.full((B, T, N), -np.inf)
    for b in range(B):
        prompt = b // (B // P)
        start, stop = np.asarray(cache.bounds)[prompt]
        for t in range(T):
            own = max(int(cache.lengths[b]) - (T - 1 - t), 0)
            keys = np.concatenate([pk[prompt, :, start:stop], ak[b, :, :own]], axis=1)
            values = np.concatenate([pv[prompt, :, start:stop], av[b, :, :own]], axis=1)
            if not keys.shape[1]:
                continue
            for n in range(N):
                scores = keys[n // (N // K)] @ q[b, t, n] / np.sqrt(H)
                lse[b, t, n] = np.log(np.exp(scores - scores.max()).sum()) + scores.max()
                out[b, t, n] = np.exp(scores - lse[b, t, n]) @ values[n // (N // K)]
    return out, lse


def make(P, G, T, S, R, N, K, H, *, dtype=jnp.float32, lengths=None, bounds=None, seed=0, layers=2):
    """Queries and a cache whose unseen slots are NaN."""
    rng = np.random.default_rng(seed)
    B = P * G
    lengths = rng.integers(T, R + 1, B) if lengths is None else np.asarray(lengths)
    if bounds is None:
        bounds = np.stack([rng.integers(0, S // 2 + 1, P), rng.integers(S // 2 + 1, S + 1, P)], 1)
    bounds = np.asarray(bounds)
    slot_S, slot_R = np.arange(S), np.arange(R)
    unseen_PS = (slot_S < bounds[:, :1]) | (slot_S >= bounds[:, 1:])
    unseen_BR = slot_R >= lengths[:, None]

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    def part(unseen):
        x = normal(layers, len(unseen), K, unseen.shape[1], H)
        return jnp.asarray(np.where(unseen[None, :, None, :, None], np.nan, x), dtype)

    q = jnp.asarray(normal(B, T, N, H), dtype)
    cache = SharedCache(
        prompt_k=part(unseen_PS),
        prompt_v=part(unseen_PS),
        bounds=jnp.asarray(bounds, jnp.int32),
        answer_k=part(unseen_BR),
        answer_v=part(unseen_BR),
        lengths=jnp.asarray(lengths, jnp.int32),
    )
    return q, cache


def check(got, want, out_tolerance, lse_tolerance):
    out, lse = (np.asarray(x, np.float64) for x in got)
    seen = np.isfinite(want[1])
    assert np.isfinite(out).all()
    assert (np.isfinite(lse) == seen).all()
    assert np.abs(out - want[0]).max() <= out_tolerance
    assert np.abs(np.where(seen, lse, 0) - np.where(seen, want[1], 0)).max() <= lse_tolerance


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("P", "G", "T", "S", "R", "N", "K", "H"),
    [
        (2, 4, 1, 37, 13, 4, 2, 16),
        (3, 1, 1, 20, 9, 6, 2, 80),
        (1, 8, 1, 65, 33, 7, 1, 128),
        (2, 3, 3, 16, 12, 4, 4, 16),
    ],
)
def test_ragged_answers_match_the_loop(name, P, G, T, S, R, N, K, H):
    q, cache = make(P, G, T, S, R, N, K, H)
    for layer in (0, 1):
        got = decode_attention(q, cache, layer, implementation=name)
        check(got, loop_decode(q, cache, layer), 1e-5, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_answers_and_prompts_may_be_empty(name):
    """Length 0, a prompt without slots, both at once (zeros, -inf), one slot, all slots."""
    bounds = [[0, 0], [3, 9], [8, 9]]
    q, cache = make(3, 2, 1, 9, 7, 4, 2, 16, lengths=[0, 3, 0, 7, 1, 0], bounds=bounds)
    got = decode_attention(q, cache, 1, implementation=name)
    check(got, loop_decode(q, cache, 1), 1e-5, 1e-5)
    assert not np.asarray(got.out[0]).any()
    assert np.isneginf(got.lse[0]).all()


@pytest.mark.parametrize("longest", [0, 1, 4, 5, 8, 9, 12, 13, 16])
def test_quarters_of_the_room_hold_the_longest_answer(longest, monkeypatch):
    """What lies beyond them is NaN, and shorter answers end in any of them."""
    monkeypatch.setattr(xla, "LEAST_SLOTS", 4)
    lengths = [longest, longest // 2, 0, min(longest, 3)]
    q, cache = make(2, 2, 1, 8, 16, 4, 2, 16, lengths=lengths)
    check(decode_attention(q, cache, 1, implementation="xla"), loop_decode(q, cache, 1), 1e-5, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_within_the_bars(name):
    """kernels.md 6.2: caps on N(0, 1) inputs, and 1.5 x the error of plain attention."""
    q, cache = make(2, 8, 1, 300, 96, 14, 2, 128, dtype=jnp.bfloat16)
    want = loop_decode(q, cache, 0)
    got = decode_attention(q, cache, 0, implementation=name)
    check(got, want, 2e-2, 2e-3)

    def rms(found):
        return np.sqrt(((np.asarray(found, np.float64) - want[0]) ** 2).mean())

    assert rms(got.out) <= 4e-3 * np.sqrt((want[0] ** 2).mean())
    plain = decode_attention(q, cache, 0, implementation="reference")
    assert rms(got.out) <= 1.5 * rms(plain.out)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_sees_its_own_prompt_and_answer_alone(name):
    """Bitwise: other answers, other prompts, other layers and other kv heads change nothing."""
    q, cache = make(2, 3, 1, 24, 10, 4, 2, 16, lengths=[4, 10, 7, 1, 5, 9])
    attend = jax.jit(lambda q, cache: decode_attention(q, cache, 0, implementation=name).out)
    before = np.asarray(attend(q, cache))
    other = SharedCache(
        prompt_k=cache.prompt_k.at[:, 1].multiply(-2).at[1].set(5),
        prompt_v=cache.prompt_v.at[:, 1].add(3).at[1].set(5),
        bounds=cache.bounds,
        answer_k=cache.answer_k.at[:, 1].multiply(-2),
        answer_v=cache.answer_v.at[:, 1].add(3),
        lengths=cache.lengths,
    )
    after = np.asarray(attend(q, other))
    same = [0, 2]
    assert (after[same] == before[same]).all()
    assert (after[[1, 3, 4, 5]] != before[[1, 3, 4, 5]]).any(axis=(1, 2, 3)).all()
    heads = cache._replace(
        prompt_v=cache.prompt_v.at[:, :, 1].add(1), answer_v=cache.answer_v.at[:, :, 1].add(1)
    )
    moved = np.asarray(attend(q, heads))
    assert (moved[:, :, :2] == before[:, :, :2]).all()
    assert (np.abs(moved[:, :, 2:] - before[:, :, 2:] - 1) < 1e-5).all()


def test_parts_merge_to_the_whole():
    """Any cut of the keys, empty parts and far apart peaks included."""
    rng = np.random.default_rng(0)
    scores, values = rng.normal(0, 30, (5, 40)), rng.normal(size=(40, 8))
    parts = []
    for start, stop in ((0, 1), (1, 1), (1, 25), (25, 40)):
        some = scores[:, start:stop]
        peak = some.max(axis=1, initial=-1e30) if stop > start else np.zeros(5)
        weights = np.exp(some - peak[:, None])
        weighted = weights @ values[start:stop]
        parts.append(Part(*(jnp.asarray(x) for x in (weighted, weights.sum(axis=1), peak))))
    out, lse = merge(parts)
    whole = np.exp(scores - scores.max(axis=1, keepdims=True))
    want = whole @ values / whole.sum(axis=1, keepdims=True)
    assert np.abs(np.asarray(out) - want).max() < 1e-5
    assert np.abs(np.asarray(lse) - np.log(whole.sum(axis=1)) - scores.max(axis=1)).max() < 1e-4
    nothing = merge([parts[1]])
    assert not np.asarray(nothing[0]).any()
    assert np.isneginf(nothing[1]).all()


def test_the_prompt_is_never_repeated():
    """Scratch stays below one more copy of the prompt's keys, at 8 answers a prompt."""
    P, G, S, R, N, K, H = 4, 8, 2048, 64, 8, 4, 128

    def array(*shape, dtype=jnp.float32) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    cache = SharedCache(
        array(1, P, K, S, H),
        array(1, P, K, S, H),
        array(P, 2, dtype=jnp.int32),
        array(1, P * G, K, R, H),
        array(1, P * G, K, R, H),
        array(P * G, dtype=jnp.int32),
    )
    prompt_bytes = 2 * P * S * K * H * 4
    temporary = {}
    for name in NAMES:
        step = jax.jit(lambda q, cache, name=name: decode_attention(q, cache, implementation=name))
        memory = step.lower(array(P * G, 1, N, H), cache).compile().memory_analysis()
        assert memory is not None
        temporary[name] = memory.temp_size_in_bytes
    assert temporary["reference"] > 8 * prompt_bytes
    assert temporary["xla"] <= 2 * prompt_bytes


def test_bad_calls_say_what_is_wrong():
    q, cache = make(2, 2, 1, 8, 4, 4, 2, 8)
    with pytest.raises(ValueError, match="3 rows are no whole number of answers to each of 2"):
        decode_attention(q[:3], cache)
    with pytest.raises(ValueError, match="3 query heads cannot share 2 kv heads"):
        decode_attention(q[:, :, :3], cache)
    with pytest.raises(ValueError, match=r"lengths has shape \(2,\), expected \(4,\)"):
        decode_attention(q, cache._replace(lengths=cache.lengths[:2]))
    with pytest.raises(ValueError, match="decode implementation 'paged' is none of"):
        decode_attention(q, cache, implementation="paged")
