"""Range attention for Hopper in Mosaic GPU's interpreter, races looked for, against float64."""

import functools
import importlib.util
import itertools
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_kernels.attention import (
    Call,
    gpu,
    implementations,
    range_attention,
    segment_ranges,
)
from onevision_kernels.attention.gpu import refuses
from onevision_kernels.attention.gpu_tiles import GpuSchedule
from onevision_kernels.attention.schedule import BlockSchedule
from onevision_kernels.target import Target, interpreting, mosaic_gpu_missing

interpreted = pytest.mark.skipif(mosaic_gpu_missing() is not None, reason=str(mosaic_gpu_missing()))
H200 = Target("gpu", "NVIDIA H200")


def reference(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal):
    """(out, lse) in float64; arrays that hold NaN do so where nobody looks."""
    q, k, v = (np.nan_to_num(np.asarray(x, np.float64)) for x in (q_BTNH, k_BSKH, v_BSKH))
    (T, N, H), (S, K) = q.shape[1:], k.shape[1:3]
    k, v = (np.repeat(x, N // K, axis=2) for x in (k, v))
    a0, a1, b0, b1 = (np.asarray(ranges_BT4)[:, None, :, x, None] for x in range(4))
    key = np.arange(S)
    seen = ((key >= a0) & (key < a1)) | ((key >= b0) & (key < b1))
    if causal:
        seen = seen & (key <= np.arange(T)[:, None])
    scores = np.where(seen, np.einsum("BTNH,BSNH->BNTS", q, k) / np.sqrt(H), -np.inf)
    peak = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(peak), peak, 0.0))
    total = weights.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (np.log(total) + peak)[..., 0].transpose(0, 2, 1)
    weights = weights / np.where(total > 0, total, 1.0)
    return np.einsum("BNTS,BSNH->BTNH", weights, v), lse


def inputs(B, T, S, N, K, H, dtype=jnp.bfloat16, seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((B, T, N, H), (B, S, K, H), (B, S, K, H))
    q, k, v = (jnp.asarray(rng.standard_normal(shape, np.float32), dtype) for shape in shapes)
    return q, k, v


def attend(q, k, v, ranges, causal, implementation="gpu"):
    """Compiled and run; a race fails."""
    if implementation != "gpu":
        return range_attention(q, k, v, ranges, causal=causal, implementation=implementation)
    with interpreting("gpu", detect_races=True):
        run = jax.jit(
            lambda q, k, v, ranges: range_attention(
                q, k, v, ranges, causal=causal, implementation="gpu"
            )
        )
        found = jax.block_until_ready(run(q, k, v, ranges))
    assert not races_found()
    return found


def races_found() -> bool:
    from jax._src.pallas.mosaic_gpu.interpret import interpret_pallas_call

    return interpret_pallas_call.get_races().races_found


def rms(x):
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))


def packed(*lengths, padding=0):
    """Ranges of segments of these lengths, then padding that sees nothing."""
    ids = np.repeat(np.arange(len(lengths)) + 1, lengths)
    return segment_ranges(jnp.asarray(np.pad(ids, (0, padding))[None]))


def grpo_row(prompt, *answers):
    """[prompt | answers]: an answer sees the prompt and itself."""
    starts = prompt + np.cumsum((0, *answers))
    rows = [(0, prompt, 0, 0)] * prompt
    for start, stop in itertools.pairwise(starts):
        rows += [(0, prompt, start, stop)] * (stop - start)
    return jnp.asarray(np.array(rows, np.int32)[None])


