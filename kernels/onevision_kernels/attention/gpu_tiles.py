"""Block sizes of range attention on Hopper, and the schedule both directions share."""

import dataclasses
from typing import NamedTuple

import jax

from onevision_kernels.attention.schedule import BlockSchedule


class GpuSchedule(NamedTuple):
    """One schedule for each direction: their blocks differ in size.

    bounds [B, 4, T'] int32: the ranges with the causal bound inside, queries padded to whole
    blocks of the forward kernel (they see nothing); asked [B, S] bool: somebody sees the key.
    Both are for the forward kernel alone.
    """

    forward: BlockSchedule
    backward: BlockSchedule
    bounds: jax.Array | None = None
    asked: jax.Array | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GpuTiles:
    """Block sizes in tokens; query blocks count both consumer warpgroups together.

    forward_query_block: 2 warpgroups x 64 rows, the height of one wgmma.
    forward_key_block: keys a turn of the loop; scores take forward_key_block / 2 registers a thread.
    backward_query_block, backward_key_block: the same for the backward kernels.
    stages: key blocks (k and v) in flight in shared memory.
    """

    forward_query_block: int = 128
    forward_key_block: int = 128
    backward_query_block: int = 64
    backward_key_block: int = 64
    stages: int = 2
    backward_stages: int = 3
    backward_programs: int = 264


TILES = GpuTiles()
