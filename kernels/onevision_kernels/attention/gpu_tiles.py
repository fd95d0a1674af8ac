"""Block sizes of range attention on Hopper, and the schedule both directions share."""

import dataclasses
from typing import Any, NamedTuple

import jax

from onevision_kernels.attention.schedule import BlockSchedule


class RowBounds(NamedTuple):
    """The mask in the form the forward kernel reads it; T' is T padded to whole query blocks.

    bounds [B, 4, T'] int32: (lo0, hi0, lo1, hi1), the causal bound inside; query t sees key s iff
    lo0 <= s < hi1 and not hi0 <= s < lo1. A padded query sees nothing.
    split [B, I] int32: 1 where hi0 < lo1 for some query of block i.
    asked [B, S'] int32: 0 where no query sees the key (S' is S padded to whole key blocks with 1).
    dirty [B, J] int32: 1 where key block j has such a key.
    """

    bounds: jax.Array
    split: jax.Array
    asked: jax.Array
    dirty: jax.Array


class GpuSchedule(NamedTuple):
    """One schedule for each direction: their blocks differ in size. `rows`: forward only.

    backward: a `gpu_backward_plan.Plan`, or the BlockSchedule one can be made of.
    """

    forward: BlockSchedule
    backward: Any
    rows: RowBounds | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GpuTiles:
    """Block sizes in tokens; query blocks count both consumer warpgroups together.

    forward_query_block: 2 warpgroups x 64 rows, the height of one wgmma.
    forward_key_block: keys a turn of the loop; scores take half as many registers a thread.
    backward_query_block, backward_key_block: the same for the backward kernels.
    stages: key blocks (k and v) in flight in shared memory.
    128 x 128 forward: no spills at head widths 128 and 80 (a width of 80 is not padded: rows of
    shared memory are swizzled 32 bytes at a time); 192 keys spill 480 bytes.
    """

    forward_query_block: int = 128
    forward_key_block: int = 128
    backward_query_block: int = 64
    backward_key_block: int = 64
    stages: int = 2


TILES = GpuTiles()
