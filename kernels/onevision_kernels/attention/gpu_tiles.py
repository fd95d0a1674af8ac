"""Block sizes of range attention on Hopper, and the schedule both directions share."""

import dataclasses
from typing import NamedTuple

import jax

from onevision_kernels.attention.schedule import BlockSchedule


class RowBounds(NamedTuple):
    """The mask in the form the forward kernel reads it; T' is T padded to whole query blocks.

    bounds [B, 4, T'] int32: (lo0, hi0, lo1, hi1), the causal bound inside; query t sees key s iff
    lo0 <= s < hi1 and not hi0 <= s < lo1. A padded query sees nothing.
    split [B, I] int32: 1 where hi0 < lo1 for some query of block i.
    asked [B, S] bool: some query sees the key.
    """

    bounds: jax.Array
    split: jax.Array
    asked: jax.Array


class GpuSchedule(NamedTuple):
    """One schedule for each direction: their blocks differ in size. `rows`: forward only."""

    forward: BlockSchedule
    backward: BlockSchedule
    rows: RowBounds | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GpuTiles:
    """Block sizes in tokens; query blocks count both consumer warpgroups together.

    forward_query_block: 2 warpgroups x 64 rows, the height of one wgmma.
    forward_key_block: keys a turn of the loop; scores take half as many registers a thread.
    backward_query_block, backward_key_block: what one warpgroup of the backward kernels meets in a
    turn. 64 fixed: d_k, d_v and two 64 x 64 scores fill its registers.
    stages: key blocks (k and v) in flight in shared memory.
    backward_stages: blocks in flight in the backward kernels; a power of two, or slots are found by
    dividing and registers spill. Shared memory at width 128: 64 KiB + 33.5 KiB a stage.
    backward_programs: with fewer programs than this for d_k and d_v (two for each of the 132
    processors) every query head gets its own, and their results are summed outside.
    """

    forward_query_block: int = 128
    forward_key_block: int = 128
    backward_query_block: int = 64
    backward_key_block: int = 64
    stages: int = 2
    backward_stages: int = 4
    backward_programs: int = 256


TILES = GpuTiles()
