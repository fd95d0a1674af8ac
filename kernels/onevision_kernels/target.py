"""What a kernel is compiled for: the machine at hand, devices that are not here, or an interpreter.

An implementation asks `current_target()` while it is traced. Compiling ahead of time for devices
that are not here happens inside `compiling_for(device)`; running a TPU or Hopper kernel on a CPU,
slowly and with its races looked for, inside `interpreting("tpu")` or `interpreting("gpu")`.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax

# Mosaic GPU's `plgpu.kernel` took its present form, and its interpreter became public, here.
MOSAIC_GPU_SINCE = (0, 11, 2)


class Target(NamedTuple):
    """platform: "cpu", "gpu" or "tpu"; kind: as jax names it ("NVIDIA H200", "TPU v6 lite")."""

    platform: str
    kind: str
    interpreted: bool = False


_target: ContextVar[Target | None] = ContextVar("kernel_target", default=None)


def current_target() -> Target:
    """The target set by a context below, else the default device of this process."""
    chosen = _target.get()
    return target_of(jax.devices()[0]) if chosen is None else chosen


def target_of(device: Any) -> Target:
    """The target a jax device stands for; a description of an absent one will do."""
    platform = "gpu" if device.platform in ("cuda", "rocm") else str(device.platform)
    return Target(platform, device.device_kind)


@contextlib.contextmanager
def compiling_for(device: Any) -> Iterator[Target]:
    """Traces inside choose kernels for `device`; an interpreter in force stays in force."""
    chosen = _target.get()
    if chosen is None or not chosen.interpreted:
        chosen = target_of(device)
    with _set(chosen) as target:
        yield target


@contextlib.contextmanager
def interpreting(platform: str, *, detect_races: bool = False) -> Iterator[Target]:
    """Kernels for `platform` ("tpu" or "gpu") run on the CPU, memory not yet written being NaN.

    Trace (and jit) inside: what was traced outside keeps its own target. Raises RuntimeError for
    "gpu" where this jax has no interpreter of Mosaic GPU.
    """
    if platform == "tpu":
        from jax.experimental.pallas import tpu as pltpu

        params = pltpu.InterpretParams(detect_races=detect_races, uninitialized_memory="nan")
        mode = pltpu.force_tpu_interpret_mode(params)
    elif platform == "gpu":
        if reason := mosaic_gpu_missing():
            raise RuntimeError(reason)
        from jax.experimental.pallas import mosaic_gpu as plgpu

        # By name: the older jax that type checkers see lacks both.
        gpu_params = getattr(plgpu, "InterpretGPUParams")(detect_races=detect_races)  # noqa: B009
        mode = getattr(plgpu, "force_gpu_interpret_mode")(gpu_params)  # noqa: B009
    else:
        raise ValueError(f"there is no interpreter for {platform!r}; write 'tpu' or 'gpu'")
    kind = {"tpu": "interpreted TPU", "gpu": "interpreted Hopper"}[platform]
    with mode, _set(Target(platform, kind, interpreted=True)) as target:
        yield target


def mosaic_gpu_missing() -> str | None:
    """Why Mosaic GPU kernels cannot be traced with this jax; None where they can."""
    if jax.__version_info__ >= MOSAIC_GPU_SINCE:
        return None
    wanted = ".".join(str(part) for part in MOSAIC_GPU_SINCE)
    return f"Mosaic GPU kernels need jax {wanted} or newer (Python 3.12), this is {jax.__version__}"


def not_hopper(target: Target) -> str | None:
    """Why kernels written for Hopper do not run on the target; None where they do."""
    if target.platform != "gpu":
        return f"needs a Hopper GPU, the target is {target.kind} ({target.platform})"
    if target.interpreted or any(name in target.kind for name in ("H100", "H200", "H800", "GH200")):
        return mosaic_gpu_missing()
    return f"is written for Hopper (H100, H200, GH200), the target is {target.kind}"


def not_tpu(target: Target) -> str | None:
    """Why kernels written for TPU do not run on the target; None where they do."""
    if target.platform == "tpu":
        return None
    return f"needs a TPU, the target is {target.kind} ({target.platform})"


@contextlib.contextmanager
def _set(target: Target) -> Iterator[Target]:
    token = _target.set(target)
    try:
        yield target
    finally:
        _target.reset(token)
