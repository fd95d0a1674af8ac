"""Ahead-of-time compilation: what a program needs on hardware that is not here."""

from onevision_jax.plan.compile import (
    Compiled,
    compile_decode_step,
    compile_forward,
    compile_shared_decode_step,
    compile_train_step,
)
from onevision_jax.plan.topology import DEVICE_BYTES, compile_only_devices

__all__ = [
    "DEVICE_BYTES",
    "Compiled",
    "compile_decode_step",
    "compile_forward",
    "compile_only_devices",
    "compile_shared_decode_step",
    "compile_train_step",
]
