"""The Hopper kernel of decode attention: interpreted on the CPU, and compiled for an H200."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_kernels.decode import DecodeCall, SharedCache, choose, decode_attention
from onevision_kernels.decode.gpu import gpu_refuses
from onevision_kernels.target import Target, compiling_for, interpreting, mosaic_gpu_missing

HOPPER = Target("gpu", "NVIDIA H200")
NO_MOSAIC = mosaic_gpu_missing()
interpreted = pytest.mark.skipif(NO_MOSAIC is not None, reason=str(NO_MOSAIC))


def make(P, G, T, S, R, N, K, H, lengths, bounds, layers=2):
    """Queries and a bfloat16 cache whose unseen slots are NaN."""
    rng = np.random.default_rng(0)
    B, slot_S, slot_R = P * G, np.arange(S), np.arange(R)
    lengths, bounds = np.asarray(lengths), np.asarray(bounds)
    unseen_PS = (slot_S < bounds[:, :1]) | (slot_S >= bounds[:, 1:])
    unseen_BR = slot_R >= lengths[:, None]

    def part(unseen):
        x = rng.standard_normal((layers, len(unseen), K, unseen.shape[1], H), np.float32)
        return jnp.asarray(np.where(unseen[None, :, None, :, None], np.nan, x), jnp.bfloat16)

    q = jnp.asarray(rng.standard_normal((B, T, N, H), np.float32), jnp.bfloat16)
    whole = (part(unseen_PS), part(unseen_PS), jnp.asarray(bounds, jnp.int32))
    return q, SharedCache(*whole, part(unseen_BR), part(unseen_BR), jnp.asarray(lengths, jnp.int32))


def float64_decode(q_BTNH, cache: SharedCache, layer: int):
    """(out, lse), one query at a time."""
    q, *parts = (
        np.asarray(x, np.float64)
        for x in (
            q_BTNH,
            cache.prompt_k[layer],
            cache.prompt_v[layer],
            cache.answer_k[layer],
            cache.answer_v[layer],
        )
    )
    prompt_k, prompt_v, answer_k, answer_v = parts
    (B, T, N, H), (P, K) = q.shape, prompt_k.shape[:2]
    out, lse = np.zeros((B, T, N, H)), np.full((B, T, N), -np.inf)
    for b, t, n in np.ndindex(B, T, N):
        p, head = b // (B // P), n // (N // K)
        start, stop = np.asarray(cache.bounds)[p]
        own = max(int(cache.lengths[b]) - (T - 1 - t), 0)
        k = np.concatenate([prompt_k[p, head, start:stop], answer_k[b, head, :own]])
        v = np.concatenate([prompt_v[p, head, start:stop], answer_v[b, head, :own]])
        if len(k):
            scores = k @ q[b, t, n] / np.sqrt(H)
            lse[b, t, n] = np.log(np.exp(scores - scores.max()).sum()) + scores.max()
            out[b, t, n] = np.exp(scores - lse[b, t, n]) @ v
    return out, lse


@interpreted
@pytest.mark.parametrize(
    ("P", "G", "T", "S", "R", "N", "K", "H", "lengths", "bounds"),
    [
        # Padding that ends inside a tile, a prompt that stops early, every length around a block.
        (2, 4, 1, 200, 136, 4, 2, 128, [1, 63, 64, 65, 128, 129, 136, 0], [[13, 200], [0, 129]]),
        # One answer a prompt, three new tokens, an empty prompt, nothing at all.
        (3, 1, 3, 64, 64, 3, 1, 64, [3, 64, 0], [[63, 64], [0, 0], [5, 5]]),
        # More than 64 query rows a kv head, shares of the slots merged.
        (1, 11, 1, 576, 64, 7, 1, 128, range(11), [[70, 570]]),
    ],
)
def test_the_interpreted_kernel_matches_the_loop(P, G, T, S, R, N, K, H, lengths, bounds):
    """Races are looked for; slots that nobody sees are NaN, as is memory not yet written."""
    q, cache = make(P, G, T, S, R, N, K, H, list(lengths), bounds)
    with interpreting("gpu", detect_races=True):
        attend = jax.jit(lambda q, cache: decode_attention(q, cache, 1, implementation="gpu"))
        out, lse = (np.asarray(x, np.float64) for x in attend(q, cache))
    want_out, want_lse = float64_decode(q, cache, 1)
    seen = np.isfinite(want_lse)
    assert (np.isfinite(lse) == seen).all()
    assert np.abs(out - want_out).max() <= 2e-2
    assert np.sqrt(((out - want_out) ** 2).mean()) <= 4e-3 * np.sqrt((want_out**2).mean())
    assert np.abs(lse[seen] - want_lse[seen]).max() <= 2e-3
    assert not out[~seen].any()


def test_it_refuses_in_words():
    call = DecodeCall.typical()._replace(prompt_slots=1536)
    assert NO_MOSAIC or gpu_refuses(HOPPER, call) is None
    with pytest.raises(ValueError, match="'gpu' needs a Hopper GPU, the target is cpu"):
        choose(call, "gpu")
    assert "written for Hopper" in str(gpu_refuses(Target("gpu", "NVIDIA A100"), call))
    if NO_MOSAIC:
        assert gpu_refuses(HOPPER, call) == NO_MOSAIC
        return
    for changes, reason in (
        ({"dtype": jnp.dtype(jnp.float32)}, "bfloat16 or float16, the queries are float32"),
        ({"head_dim": 80}, "a head width of 64 or 128, it is 80"),
        ({"answer_slots": 48}, "64 slots or more, a multiple of 8"),
        ({"prompt_slots": 1500}, "got 1500 and 512"),
    ):
        assert reason in str(gpu_refuses(HOPPER, call._replace(**changes)))


@pytest.mark.aot
@interpreted
@pytest.mark.parametrize(("prompts", "N", "K"), [(16, 28, 4), (64, 16, 2)])
def test_it_compiles_for_h200_without_spills(prompts, N, K, tmp_path, monkeypatch, capsys):
    """7B and 3B heads, 8 answers a prompt: ptxas spills nothing; no cache is copied."""
    from onevision_jax.parallel import ShardingRules, make_mesh
    from onevision_jax.plan import compile_only_devices

    monkeypatch.setenv("MOSAIC_GPU_DUMP_TO", str(tmp_path))
    devices = compile_only_devices("h200:1")[1]
    whole = ShardingRules(make_mesh(devices=devices)).replicated()
    rows = 8 * prompts

    def array(*shape, dtype=jnp.bfloat16) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=whole)

    prompt, answer = array(4, prompts, K, 1536, 128), array(4, rows, K, 512, 128)
    bounds, lengths = (array(*shape, dtype=jnp.int32) for shape in ((prompts, 2), (rows,)))
    cache = SharedCache(prompt, prompt, bounds, answer, answer, lengths)

    def attend(q, cache, layer):
        return decode_attention(q, cache, layer, implementation="gpu").out

    with compiling_for(devices[0]):
        lowered = jax.jit(attend).lower(array(rows, 1, N, 128), cache, array(dtype=jnp.int32))
        compiled = lowered.compile()
    reports = [path.read_text() for path in tmp_path.glob("*.ptxas")]
    found = [re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", r) for r in reports]
    registers = [re.search(r"Used (\d+) registers", report) for report in reports]
    memory = compiled.memory_analysis()
    assert memory is not None
    with capsys.disabled():
        words = [f"{m[1]} registers" for m in registers if m]
        print(f"\ndecode gpu, {N} heads: {', '.join(words)}, {memory.temp_size_in_bytes:,} bytes")
    assert len(reports) == 2
    assert [m and (m[1], m[2]) for m in found] == [("0", "0")] * 2
    one_layer = 2 * 2 * K * 128 * (prompts * 1536 + rows * 512)
    assert memory.temp_size_in_bytes < one_layer / 2
    assert any("wgmma.mma_async" in path.read_text() for path in tmp_path.glob("*.ptx"))
