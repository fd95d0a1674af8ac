"""A training step compiled for devices that are not here, once for each attention implementation.

What the compiler says of memory is what the devices will hold. Its counts of operations and of
memory traffic take the body of a loop once (all layers are one loop, so they speak of one decoder
layer, one vision block, and the ends of the model), and a TPU's alone: XLA counts nothing on CUDA.
Hand-written kernels count what they declare.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from onevision_jax.bench.versions import versions
from onevision_jax.errors import InputError
from onevision_jax.model import ModelOptions, preset
from onevision_jax.parallel import ShardingRules, make_mesh
from onevision_jax.plan import DEVICE_BYTES, Compiled, compile_only_devices, compile_train_step
from onevision_jax.train.settings import TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepBench:
    """What is compiled."""

    preset: str = "7b"
    topology: str = "v6e:4x4"
    # Attention implementations by name; "default" is what a run would take.
    attention: tuple[str, ...] = ("xla", "default")
    tensor: int = 1  # devices that split the matrices; the others split the rows
    rows: int | None = None  # of a batch; None = one for each device that splits the rows
    tokens: int = 8192
    patches: int = 8192
    remat: str = "full"
    # Of the parameters, hence of gradients; moments are float32 in any case.
    param_dtype: Any = jnp.float32

    def __post_init__(self):
        for name in ("tokens", "patches", "tensor"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} is {getattr(self, name)}; give 1 or more")


def run(settings: StepBench, say: Callable[[str], None]) -> dict[str, Any]:
    """Compiles each; the report, with why an implementation could not be compiled."""
    kind, devices = compile_only_devices(settings.topology)
    rules = ShardingRules(make_mesh(tensor=settings.tensor, devices=devices))
    rows = settings.rows or rules.rows_multiple()
    found: dict[str, Any] = {}
    for name in settings.attention:
        say(f"compiling {settings.preset} on {settings.topology} with attention {name}")
        try:
            compiled = _compile(settings, rules, rows, None if name == "default" else name)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            found[name] = {"error": str(error).splitlines()[0]}
        else:
            found[name] = _summary(compiled, kind)
    return {
        "settings": {
            **dataclasses.asdict(settings),
            "param_dtype": str(jnp.dtype(settings.param_dtype)),
        },
        "device": kind,
        "device_bytes": DEVICE_BYTES[kind],
        "num_devices": len(devices),
        "rows": rows,
        "versions": versions("jax", "jaxlib", "libtpu", "jax-cuda13-plugin", "flax"),
        "implementations": found,
    }


def _compile(
    settings: StepBench, rules: ShardingRules, rows: int, attention: str | None
) -> Compiled:
    options = ModelOptions(
        param_dtype=settings.param_dtype, remat=settings.remat, attention=attention
    )
    config = TrainConfig(checkpoint="", num_steps=1, model=options)
    return compile_train_step(
        preset(settings.preset),
        config,
        rules,
        rows=rows,
        tokens=settings.tokens,
        patches=settings.patches,
    )


def _summary(compiled: Compiled, kind: str) -> dict[str, Any]:
    return {
        **dataclasses.asdict(compiled),
        "peak_bytes": compiled.peak_bytes,
        "fits": compiled.peak_bytes < DEVICE_BYTES[kind],
    }
