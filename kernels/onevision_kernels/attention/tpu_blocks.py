"""Block sizes of the TPU kernels, chosen by the shapes of the call and the chip's vector memory."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import lax

from onevision_kernels.attention.call import Call
from onevision_kernels.target import Target, current_target

LANES = 128
MIB = 2**20
# Vector memory a kernel may use: the chip's less what the compiler keeps (v5e and v6e have 128
# MiB; v5p, v7x and whatever is not listed 64).
VMEM_BYTES = {"TPU v5 lite": 100 * MIB, "TPU v6 lite": 100 * MIB}
SMALL_VMEM_BYTES = 56 * MIB


@dataclasses.dataclass(frozen=True)
class Blocks:
    """What one grid step works on.

    The sizes below come from the compilers' static schedules. Bundles per 1024 x 1024 scores that
    need no mask, head width 128, in tiles of 1024 x key_step:

        key_step          1024    512    256    jax's splash attention
        forward    v5e    5038   4309   4510    4576
                   v5p           4354           4775
                   v6e    3055   2767   2812    3205
        backward   v5e    9334   9153   9624    9024
                   v5p           8910           9259
                   v6e    5410   5388   5667    5759

    A mask adds, at 512: forward 348, 298 and 912 bundles, backward 891, 1146 and 975.
    """

    # Queries; a multiple of 128 on the machine (of 8 in the interpreter).
    query: int
    # Keys; the same.
    key: int
    # Keys of one tile of scores; divides `key`.
    key_step: int
    # Kv heads, with all the query heads that share them; divides K.
    kv_heads: int = 1
    # What the compiler may use of the vector memory.
    vmem_bytes: int = SMALL_VMEM_BYTES


@dataclasses.dataclass(frozen=True)
class Settings:
    """The blocks of both directions."""

    forward: Blocks
    backward: Blocks


def settings_for(call: Call) -> Settings:
    """The sizes for a call on the current target."""
    vmem = vmem_of(current_target())
    if call.max_span is not None and call.max_span <= 2 * LANES:
        # Windows: little work a block, so several heads share the cost of a grid step.
        query, key = _even(call.num_queries, 256), _even(call.num_keys, 256)
        room = max(1, vmem // 4 // key_gradient_bytes(call))
        return Settings(
            forward=Blocks(query, key, key, _divisor(call.num_kv_heads, 8), vmem),
            backward=Blocks(query, key, key, _divisor(call.num_kv_heads, min(8, room)), vmem),
        )
    # float32 products are several passes each: as large tiles only compile more slowly.
    limit = 512 if call.dtype == jnp.float32 else 1024
    query, key = _even(call.num_queries, limit), _even(call.num_keys, limit)
    step = next(size for size in (512, 384, 256, 128) if key % size == 0)
    both = Blocks(query, key, step, 1, vmem)
    return Settings(forward=both, backward=both)


def vmem_of(target: Target) -> int:
    """Bytes of vector memory a kernel may use there."""
    return VMEM_BYTES.get(target.kind, SMALL_VMEM_BYTES)


def key_gradient_bytes(call: Call) -> int:
    """What the backward pass holds for one kv head: float32 gradients of its keys and values."""
    return 2 * 4 * call.num_keys * -(-call.head_dim // LANES) * LANES


def matmul_precision(dtype: Any) -> lax.Precision:
    """float32 operands are multiplied as float32 and not cut to bfloat16."""
    return lax.Precision.HIGHEST if dtype == jnp.float32 else lax.Precision.DEFAULT


def _even(length: int, limit: int) -> int:
    """A multiple of 128, `limit` at most, that cuts the length into blocks of nearly one size."""
    count = -(-length // limit)
    return -(-length // (count * LANES)) * LANES


def _divisor(number: int, limit: int) -> int:
    return next(size for size in range(min(number, limit), 0, -1) if number % size == 0)
