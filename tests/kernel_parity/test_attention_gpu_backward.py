"""The backward kernels for Hopper, interpreted on the CPU, against float64 gradients.

What nobody sees is NaN in every test, and races are looked for in every run.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_kernels.attention import gpu_backward_dkv
from onevision_kernels.attention.gpu_backward import attention_backward
from onevision_kernels.attention.gpu_backward_plan import backward_plan
from onevision_kernels.attention.gpu_tiles import TILES, GpuSchedule
from onevision_kernels.attention.schedule import block_schedule
from onevision_kernels.target import interpreting, mosaic_gpu_missing

pytestmark = pytest.mark.skipif(
    mosaic_gpu_missing() is not None, reason=mosaic_gpu_missing() or "runs"
)

STATIC = ("causal", "query_block", "key_block")


def mask_of(ranges, S, causal):
    T, key = ranges.shape[1], np.arange(S)
    a0, a1, b0, b1 = (ranges[:, :, x, None] for x in range(4))
    seen = ((key >= a0) & (key < a1)) | ((key >= b0) & (key < b1))
    return seen & (key <= np.arange(T)[:, None]) if causal else seen


def inputs(seen, N, K, H, dtype="bfloat16", seed=0):
    """q, k, v, d_out, d_lse as float64 of their rounded values; 0 where nothing is seen."""
    rng = np.random.default_rng(seed)
    (B, T), asks, asked = seen.shape[:2], seen.any(axis=2), seen.any(axis=1)

    def rounded(there, heads):
        x = jnp.asarray(rng.standard_normal((*there.shape, heads, H), np.float32)).astype(dtype)
        return np.where(there[:, :, None, None], np.asarray(x, np.float64), 0)

    q, k, v, d_out = (rounded(*x) for x in ((asks, N), (asked, K), (asked, K), (asks, N)))
    d_lse = np.where(asks[:, :, None], rng.standard_normal((B, T, N)), 0)
    return q, k, v, d_out, d_lse


def true_gradients(q, k, v, d_out, d_lse, seen):
    """(lse, delta, (d_q, d_k, d_v)) in float64, dense."""
    N, K, H = q.shape[2], k.shape[2], q.shape[3]
    scale = H**-0.5
    k, v = (np.repeat(x, N // K, axis=2) for x in (k, v))
    scores = np.where(seen[:, None], np.einsum("btnh,bsnh->bnts", q, k) * scale, -np.inf)
    peak = np.maximum(scores.max(axis=-1, keepdims=True), -1e30)
    weights = np.exp(scores - peak)
    total = weights.sum(axis=-1, keepdims=True)
    p = weights / np.where(total > 0, total, 1)
    with np.errstate(divide="ignore"):
        lse = (np.log(total) + peak)[..., 0].transpose(0, 2, 1)
    out = np.einsum("bnts,bsnh->btnh", p, v)
    delta = (out * d_out).sum(axis=-1) - d_lse
    d_p = np.einsum("btnh,bsnh->bnts", d_out, v)
    d_scores = p * (d_p - delta.transpose(0, 2, 1)[..., None]) * scale
    d_q = np.einsum("bnts,bsnh->btnh", d_scores, k)
    d_k, d_v = (
        np.einsum("bnts,btnh->bsnh", x, y).reshape(*k.shape[:2], K, N // K, H).sum(axis=3)
        for x, y in ((d_scores, q), (p, d_out))
    )
    return lse, delta, (d_q, d_k, d_v)


def compiled(ranges, S, H, causal, dtype="bfloat16"):
    """The kernels' gradients as a function of (q, k, v, lse, delta, d_out), and its schedule."""

    blocks = jax.jit(block_schedule, static_argnums=1, static_argnames=STATIC)(
        ranges,
        S,
        causal=causal,
        query_block=TILES.backward_query_block,
        key_block=TILES.backward_key_block,
    )

    @jax.jit
    def run(q, k, v, lse, delta, d_out, ranges, blocks):
        schedule = GpuSchedule(blocks, blocks)
        return attention_backward(
            q, k, v, ranges, schedule, lse, delta, d_out, causal=causal, scale=H**-0.5
        )

    def call(q, k, v, lse, delta, d_out, blocks=blocks):
        q, k, v, d_out = (jnp.asarray(x, jnp.float32).astype(dtype) for x in (q, k, v, d_out))
        lse, delta = (jnp.asarray(x, jnp.float32) for x in (lse, delta))
        with interpreting("gpu", detect_races=True):
            found = run(q, k, v, lse, delta, d_out, jnp.asarray(ranges), blocks)
            return [np.asarray(x, np.float64) for x in found]

    return call, blocks


def poisoned(q, k, v, d_out, delta, seen):
    """NaN wherever nobody looks."""
    asks, asked = seen.any(axis=2), seen.any(axis=1)
    q, d_out = (np.where(asks[:, :, None, None], x, np.nan) for x in (q, d_out))
    k, v = (np.where(asked[:, :, None, None], x, np.nan) for x in (k, v))
    return q, k, v, d_out, np.where(asks[:, :, None], delta, np.nan)


