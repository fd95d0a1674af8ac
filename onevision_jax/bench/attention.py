"""Attention forward and backward: every implementation that runs here, beside what others offer.

All get the same arrays, are compared with float64 on a slice of rows before they are timed, and
take turns, so a busy machine slows all. TFLOP/s count the visible pairs only: work on what is
masked away earns nothing.
"""

import dataclasses
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onevision_jax.bench.attention_problems import (
    Exact,
    Problem,
    draw,
    exact,
    only_rows,
    text_problems,
    vision_problems,
)
from onevision_jax.bench.attention_runs import CannotRun, Run, contestants
from onevision_jax.bench.peaks import floor_seconds, peak_of
from onevision_jax.errors import InputError

PASSES = {"forward": False, "forward+backward": True}
# Largest |difference| of outputs, largest relative rms of gradients, that is still called right.
TOLERANCE = {"float32": (1e-4, 1e-3), "bfloat16": (2e-2, 1e-2), "float16": (2e-2, 1e-2)}
SLICE_SECONDS = 0.02  # Calls are queued until they take this long: a launch costs nothing then.


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionBench:
    """What is measured."""

    models: tuple[str, ...] = ("3b", "7b")  # whose heads
    tiny: bool = False  # a 32nd of the tokens
    rounds: int = 20
    dtype: str = "bfloat16"
    seed: int = 0

    def __post_init__(self):
        if self.rounds < 1:
            raise InputError(f"rounds is {self.rounds}, expected 1 or more")


def run(bench: AttentionBench) -> Iterator[dict[str, Any]]:
    """One result for each mask, as soon as it is there."""
    found = [p for model in bench.models for p in text_problems(model, tiny=bench.tiny)]
    for problem in [*found, *vision_problems(tiny=bench.tiny)]:
        yield measure(problem, bench)


def about() -> dict[str, Any]:
    """Device, host, versions and the peaks that floors are counted by."""
    peak = peak_of(jax.devices()[0].device_kind)
    names = ["jax", "jaxlib", "torch", "tokamax"]
    return {
        "bench": "attention",
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "host": platform.machine(),
        "versions": {name: version(name) for name in names if importlib.util.find_spec(name)},
        "peak": None if peak is None else peak._asdict(),
    }


def measure(problem: Problem, bench: AttentionBench) -> dict[str, Any]:
    """Seconds of every round of every contestant, what follows from them, who was left out."""
    inputs = draw(problem, bench.dtype, bench.seed)
    wanted = exact(problem, inputs)
    d_out = only_rows(inputs.d_out, wanted.rows)
    runs: dict[str, Run] = {}
    errors: dict[str, dict[str, float]] = {}
    skipped: dict[str, str] = {}
    for name, make in contestants().items():
        try:
            made = make(problem, inputs)
            errors[name] = compare(made.results(d_out), wanted)
        except CannotRun as error:
            skipped[name] = str(error)
            continue
        except Exception as error:  # A peer that breaks must not end the others' measurement.
            first = (str(error).strip() or "no message").splitlines()[0][:200]
            skipped[name] = f"failed: {type(error).__name__}: {first}"
            continue
        if reason := wrong(errors[name], bench.dtype):
            skipped[name] = reason
        else:
            runs[name] = made
    return {
        "problem": problem.name,
        "settings": dataclasses.asdict(bench),
        "shape": {
            "tokens": problem.num_tokens,
            "heads": problem.num_heads,
            "kv_heads": problem.num_kv_heads,
            "head_dim": problem.head_dim,
            "causal": problem.causal,
            "visible_pairs": problem.visible_pairs(),
        },
        "errors": errors,
        "passes": {name: time_pass(problem, runs, bench, name) for name in PASSES},
        "skipped": skipped,
    }


def compare(results: tuple[np.ndarray, ...], wanted: Exact) -> dict[str, float]:
    """Largest difference of the outputs, worst relative rms of the three gradients."""
    out, dq, dk, dv = results
    pairs = ((dq[wanted.rows], wanted.dq), (dk, wanted.dk), (dv, wanted.dv))
    return {
        "out_max": float(np.abs(out[wanted.rows] - wanted.out).max()),
        "grad_rel_rms": max(
            float(np.sqrt(np.square(got - want).mean() / np.square(want).mean()))
            for got, want in pairs
        ),
    }


def wrong(errors: dict[str, float], dtype: str) -> str | None:
    """The sentence for a contestant that is not timed because it computes something else."""
    out, grad = TOLERANCE[dtype]
    # Not `>`: NaN is wrong too.
    if errors["out_max"] <= out and errors["grad_rel_rms"] <= grad:
        return None
    return (
        f"WRONG: out differs by {errors['out_max']:.1e} (at most {out:g}), "
        f"gradients by {errors['grad_rel_rms']:.1e} (at most {grad:g})"
    )


def time_pass(
    problem: Problem, runs: dict[str, Run], bench: AttentionBench, pass_name: str
) -> dict[str, dict[str, Any]]:
    """Name -> seconds of one call in every round, and the median's rates."""
    backward = PASSES[pass_name]
    starts = {name: made.both if backward else made.forward for name, made in runs.items()}
    calls = {name: calls_in_a_slice(starts[name], runs[name].wait) for name in runs}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(bench.rounds):
        for name, start in starts.items():
            spent = time_calls(start, runs[name].wait, calls[name])
            seconds[name].append(spent / calls[name])
    flops = problem.flops(backward=backward)
    moved = problem.bytes(jnp.dtype(bench.dtype).itemsize, backward=backward)
    peak = peak_of(jax.devices()[0].device_kind)
    found = {}
    for name, times in seconds.items():
        median = statistics.median(times)
        found[name] = {
            "seconds": times,
            "median_ms": median * 1e3,
            "useful_tflops": flops / median / 1e12,
            "gb_per_second": moved / median / 1e9,
            "times_the_floor": median / floor_seconds(flops, moved, peak) if peak else None,
        }
    return found


def calls_in_a_slice(start: Callable[[], Any], wait: Callable[[Any], None]) -> int:
    """How many calls fill SLICE_SECONDS; compiles and warms up on the way."""
    wait(start())
    return max(1, min(200, int(SLICE_SECONDS / time_calls(start, wait, 1))))


def time_calls(start: Callable[[], Any], wait: Callable[[Any], None], calls: int) -> float:
    """Seconds for so many calls, the last one finished."""
    began = time.perf_counter()
    started = None
    for _ in range(calls):
        started = start()
    wait(started)
    return time.perf_counter() - began
