"""Devices that are not here: compile-only descriptions of TPU slices and H200 nodes.

A topology is written `v5e:4x4`, `v5p:2x2x1`, `v6e:2x4` or `h200:8`. Needs the `aot` extra (the
compilers: libtpu, or the CUDA plugin with ptxas); no accelerator, driver or network.
"""

import os
import re
from collections.abc import Sequence
from typing import Any

from jax.experimental import topologies

from onevision_jax.errors import InputError

TPU_KINDS = ("v5e", "v5p", "v6e")
HOSTED_GPUS = 8  # GPUs of one node.

# What XLA asks of a GPU it cannot see (stream_executor's GpuTargetConfigProto); NVIDIA H200 SXM.
_H200 = """
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132
  fpus_per_core: 128
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  l2_cache_size: 62914560
  memory_bandwidth: 4800000000000
  device_memory_size: 150754820096
  clock_rate_ghz: 1.98
}
platform_name: "CUDA"
device_description_str: "NVIDIA H200"
dnn_version_info { major: 9 minor: 12 }
runtime_version { major: 13 minor: 0 patch: 0 }
"""

# Usable bytes of one device (design: "fits or not").
DEVICE_BYTES = {"v5e": 16 * 2**30, "v5p": 95 * 2**30, "v6e": 32 * 2**30, "h200": 150_754_820_096}


def compile_only_devices(topology: str) -> tuple[str, Sequence[Any]]:
    """The kind ("v5e", "h200", ...) and the devices of a topology, good for compiling only.

    Raises InputError for an unknown spelling and when the compiler is not installed.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+){0,2})", topology)
    if not match or match[1] not in DEVICE_BYTES:
        raise InputError(
            f"topology {topology!r} is not understood; write for example v5e:4x4, v5p:2x2x1, "
            "v6e:2x4 or h200:8"
        )
    kind, shape = match.groups()
    # Without these libtpu asks a metadata server for its host, and CUDA looks for a driver.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    # Nobody owns a device that is not here: several processes may compile at once.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        if kind in TPU_KINDS:
            found = topologies.get_topology_desc(f"{kind}:{shape}", platform="tpu")
        else:
            found = topologies.get_topology_desc(
                platform="cuda", target_config=_H200, topology=f"1x1x{int(shape)}"
            )
    except (RuntimeError, ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"topology {topology!r} cannot be compiled for here ({reason}); check its shape, and "
            "install the compilers with pip install 'onevision-jax[aot]'"
        ) from error
    return kind, found.devices
