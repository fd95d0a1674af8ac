"""Linear -> log-prob of the targets: ours, XLA with all the logits, torch and tokamax.

The same inputs go to every contestant, rounds interleaved; forward alone, and with the gradients
of hidden states and head. Only useful work is counted: one product forward, two more for the
gradients, whatever a contestant computes twice; and every input, output and gradient moved once.

Letters: N tokens, D width, V vocabulary.
"""

import dataclasses
import importlib
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from onevision_jax.errors import InputError
from onevision_jax.model import preset
from onevision_kernels.logprob import implementations, linear_logprob

# A device's bfloat16 FLOP and bytes of memory a second, as its maker says.
PEAKS = {
    "H200": (989e12, 4.8e12),
    "H100": (989e12, 3.35e12),
    "TPU v5 lite": (197e12, 0.82e12),
    "TPU v5e": (197e12, 0.82e12),
    "TPU v5p": (459e12, 2.765e12),
    "TPU v5": (459e12, 2.765e12),
    "TPU v6 lite": (918e12, 1.64e12),
    "TPU v6e": (918e12, 1.64e12),
}
CHECKED = 16  # tokens compared with float64, spread over all
TINY = 16  # a tiny run has this share of the vocabulary, and a quarter of the width
PASSES = ("forward", "forward and backward")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogprobBench:
    """What is measured."""

    preset: str = "7b"  # whose width and vocabulary: "3b" or "7b"
    tokens: int = 16_384
    tiny: bool = False
    rounds: int = 20
    dtype: str = "bfloat16"
    seed: int = 0

    def __post_init__(self):
        for name in ("tokens", "rounds"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} is {getattr(self, name)}; write 1 or more")

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, D, V."""
        text = preset(self.preset).text
        if self.tiny:
            return self.tokens, text.hidden_size // 4, text.vocab_size // TINY
        return self.tokens, text.hidden_size, text.vocab_size


class Inputs(NamedTuple):
    """What every contestant gets."""

    hidden_ND: jax.Array
    head_DV: jax.Array
    targets_N: jax.Array


# Pass -> what it calls, returning arrays or tensors: the log-probs first, then gradients.
Contestant = dict[str, Callable[[], Any]]


def run(bench: LogprobBench) -> dict[str, Any]:
    """Seconds of every round and what follows from them, by pass and contestant."""
    given = _inputs(bench)
    contestants, skipped = _contestants(given)
    checked = np.unique(np.linspace(0, bench.tokens - 1, min(bench.tokens, CHECKED)).astype(int))
    want = float64_logprobs(given, checked)
    results = {}
    for name in PASSES:
        calls = {who: passes[name] for who, passes in contestants.items()}
        results[name] = _measure(bench, name, calls, checked, want, skipped)
    device = jax.devices()[0].device_kind
    return {
        "bench": "logprob",
        "settings": dataclasses.asdict(bench),
        "shape": dict(zip("NDV", bench.shape, strict=True)),
        "device": device,
        "host": platform.machine(),
        "versions": {
            n: version(n) for n in ("jax", "torch", "tokamax") if importlib.util.find_spec(n)
        },
        "results": results,
        "skipped": skipped,
    }


def _measure(bench, name, calls, checked, want, skipped) -> dict[str, dict[str, Any]]:
    errors, seconds = {}, {}
    for who, call in calls.items():  # Compiles, warms up, and is checked.
        try:
            errors[who] = float(np.abs(_logprobs(call(), checked) - want).max())
        except (RuntimeError, MemoryError) as error:  # Most likely out of memory.
            skipped[f"{who}, {name}"] = str(error).splitlines()[0]
            continue
        seconds[who] = []
    for _ in range(bench.rounds):
        for who, measured in seconds.items():
            began = time.perf_counter()
            calls[who]()
            measured.append(time.perf_counter() - began)
    flops, moved = work(bench, backward=name == PASSES[1])
    return {
        who: _rates(measured, flops, moved) | {"max_error": errors[who]}
        for who, measured in seconds.items()
    }


def work(bench: LogprobBench, *, backward: bool) -> tuple[int, int]:
    """(useful FLOPs, bytes that must be moved once)."""
    N, D, V = bench.shape
    arrays = (N * D + D * V) * jnp.dtype(bench.dtype).itemsize
    per_token = N * (4 + 4)  # a target, a log-prob
    if not backward:
        return 2 * N * D * V, arrays + per_token
    return 6 * N * D * V, 3 * arrays + 2 * per_token  # Read, read again, gradients written.


def _rates(seconds: list[float], flops: int, moved: int) -> dict[str, Any]:
    median = statistics.median(seconds)
    kind = jax.devices()[0].device_kind
    peaks = next((peaks for name, peaks in PEAKS.items() if name in kind), None)
    floor = max(flops / peaks[0], moved / peaks[1]) if peaks else None
    return {
        "seconds": seconds,
        "milliseconds": median * 1e3,
        "tflops_per_second": flops / median / 1e12,
        "gb_per_second": moved / median / 1e9,
        "times_the_floor": median / floor if floor else None,
    }


def _inputs(bench: LogprobBench) -> Inputs:
    N, D, V = bench.shape
    keys = jax.random.split(jax.random.key(bench.seed), 3)
    dtype = jnp.dtype(bench.dtype)
    head_DV = jax.random.normal(keys[1], (D, V), dtype) * jnp.asarray(3 * D**-0.5, dtype)
    targets_N = jax.random.randint(keys[2], (N,), 0, V, jnp.int32)
    return Inputs(jax.random.normal(keys[0], (N, D), dtype), head_DV, targets_N)


def float64_logprobs(given: Inputs, tokens: np.ndarray, block: int = 8192) -> np.ndarray:
    """Of some tokens, exact on the same rounded inputs; the vocabulary a block at a time."""
    hidden = np.asarray(given.hidden_ND[tokens]).astype(np.float64)
    V = given.head_DV.shape[1]
    logits = np.concatenate(
        [
            hidden @ np.asarray(given.head_DV[:, start : start + block]).astype(np.float64)
            for start in range(0, V, block)
        ],
        axis=1,
    )
    peak = logits.max(axis=1)
    lse = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1))
    return logits[np.arange(len(tokens)), np.asarray(given.targets_N)[tokens]] - lse


def _logprobs(found: Any, tokens: np.ndarray) -> np.ndarray:
    first = found[0]
    array = first.detach().float().cpu().numpy() if hasattr(first, "detach") else np.asarray(first)
    return array.astype(np.float64)[tokens]


def _contestants(given: Inputs) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Those that run here, and why the others do not."""
    found, skipped = {}, {}
    for name, state in implementations().items():
        if name == "reference":  # The specification: the same logits as "all logits, XLA".
            continue
        if state.startswith(("active", "available")):
            found[f"onevision, {name}"] = _of_jax(_ours(name), given)
        else:
            skipped[f"onevision, {name}"] = state
    found["all logits, XLA"] = _of_jax(_naive, given)
    for name, make in (("torch", _torch), ("tokamax", _tokamax)):
        try:
            found[name] = make(given)
        except ImportError as error:
            skipped[name] = str(error)
    return found, skipped


