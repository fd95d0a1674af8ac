"""The device mesh: rows of devices that split parameters (fsdp) and matrices (tensor)."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from onevision_jax.errors import InputError

AXES = ("fsdp", "tensor")


def make_mesh(*, fsdp: int = -1, tensor: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of fsdp x tensor devices; fsdp = -1 takes all that are left.

    `fsdp` splits the batch and, between uses, the parameters; `tensor` splits heads, mlp and
    vocabulary. Raises InputError when the product is not the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    if tensor < 1 or (fsdp < 1 and fsdp != -1):
        raise InputError(f"mesh sizes must be positive (fsdp may be -1), got {fsdp} x {tensor}")
    size = len(devices) // tensor if fsdp == -1 else fsdp
    if size * tensor != len(devices):
        raise InputError(
            f"a mesh of fsdp {fsdp} x tensor {tensor} does not fit {len(devices)} devices; "
            f"choose sizes whose product is {len(devices)}"
        )
    return Mesh(
        np.asarray(devices).reshape(size, tensor), AXES, axis_types=(AxisType.Auto,) * len(AXES)
    )