def check(got, want, tolerance=1e-2):
    """Relative rms within tolerance, and exact zeros where the true gradient has them."""
    for one, true in zip(got, want, strict=True):
        assert np.isfinite(one).all()
        assert not one[(true == 0).all(axis=(2, 3))].any()
        assert np.sqrt(((one - true) ** 2).mean() / (true**2).mean()) <= tolerance


def compare(ranges, S, N, K, H, causal, dtype="bfloat16"):
    """One run against float64; returns what a second run needs and the gradients."""
    seen = mask_of(ranges, S, causal)
    q, k, v, d_out, d_lse = inputs(seen, N, K, H, dtype)
    lse, delta, want = true_gradients(q, k, v, d_out, d_lse, seen)
    q, k, v, d_out, delta = poisoned(q, k, v, d_out, delta, seen)
    run, blocks = compiled(ranges, S, H, causal, dtype)
    got = run(q, k, v, lse, delta, d_out)
    check(got, want)
    return run, blocks, (q, k, v, lse, delta, d_out), got


def packed(*lengths, padding=0):
    """Ranges [1, T, 4] of segments one after another, then positions that see nothing."""
    stops = np.cumsum(lengths)
    rows = np.zeros((1, stops[-1] + padding, 4), np.int32)
    rows[0, : stops[-1], 0] = np.repeat(stops - lengths, lengths)
    rows[0, : stops[-1], 1] = np.repeat(stops, lengths)
    return rows


def test_packed_segments_are_exact_deterministic_and_isolated(monkeypatch):
    """Lengths 1, 63, 64, 65 and padding, grouped heads summed in registers."""
    summing = dataclasses.replace(gpu_backward_dkv.TILES, programs=0)
    monkeypatch.setattr(gpu_backward_dkv, "TILES", summing)
    ranges = packed(1, 63, 64, 65, padding=30)
    run, _, arrays, got = compare(ranges, 223, 4, 2, 128, True)
    again = run(*arrays)
    for one, other in zip(got, again, strict=True):
        assert (one == other).all()

    third = slice(64, 128)
    q, k, v, lse, delta, d_out = (x.copy() for x in arrays)
    for x in (q, k, v, lse, delta, d_out):
        x[:, third] *= 0.5
    changed = run(q, k, v, lse, delta, d_out)
    for one, other in zip(got, changed, strict=True):
        assert (np.delete(one, third, axis=1) == np.delete(other, third, axis=1)).all()
        assert (one[:, third] != other[:, third]).any()


def test_vision_windows_of_width_80_and_blocks_left_out_by_the_schedule():
    """What the schedule leaves out is not computed: its obedient gradient is 0, the rest stays."""
    ranges = packed(64, 4, 28, 32, 16, 63, 33, padding=7)
    run, blocks, arrays, (d_q, d_k, d_v) = compare(ranges, 247, 2, 2, 80, False)
    without = blocks._replace(
        key_spans=blocks.key_spans.at[:, 0].set(0), query_spans=blocks.query_spans.at[:, 0].set(0)
    )
    cut_q, cut_k, cut_v = run(*arrays, blocks=without)
    first = slice(0, 64)
    for cut, whole in ((cut_q, d_q), (cut_k, d_k), (cut_v, d_v)):
        assert whole[:, first].any()
        assert not cut[:, first].any()
        assert (cut[:, 64:] == whole[:, 64:]).all()


def test_two_ranges_over_other_keys_in_float16():
    """Queries and keys of different number, some queries with one range or none, two rows."""
    cuts = np.sort(np.random.default_rng(0).integers(0, 191, (2, 70, 4)), axis=-1)
    cuts[:, ::5, :2] = 0
    cuts[:, ::7] = 0
    compare(cuts.astype(np.int32), 200, 2, 1, 128, False, "float16")


def test_a_shared_prompt_has_the_gradients_of_a_repeated_one():
    """[prompt 70 | answers of 60 and 50] in one row, its plan made ahead; twice in true float64."""
    prompt, answers = 70, (60, 50)
    T = prompt + sum(answers)
    shared = packed(prompt, *answers)
    shared[0, prompt:, 2:] = shared[0, prompt:, :2]
    shared[0, prompt:, :2] = 0, prompt
    seen = mask_of(shared, T, True)
    q, k, v, d_out, d_lse = inputs(seen, 2, 1, 128)
    want = [np.zeros_like(x) for x in (q, k, v)]
    lse, delta = np.zeros((1, T, 2)), np.zeros((1, T, 2))
    first = prompt
    for g, length in enumerate(answers):
        place = np.r_[:prompt, first : first + length]
        alone = [x[:, place] for x in (q, k, v, d_out, d_lse)]
        if g:  # Only one of the repeated prompts is trained on.
            for x in alone[3:]:
                x[:, :prompt] = 0
        row = mask_of(packed(len(place)), len(place), True)
        lse[:, place], deltas, gradients = true_gradients(*alone, seen=row)
        delta[:, place] += deltas
        for total, part in zip(want, gradients, strict=True):
            total[:, place] += part
        first += length
    run, blocks = compiled(shared, T, 128, True)
    plan = jax.jit(functools.partial(backward_plan, num_keys=T, causal=True))(shared, blocks)
    check(run(q, k, v, lse, delta, d_out, blocks=plan), want)
