"""One decode step's attention: prompts shared by their answers, against a prompt for every answer.

The same inputs go to every contestant, rounds interleaved: our implementations with the prompt's
keys and values held once, the same with them repeated for each answer, and torch's
scaled_dot_product_attention called once a sequence at its true length. One layer is measured;
`steps` calls are timed together, each fed by the last.

Letters: B rows, P prompts, G answers a prompt, S prompt slots, R answer slots, N query heads, K kv
heads, H head width.
"""

import dataclasses
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onevision_jax.errors import InputError
from onevision_jax.model import preset
from onevision_kernels.decode import SharedCache, decode_attention, implementations

# Bytes per second of a device's memory, as its maker says.
PEAK_BYTES = {
    "H200": 4.8e12,
    "H100": 3.35e12,
    "TPU v5 lite": 0.82e12,
    "TPU v5e": 0.82e12,
    "TPU v5p": 2.765e12,
    "TPU v5": 2.765e12,
    "TPU v6 lite": 1.64e12,
    "TPU v6e": 1.64e12,
}
CHECKED_ROWS = 16  # Compared with float64; spread over the rows.
PADDED_TO = 64  # Slots of prompts and answers, as the engine's ladder rounds them.


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeBench:
    """What is measured."""

    model: str = "7b"  # whose heads: "3b", "7b", "32b", "72b"
    prompts: int = 16
    answers: int = 8  # of each prompt
    prompt_tokens: int = 1500
    answer_tokens: int = 512  # the longest answer; lengths are drawn from 1 to this
    steps: int = 8  # timed together
    rounds: int = 20
    dtype: str = "bfloat16"
    seed: int = 0

    def __post_init__(self):
        for name in ("prompts", "answers", "prompt_tokens", "answer_tokens", "steps", "rounds"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected 1 or more")


def tiny(model: str) -> DecodeBench:
    """The same shapes of heads, few and short rows: seconds on a CPU core."""
    return DecodeBench(
        model=model,
        prompts=2,
        answers=4,
        prompt_tokens=250,
        answer_tokens=60,
        steps=2,
        rounds=5,
    )


def run(bench: DecodeBench) -> dict[str, Any]:
    """Seconds a step of every round and what follows from them, by contestant."""
    q, cache = inputs(bench)
    contestants, skipped = _contestants(bench, q, cache)
    want = float64_rows(q, cache, checked_rows(q.shape[0]))
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    errors = {}
    for name, (call, result) in contestants.items():  # Compiles, warms up, and is checked.
        errors[name] = float(np.abs(result()[checked_rows(q.shape[0])] - want).max())
        call()
    for _ in range(bench.rounds):
        for name, (call, _) in contestants.items():
            began = time.perf_counter()
            call()
            seconds[name].append((time.perf_counter() - began) / bench.steps)
    unique = unique_bytes(cache)
    peak = next((p for n, p in PEAK_BYTES.items() if n in jax.devices()[0].device_kind), None)
    return {
        "bench": "decode",
        "settings": dataclasses.asdict(bench),
        "heads": {"query": q.shape[2], "kv": cache.prompt_k.shape[2], "width": q.shape[3]},
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "host": platform.machine(),
        "versions": {n: version(n) for n in ("jax", "torch") if importlib.util.find_spec(n)},
        "unique_kv_bytes": unique,
        "peak_bytes_per_second": peak,
        "seconds_a_step": seconds,
        "results": {
            name: _result(statistics.median(found), unique, peak, errors[name])
            for name, found in seconds.items()
        },
        "skipped": skipped,
    }


def _result(median: float, unique: int, peak: float | None, error: float) -> dict[str, Any]:
    return {
        "us_a_step": median * 1e6,
        "unique_gb_per_second": unique / median / 1e9,
        "times_the_floor": median * peak / unique if peak else None,
        "max_error": error,
    }


def inputs(bench: DecodeBench) -> tuple[jax.Array, SharedCache]:
    """Normal queries, keys and values; left-padded prompts, ragged answers."""
    text = preset(bench.model).text
    N, K, H = text.num_heads, text.num_kv_heads, text.head_dim
    P, B = bench.prompts, bench.prompts * bench.answers
    S, R = (-(-n // PADDED_TO) * PADDED_TO for n in (bench.prompt_tokens, bench.answer_tokens))
    keys = jax.random.split(jax.random.key(bench.seed), 5)

    def normal(key, *shape: int) -> jax.Array:
        return jax.random.normal(key, shape, jnp.dtype(bench.dtype))

    lengths = np.random.default_rng(bench.seed).integers(1, bench.answer_tokens + 1, B)
    bounds = jnp.broadcast_to(jnp.asarray([S - bench.prompt_tokens, S], jnp.int32), (P, 2))
    cache = SharedCache(
        prompt_k=normal(keys[0], 1, P, K, S, H),
        prompt_v=normal(keys[1], 1, P, K, S, H),
        bounds=bounds,
        answer_k=normal(keys[2], 1, B, K, R, H),
        answer_v=normal(keys[3], 1, B, K, R, H),
        lengths=jnp.asarray(lengths, jnp.int32),
    )
    return normal(keys[4], B, 1, N, H), cache


def unique_bytes(cache: SharedCache) -> int:
    """Bytes of keys and values that a step must read, each once."""
    _, _, K, _, H = cache.prompt_k.shape
    bounds = np.asarray(cache.bounds)
    slots = int((bounds[:, 1] - bounds[:, 0]).sum()) + int(np.asarray(cache.lengths).sum())
    return 2 * slots * K * H * cache.prompt_k.dtype.itemsize


def checked_rows(rows: int) -> np.ndarray:
    """Indices of the rows that are compared."""
    return np.unique(np.linspace(0, rows - 1, min(rows, CHECKED_ROWS)).astype(int))


def sequences(cache: SharedCache, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys and values [K, length, H] of one row, prompt and answer joined, in their own dtype."""
    prompt = row // (cache.lengths.shape[0] // cache.bounds.shape[0])
    start, stop = (int(x) for x in cache.bounds[prompt])
    own = int(cache.lengths[row])
    k, v = (
        np.concatenate([prompts[0, prompt, :, start:stop], answers[0, row, :, :own]], axis=1)
        for prompts, answers in (
            (cache.prompt_k, cache.answer_k),
            (cache.prompt_v, cache.answer_v),
        )
    )
    return k, v


def float64_rows(q_BTNH: jax.Array, cache: SharedCache, rows: np.ndarray) -> np.ndarray:
    """[rows, N, H]: the exact attention of some rows, on the same rounded inputs."""
    found = []
    for row in rows:
        k, v = (x.astype(np.float64) for x in sequences(cache, int(row)))
        q_NH = np.asarray(q_BTNH[row, 0], np.float64)
        group = len(q_NH) // len(k)
        scores = np.einsum("NH,NSH->NS", q_NH, k.repeat(group, axis=0)) / np.sqrt(q_NH.shape[1])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        found.append(np.einsum("NS,NSH->NH", weights, v.repeat(group, axis=0)))
    return np.stack(found)


Contestant = tuple[Callable[[], Any], Callable[[], np.ndarray]]


def _contestants(
    bench: DecodeBench, q: jax.Array, cache: SharedCache
) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Name -> (timed call, one step's output [B, N, H]); and why the others are not there."""
    states = implementations()
    running = [n for n, state in states.items() if state.startswith(("active", "available"))]
    found = {f"shared, {n}": _ours(bench, q, cache, n) for n in running if n != "reference"}
    repeated = cache._replace(
        prompt_k=jnp.repeat(cache.prompt_k, bench.answers, axis=1),
        prompt_v=jnp.repeat(cache.prompt_v, bench.answers, axis=1),
        bounds=jnp.repeat(cache.bounds, bench.answers, axis=0),
    )
    found["un-shared, xla"] = _ours(bench, q, repeated, "xla")
    skipped = {f"shared, {n}": state for n, state in states.items() if n not in running}
    if importlib.util.find_spec("torch"):
        found["torch SDPA, per sequence"] = _torch(bench, q, cache)
    else:
        skipped["torch SDPA, per sequence"] = "torch is not installed (the parity extra)"
    return found, skipped


def _ours(bench: DecodeBench, q: jax.Array, cache: SharedCache, name: str) -> Contestant:
    def attend(q: jax.Array, cache: SharedCache) -> jax.Array:
        return decode_attention(q, cache, implementation=name).out

    @jax.jit
    def steps(q: jax.Array, cache: SharedCache) -> jax.Array:
        """Each step's queries depend on the last step's output, so none can be left out."""
        return jax.lax.fori_loop(0, bench.steps, lambda _, q: attend(q, cache) + q, q)

    once = jax.jit(attend)
    return (
        lambda: jax.block_until_ready(steps(q, cache)),
        lambda: np.asarray(once(q, cache)[:, 0], np.float64),
    )


def _torch(bench: DecodeBench, q: jax.Array, cache: SharedCache) -> Contestant:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def tensor(x: np.ndarray) -> torch.Tensor:
        dtype = getattr(torch, bench.dtype)
        return torch.from_numpy(np.asarray(x, np.float32)).to(device, dtype)

    attend = torch.nn.functional.scaled_dot_product_attention
    called = []
    for row in range(q.shape[0]):
        k, v = (tensor(x)[None] for x in sequences(cache, row))
        called.append((tensor(np.asarray(q[row, 0], np.float32))[None, :, None], k, v))

    def step() -> list[torch.Tensor]:
        with torch.inference_mode():
            return [attend(q, k, v, enable_gqa=True) for q, k, v in called]

    def timed() -> None:
        for _ in range(bench.steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return timed, lambda: torch.cat(step())[:, :, 0].double().cpu().numpy()
