"""What both backward kernels do alike: load tiles ahead, blank unseen rows, mask scores.

Letters: R rows of a tile (64), H head width.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from onevision_kernels.attention.gpu_backward_plan import BLOCK
from onevision_kernels.target import current_target

CONSUMERS = 2  # Warpgroups that multiply; one more loads.
HEAD_MULTIPLE = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackwardTiles:
    """What may be tuned; a warpgroup meets 64 x 64 scores a turn, or its registers spill.

    stages: blocks in flight; a power of two, or slots are found by dividing and registers spill.
    Shared memory at width 128: 64 KiB and 33.5 KiB a stage.
    programs: with fewer than this for d_k and d_v (two for each of an H200's 132 processors would
    be 264; 256 is T = 8192 with 4 kv heads, which still balances) every query head gets its own.
    """

    stages: int = 4
    programs: int = 256


TILES = BackwardTiles()

# 65,536 registers of an SM: 2 x 128 x 232 + 128 x 40.
CONSUMER_REGISTERS, PRODUCER_REGISTERS = 232, 40

WGMMA = plgpu.Layout.WGMMA
BY_ROW, BY_COLUMN = WGMMA.reduce(1), WGMMA.reduce(0)


def tile(shape: tuple[int, ...], dtype) -> Any:
    """Shared memory that TMA fills and wgmma reads: swizzled as widely as the width allows."""
    elements = _swizzled_width(shape[-1])
    transforms = (plgpu.TilingTransform((8, elements)), plgpu.SwizzleTransform(2 * elements))
    return plgpu.SMEM(shape, dtype, transforms=transforms)


def _swizzled_width(width: int) -> int:
    return next(x for x in (64, 32, 16) if width % x == 0)


def weights_scratch(dtype) -> dict[str, Any]:
    """The interpreter multiplies only what lies in shared memory; the hardware takes registers."""
    if not current_target().interpreted:
        return {}
    return {"left_s": tile((CONSUMERS, BLOCK, BLOCK), dtype)}


def left_operand(x: jax.Array, left_s) -> Any:
    """The left factor of a wgmma: registers, or shared memory for the interpreter."""
    if left_s is None:
        return x
    left_s[...] = x
    plgpu.commit_smem()
    return left_s


def divided(index, by: int) -> tuple[jax.Array, jax.Array]:
    """Quotient and remainder of an int32."""
    return lax.div(index, by), lax.rem(index, by)


def load(ref, layout, *, optimized: bool = False) -> jax.Array:
    """What a reference holds, laid out over the threads; optimized: of swizzled shared memory."""
    # By name: the older jax that type checkers see wants an index too.
    return getattr(plgpu, "load")(ref, layout=layout, optimized=optimized)  # noqa: B009


def rows_of(index) -> Any:
    """The rows of a block."""
    return pl.ds(index * BLOCK, BLOCK)


def blank(tile_s, keep) -> None:
    """Zeroes the rows of a tile [R, H] where keep [R] (in global memory) is 0: they may be NaN."""
    keep_R = load(keep, BY_ROW)
    width = _swizzled_width(tile_s.shape[-1])
    for column in range(0, tile_s.shape[-1], width):
        part_s = tile_s.at[:, pl.ds(column, width)]
        values = load(part_s, WGMMA, optimized=True)
        kept = lax.broadcast_in_dim(keep_R, values.shape, [0]) > 0
        part_s[...] = jnp.where(kept, values, jnp.zeros_like(values))
    plgpu.commit_smem()


def load_tiles(steps, stages: int, tiles_of: Callable, consumed, ready, blanking) -> None:
    """The loading warpgroup's loop: tiles of step t go to slot t % stages.

    tiles_of(t) -> ((source, destination), ...) of two tiles with the slot left open, their rows to
    keep, whether any is to be blanked, and further (source, destination) to load beside them.
    """
    plgpu.set_max_registers(PRODUCER_REGISTERS, action="decrease")

    @pl.loop(0, steps)
    def _step(t):
        slot = lax.rem(t, stages)

        @pl.when(t >= stages)
        def _wait():
            plgpu.barrier_wait(consumed.at[slot])

        tiles, keep, gaps, beside = tiles_of(t)
        for source, destination in beside:
            plgpu.copy_gmem_to_smem(source, destination.at[slot], ready.at[slot])

        @pl.when(gaps == 0)
        def _load():
            for source, destination in tiles:
                plgpu.copy_gmem_to_smem(source, destination.at[slot], ready.at[slot])

        @pl.when(gaps > 0)
        def _load_and_blank():
            for source, destination in tiles:
                plgpu.copy_gmem_to_smem(source, destination.at[slot], blanking)
            plgpu.barrier_wait(blanking)
            for _, destination in tiles:
                blank(destination.at[slot], keep)
                plgpu.barrier_arrive(ready.at[slot])

    @pl.loop(jnp.maximum(steps - stages, 0), steps)
    def _drain(t):
        plgpu.barrier_wait(consumed.at[lax.rem(t, stages)])
