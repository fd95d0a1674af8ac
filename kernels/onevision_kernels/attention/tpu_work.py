"""The work of the TPU kernels as a list: one entry per pair of blocks that is visited.

A kernel's grid runs over the list and not over all pairs, so a block nobody looks into costs
neither a copy nor a grid step. An entry is about one of the two ranges of its queries: a mask
then takes two comparisons a score. A pair of blocks that meets in both ranges has two entries.
The list lies in scalar memory, packed into one int32 per entry: query block (bits 18..), key
block (bits 5..17), then what to do.

Letters: B batch, T queries, S keys, I query blocks, J key blocks, R = 2 ranges, L length of the
list.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from onevision_kernels.attention.schedule import block_schedule, visits

KIND, PARTIAL, FULL, DRAIN = 3, 1, 2, 3  # The mask of the kind and its values; 0 does nothing.
FIRST, LAST = 4, 8  # The entry opens, or closes, its query block.
RANGE_SHIFT = 4  # 0: the range (a0, a1), 1: (b0, b1).
KEY_SHIFT, QUERY_SHIFT = 5, 18
MAX_BLOCKS = 1 << 13  # Of queries and of keys: what the bits hold.

BOUND_ROWS = 8  # a0, a1, b0, b1, whether the query sees anything, three unused: one tile high.
ASKS_ROW = 4


class WorkList(NamedTuple):
    """entries [B, L] int32, packed; num_entries [B] int32: how many of them are real.

    Entries of one query block follow each other. Every query block has one at least, so that its
    output is written. Entries beyond those repeat the blocks of the last and do nothing new.
    """

    entries: jax.Array
    num_entries: jax.Array


class TpuSchedule(NamedTuple):
    """What the kernels want to know of the ranges.

    forward, backward: the lists for their block sizes; the backward one ends in J entries DRAIN,
    in which the gradients of the J key blocks are written.
    bounds [B, 8, T padded to whole blocks] int32: see BOUND_ROWS, the causal bound inside.
    asked [B, 1, S padded] float32: 1 where any query sees the key.
    """

    forward: WorkList
    backward: WorkList
    bounds: jax.Array
    asked: jax.Array


def query_block(entry: jax.Array) -> jax.Array:
    """Which block of queries an entry is about."""
    return lax.shift_right_logical(entry, QUERY_SHIFT)


def key_block(entry: jax.Array) -> jax.Array:
    """Which block of keys an entry is about."""
    return lax.shift_right_logical(entry, KEY_SHIFT) & (MAX_BLOCKS - 1)


def range_index(entry: jax.Array) -> jax.Array:
    """Which of the two ranges an entry is about."""
    return lax.shift_right_logical(entry, RANGE_SHIFT) & 1


def work_list(
    ranges_BT4: jax.Array, num_keys: int, *, causal: bool, sizes: tuple[int, int], drain: bool
) -> WorkList:
    """The list for blocks of `sizes` = (queries, keys); drain: append the J entries DRAIN."""
    J = -(-num_keys // sizes[1])
    kinds = []
    for kept in ([True, True, False, False], [False, False, True, True]):
        found = block_schedule(
            jnp.where(jnp.asarray(kept)[None, None], ranges_BT4, 0),
            num_keys,
            causal=causal,
            query_block=sizes[0],
            key_block=sizes[1],
        )
        partial_BIJ = jnp.where(visits(found.key_spans, J), PARTIAL, 0)
        kinds.append(jnp.where(visits(found.full_spans, J), FULL, partial_BIJ))
    return _pack(jnp.stack(kinds, axis=-1), drain)


def _pack(kind_BIJR: jax.Array, drain: bool) -> WorkList:
    B, I, J, R = kind_BIJR.shape  # noqa: E741
    kind_BL = kind_BIJR.reshape(B, I * J * R)
    # A query block that sees nothing still writes its zeros: it gets one entry with kind 0.
    idle_BI1 = (kind_BIJR == 0).all(axis=(2, 3))[:, :, None]
    listed_BIL = (kind_BL != 0).reshape(B, I, J * R) | (
        idle_BI1 & (jnp.arange(J * R) == 0)[None, None]
    )
    listed_BL = listed_BIL.reshape(B, I * J * R)
    count_B = listed_BL.sum(axis=1, dtype=jnp.int32)
    order_BL = jnp.argsort(~listed_BL, axis=1, stable=True).astype(jnp.int32)
    place_1L = jnp.arange(I * J * R + (J if drain else 0), dtype=jnp.int32)[None]
    at_BL = jnp.minimum(place_1L, count_B[:, None] - 1)
    flat_BL = jnp.take_along_axis(order_BL, at_BL, axis=1)
    i_BL, j_BL, r_BL = flat_BL // (J * R), flat_BL // R % J, flat_BL % R
    kind_BL = jnp.take_along_axis(kind_BL, flat_BL, axis=1)
    change = i_BL[:, 1:] != i_BL[:, :-1]
    edge = jnp.ones((B, 1), bool)
    first_BL = jnp.concatenate([edge, change], axis=1)
    last_BL = jnp.concatenate([change, edge], axis=1) | (place_1L == count_B[:, None] - 1)
    what_BL = kind_BL + jnp.where(first_BL, FIRST, 0) + jnp.where(last_BL, LAST, 0)
    beyond_BL = place_1L - count_B[:, None]
    what_BL = jnp.where(beyond_BL < 0, what_BL, DRAIN if drain else 0)
    if drain:
        j_BL = jnp.where(beyond_BL < 0, j_BL, jnp.minimum(beyond_BL, J - 1))
        count_B = count_B + J
    blocks_BL = (i_BL << QUERY_SHIFT) | (j_BL << KEY_SHIFT)
    entries_BL = blocks_BL | (r_BL << RANGE_SHIFT) | what_BL
    return WorkList(entries_BL.astype(jnp.int32), count_B)


def bounds_of(ranges_BT4: jax.Array, num_keys: int, *, causal: bool, length: int) -> jax.Array:
    """[B, 8, length] int32: the ranges as rows, queries beyond T seeing nothing."""
    starts_BRT = jnp.maximum(ranges_BT4[..., 0::2], 0).swapaxes(1, 2)
    stops_BRT = jnp.minimum(ranges_BT4[..., 1::2], num_keys).swapaxes(1, 2)
    if causal:
        T = ranges_BT4.shape[1]
        stops_BRT = jnp.minimum(stops_BRT, jnp.arange(1, T + 1, dtype=jnp.int32)[None, None])
    some_BRT = stops_BRT > starts_BRT
    starts_BRT, stops_BRT = (jnp.where(some_BRT, x, 0) for x in (starts_BRT, stops_BRT))
    (a0, b0), (a1, b1) = (x.swapaxes(0, 1) for x in (starts_BRT, stops_BRT))
    rows = jnp.stack([a0, a1, b0, b1, some_BRT.any(axis=1)], axis=1).astype(jnp.int32)
    return jnp.pad(rows, [(0, 0), (0, BOUND_ROWS - 5), (0, length - rows.shape[2])])


def asked_of(bounds_B8T: jax.Array, length: int) -> jax.Array:
    """[B, 1, length] float32: 1 where any query sees the key."""
    B = bounds_B8T.shape[0]
    starts, stops = bounds_B8T[:, 0:4:2].reshape(B, -1), bounds_B8T[:, 1:4:2].reshape(B, -1)
    row = jnp.arange(B)[:, None] + jnp.zeros_like(starts)
    # Plus one where a range opens and minus one where it closes: their running sum counts.
    turns = jnp.zeros((B, length + 1), jnp.int32)
    turns = turns.at[row, starts].add(1).at[row, stops].add(-1)
    return (jnp.cumsum(turns, axis=1)[:, None, :length] > 0).astype(jnp.float32)