def _of_jax(logprobs: Callable[..., jax.Array], given: Inputs) -> Contestant:
    """logprobs(hidden, head, targets) -> [N], jitted, alone and with its sum's gradients."""

    def loss(hidden_ND, head_DV, targets_N):
        found = logprobs(hidden_ND, head_DV, targets_N)
        return -found.sum(), found

    @jax.jit
    def both(*arrays):
        gradients, found = jax.grad(loss, argnums=(0, 1), has_aux=True)(*arrays)
        return found, gradients

    alone = jax.jit(lambda *arrays: (logprobs(*arrays),))
    return {
        name: lambda function=function: jax.block_until_ready(function(*given))
        for name, function in zip(PASSES, (alone, both), strict=True)
    }


def _ours(name: str) -> Callable[..., jax.Array]:
    def logprobs(hidden_ND, head_DV, targets_N):
        return linear_logprob(
            hidden_ND[None], head_DV, targets_N[None], vocab_first=False, implementation=name
        ).logprob[0]

    return logprobs


def _naive(hidden_ND, head_DV, targets_N) -> jax.Array:
    logits_NV = jnp.dot(hidden_ND, head_DV, preferred_element_type=jnp.float32)
    picked_N1 = jnp.take_along_axis(logits_NV, targets_N[:, None], axis=1)
    return picked_N1[:, 0] - jax.nn.logsumexp(logits_NV, axis=1)


def _tokamax(given: Inputs) -> Contestant:
    tokamax: Any = importlib.import_module("tokamax")  # No dependency, so no type checker sees it.

    def logprobs(hidden_ND, head_DV, targets_N):
        return -tokamax.linear_softmax_cross_entropy_loss(
            hidden_ND, targets_N, head_DV, reduction="none"
        )

    return _of_jax(logprobs, given)


def _torch(given: Inputs) -> Contestant:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, given.hidden_ND.dtype.name)
    # Through float32: numpy has no bfloat16 that torch understands.
    hidden, head = (
        torch.from_numpy(np.array(x.astype(jnp.float32))).to(device, dtype) for x in given[:2]
    )
    targets = torch.from_numpy(np.array(given.targets_N)).to(device, torch.int64)

    def logprobs() -> Any:
        logits = (hidden @ head).float()
        return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")

    def finished(found: Any) -> Any:
        if device == "cuda":
            torch.cuda.synchronize()
        return found

    def alone() -> Any:
        with torch.inference_mode():
            return finished((logprobs(),))

    def both() -> Any:
        hidden.requires_grad_()
        head.requires_grad_()
        with torch.enable_grad():
            found = logprobs()
            return finished((found, torch.autograd.grad(-found.sum(), (hidden, head))))

    return dict(zip(PASSES, (alone, both), strict=True))