def random_pairs(T, S, seed=0):
    """Disjoint pairs of ranges in either order, some empty."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, S + 1, (1, T, 4)), axis=-1).astype(np.int32)
    cuts[:, ::3] = cuts[:, ::3][..., [2, 3, 0, 1]]
    cuts[:, ::5, :2] = 0
    cuts[:, ::7, 2:] = 0
    return jnp.asarray(cuts)


def empty_ends():
    """384 tokens of which only the middle block sees anything."""
    ids = np.zeros((1, 384), np.int32)
    ids[:, 130:250] = 1
    return segment_ranges(jnp.asarray(ids))


CASES = {
    # name: (ranges, number of keys, N, K, H, dtype, causal)
    "packed": (packed(1, 63, 64, 65, padding=18), None, 2, 1, 128, "bfloat16", True),
    "one segment": (packed(320), None, 1, 1, 128, "bfloat16", True),
    "windows": (packed(64, 64, 4, 32, 16, 64, 28, 8), None, 1, 1, 80, "bfloat16", False),
    "whole images": (packed(200, 120), None, 1, 1, 80, "float16", False),
    "shared prompt": (grpo_row(100, 60, 90, 23), None, 1, 1, 128, "bfloat16", True),
    "two ranges": (random_pairs(130, 300), 300, 2, 1, 80, "bfloat16", False),
    "empty blocks": (empty_ends(), None, 1, 1, 128, "bfloat16", True),
}


@interpreted
@pytest.mark.parametrize("name", CASES)
def test_forward_is_as_close_to_float64_as_xla(name):
    """kernels.md 6.2. What nobody sees holds NaN."""
    ranges, S, N, K, H, dtype, causal = CASES[name]
    T = ranges.shape[1]
    q, k, v = inputs(1, T, S or T, N, K, H, dtype)
    q, k, v = unseen_to_nan(q, k, v, ranges, causal)
    want, want_lse = reference(q, k, v, ranges, causal)
    out, lse = attend(q, k, v, ranges, causal)
    xla = range_attention(q, k, v, ranges, causal=causal, implementation="xla").out
    assert out.dtype == v.dtype
    assert lse.dtype == jnp.float32
    error = np.asarray(out, np.float64) - want
    assert np.abs(error).max() <= 2e-2
    assert rms(error) <= 4e-3 * rms(want)
    assert rms(error) <= 1.5 * rms(np.asarray(xla, np.float64) - want)
    sees = np.isfinite(want_lse)
    assert (np.isfinite(lse) == sees).all()
    assert (np.asarray(lse)[~sees] == -np.inf).all()
    assert np.abs(np.asarray(lse)[sees] - want_lse[sees]).max() <= 2e-3
    assert not np.asarray(out, np.float32)[~sees].any()


def unseen_to_nan(q, k, v, ranges, causal):
    """NaN in queries without keys and in keys without queries."""
    seen = dense(ranges, k.shape[1], causal)
    mute, unasked = ~seen.any(axis=2), ~seen.any(axis=1)
    q = jnp.where(jnp.asarray(mute)[:, :, None, None], jnp.nan, q)
    k, v = (jnp.where(jnp.asarray(unasked)[:, :, None, None], jnp.nan, x) for x in (k, v))
    return q, k, v


def dense(ranges, S, causal):
    a0, a1, b0, b1 = (np.asarray(ranges)[:, :, x, None] for x in range(4))
    key = np.arange(S)
    seen = ((key >= a0) & (key < a1)) | ((key >= b0) & (key < b1))
    return seen & (key <= np.arange(seen.shape[1])[:, None]) if causal else seen


@interpreted
def test_other_segments_do_not_change_a_single_bit():
    """And what is computed twice is the same twice."""
    ranges = packed(70, 90, 53)
    q, k, v = inputs(1, 213, 213, 1, 1, 128)
    before = attend(q, k, v, ranges, True)
    q, k, v = (x.at[:, 70:160].multiply(-3.0) for x in (q, k, v))
    after = attend(q, k, v, ranges, True)
    for x, y in zip(before, after, strict=True):
        same = (np.asarray(x) == np.asarray(y)).reshape(213, -1).all(axis=1)
        assert same[:70].all()
        assert same[160:].all()
        assert not same[71:160].any()


@interpreted
def test_rows_of_a_batch_have_their_own_ranges_and_heads_their_own_keys():
    """Fails for a kernel that ignores the batch index or which kv head a query head uses."""
    ranges = jnp.concatenate([packed(50, 50), packed(30, 70)])
    q, k, v = inputs(2, 100, 100, 4, 2, 64)
    want, _ = reference(q, k, v, ranges, False)
    out = np.asarray(attend(q, k, v, ranges, False).out, np.float64)
    assert np.abs(out - want).max() <= 2e-2
    for other in (ranges[::-1], packed(100).repeat(2, axis=0)):
        assert np.abs(out - reference(q, k, v, other, False)[0]).max() > 0.1
    assert np.abs(out - reference(q, k[:, :, ::-1], v[:, :, ::-1], ranges, False)[0]).max() > 0.1


@interpreted
@pytest.mark.skipif(
    importlib.util.find_spec("onevision_kernels.attention.gpu_backward") is None,
    reason="the backward kernels are not here",
)
def test_gradients_of_both_results_match_those_of_the_reference():
    """out and lse weighed at random; what nobody sees holds NaN and gets no gradient."""
    ranges = packed(1, 64, 60, padding=11)
    T = ranges.shape[1]
    q, k, v = unseen_to_nan(*inputs(1, T, T, 2, 1, 128), ranges, True)
    rng = np.random.default_rng(1)
    out_weight = jnp.asarray(rng.standard_normal(q.shape, np.float32))
    lse_weight = jnp.asarray(rng.standard_normal(q.shape[:3], np.float32))

    def gradients(q, k, v, implementation):
        def loss(q, k, v):
            out, lse = range_attention(q, k, v, ranges, causal=True, implementation=implementation)
            some = jnp.where(jnp.isfinite(lse), lse * lse_weight, 0.0)
            return (out.astype(jnp.float32) * out_weight).sum() + some.sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(q, k, v)

    wide = [x.astype(jnp.float32) for x in (q, k, v)]
    wanted = gradients(wide[0], wide[1], wide[2], "reference")
    with interpreting("gpu", detect_races=True):
        found = jax.block_until_ready(gradients(q, k, v, "gpu"))
    assert not races_found()
    for got, want in zip(found, wanted, strict=True):
        assert got.dtype == jnp.bfloat16
        assert rms(np.asarray(got, np.float64) - np.asarray(want)) <= 1e-2 * rms(want)
        assert not np.asarray(got, np.float32)[:, 125:].any()


def test_refusals_say_what_is_lacking():
    bf16 = Call.typical()
    assert "needs a Hopper GPU" in str(refuses(Target("tpu", "TPU v6 lite"), bf16))
    assert "written for Hopper" in str(refuses(Target("gpu", "NVIDIA A100-SXM4-80GB"), bf16))
    if missing := mosaic_gpu_missing():
        assert refuses(H200, bf16) == missing
        return
    assert refuses(H200, bf16) is None
    assert refuses(H200, bf16._replace(head_dim=80, dtype=jnp.dtype("float16"))) is None
    for changes, reason in (
        ({"dtype": jnp.dtype("float32")}, "the call is float32"),
        ({"head_dim": 72}, "needs a head width of 16, 32, ... 128, the call has 72"),
        ({"head_dim": 256}, "the call has 256"),
        ({"num_queries": 1, "causal": False}, "decoding has its own kernel"),
    ):
        assert reason in str(refuses(H200, bf16._replace(**changes)))


def test_arrays_the_kernel_cannot_take_are_refused():
    q, k, v = inputs(1, 64, 64, 1, 1, 64)
    empty = jnp.zeros((1, 1, 4), jnp.int32)
    blocks = BlockSchedule(empty, empty, empty[..., :2])
    call: Any = functools.partial(
        gpu.attend,
        ranges_BT4=packed(64),
        causal=False,
        max_span=None,
        schedule=GpuSchedule(blocks, blocks),
    )
    with pytest.raises(ValueError, match="q, k and v must have one dtype on Hopper"):
        call(q, k, v.astype(jnp.float16), scale=1.0)
    with pytest.raises(ValueError, match="scale must be positive"):
        call(q, k, v, scale=-1.0)


def test_asking_for_implementations_does_not_load_mosaic():
    """jax 0.10 has no Mosaic GPU of this form, and must still be told so."""
    assert "gpu" in implementations()
    code = (
        "import sys, onevision_kernels.attention as a; a.implementations();"
        "assert 'jax.experimental.pallas.mosaic_gpu' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
