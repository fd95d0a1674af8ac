"""What the backward kernels on Hopper ask of the ranges: which blocks to visit, which need a mask.

Blocks are BLOCK x BLOCK, the height of one wgmma; a program of two warpgroups holds a pair of them.

Letters: B batch, T queries, S keys (both padded), I and J their blocks, P pairs of blocks.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from onevision_kernels.attention.schedule import BlockSchedule, visits

BLOCK = 64
PAIR = 2 * BLOCK

SKIPPED, MASKED, FULL = 0, 1, 2


class Plan(NamedTuple):
    """All int32; spans are half-open.

    bounds [B, 4, T]: a query sees key s iff bounds[0] <= s < bounds[1] and not
    bounds[2] <= s < bounds[3]; the causal bound is inside.
    state [B, I + 1, J + 1]: SKIPPED, MASKED or FULL; the last row and column may be read, not used.
    key_spans [B, P, 4]: the two spans of key blocks that a pair of query blocks visits.
    query_spans [B, P, 2]: the span of query blocks that visits a pair of key blocks.
    asks [B, T], asked [B, S]: 1 where the query sees a key, where the key is seen.
    query_gaps [B, I], key_gaps [B, J]: 1 where a row of the block has 0 there.
    query_order, key_order [B * P]: which pair (b * P + p) each program takes, most work first, so
    that no long one starts last.
    """

    bounds: jax.Array
    state: jax.Array
    key_spans: jax.Array
    query_spans: jax.Array
    asks: jax.Array
    asked: jax.Array
    query_gaps: jax.Array
    key_gaps: jax.Array
    query_order: jax.Array
    key_order: jax.Array


def backward_plan(
    ranges_BT4: jax.Array, schedule: BlockSchedule, num_keys: int, *, causal: bool
) -> Plan:
    """The plan for ranges and their schedule in blocks of BLOCK x BLOCK.

    T and S are padded to whole pairs: padding sees nothing and is not seen.
    Raises ValueError for a schedule made for other blocks.
    """
    num_queries = ranges_BT4.shape[1]
    I, J = (_blocks(x) for x in (num_queries, num_keys))  # noqa: E741
    found = (schedule.key_spans.shape[1], schedule.query_spans.shape[1])
    if found != (-(-num_queries // BLOCK), -(-num_keys // BLOCK)):
        raise ValueError(
            f"the backward schedule has {found} query and key blocks for {num_queries} queries and "
            f"{num_keys} keys; make it for blocks of {BLOCK} x {BLOCK}"
        )
    ranges_BT4 = jnp.pad(ranges_BT4, [(0, 0), (0, I * BLOCK - num_queries), (0, 0)])
    key_spans, full_spans = (
        jnp.pad(x, [(0, 0), (0, I - x.shape[1]), (0, 0)])
        for x in (schedule.key_spans, schedule.full_spans)
    )
    query_spans = jnp.pad(schedule.query_spans, [(0, 0), (0, J - found[1]), (0, 0)])
    starts, stops = _effective(ranges_BT4, num_keys, causal)
    asks = (stops > starts).any(axis=2).astype(jnp.int32)
    asked = _asked(starts, stops, J * BLOCK)
    visited = visits(key_spans, J)
    full = visited & visits(full_spans, J)
    return Plan(
        bounds=_bounds(starts, stops).transpose(0, 2, 1),
        state=jnp.pad(visited.astype(jnp.int32) + full, [(0, 0), (0, 1), (0, 1)]),
        key_spans=_pair_spans(key_spans),
        query_spans=_hull(query_spans[:, 0::2], query_spans[:, 1::2]),
        asks=asks,
        asked=asked,
        query_gaps=_gaps(asks),
        key_gaps=_gaps(asked),
        query_order=_most_first(visited.sum(axis=2)),
        key_order=_most_first(visited.sum(axis=1)),
    )


def _blocks(length: int) -> int:
    """Blocks of the padded length: an even number."""
    return 2 * -(-length // PAIR)


def _effective(ranges_BT4: jax.Array, num_keys: int, causal: bool) -> tuple[jax.Array, jax.Array]:
    """Starts and stops [B, T, 2] with the causal bound inside; an empty range is (0, 0)."""
    starts = jnp.maximum(ranges_BT4[..., 0::2], 0)
    stops = jnp.minimum(ranges_BT4[..., 1::2], num_keys)
    if causal:
        T = ranges_BT4.shape[1]
        stops = jnp.minimum(stops, jnp.arange(1, T + 1, dtype=jnp.int32)[None, :, None])
    some = stops > starts
    return jnp.where(some, starts, 0), jnp.where(some, stops, 0)


def _bounds(starts_BT2: jax.Array, stops_BT2: jax.Array) -> jax.Array:
    """[B, T, 4]: the hull of both ranges and the gap in it."""
    some = stops_BT2 > starts_BT2
    far = jnp.iinfo(jnp.int32).max
    lo = jnp.where(some, starts_BT2, far).min(axis=2)
    hi = stops_BT2.max(axis=2)
    both = some.all(axis=2)
    gap_lo = jnp.where(both, stops_BT2.min(axis=2), 0)
    gap_hi = jnp.where(both, starts_BT2.max(axis=2), 0)
    return jnp.stack([jnp.where(hi > 0, lo, 0), hi, gap_lo, gap_hi], axis=-1)


def _asked(starts_BT2: jax.Array, stops_BT2: jax.Array, num_keys: int) -> jax.Array:
    """int32 [B, S]: 1 where some query sees the key. Ranges open and close like brackets."""
    row = jnp.arange(starts_BT2.shape[0])[:, None, None]
    steps = jnp.zeros((starts_BT2.shape[0], num_keys + 1), jnp.int32)
    steps = steps.at[row, starts_BT2].add(1).at[row, stops_BT2].add(-1)
    return (jnp.cumsum(steps, axis=1)[:, :num_keys] > 0).astype(jnp.int32)


def _gaps(seen_BT: jax.Array) -> jax.Array:
    B, T = seen_BT.shape
    return 1 - seen_BT.reshape(B, T // BLOCK, BLOCK).min(axis=2)


def _most_first(visits_BI: jax.Array) -> jax.Array:
    """int32 [B * P]: the pairs of blocks by falling number of visits."""
    pairs = visits_BI[:, 0::2] + visits_BI[:, 1::2]
    return jnp.argsort(-pairs.reshape(-1), stable=True).astype(jnp.int32)


def _hull(a_BP2: jax.Array, b_BP2: jax.Array) -> jax.Array:
    """The smallest span around both; an empty one is (0, 0) and counts for nothing."""
    some_a, some_b = (x[..., 1:] > 0 for x in (a_BP2, b_BP2))
    lo = jnp.minimum(a_BP2[..., :1], b_BP2[..., :1])
    lo = jnp.where(some_a & some_b, lo, jnp.where(some_a, a_BP2[..., :1], b_BP2[..., :1]))
    return jnp.concatenate([lo, jnp.maximum(a_BP2[..., 1:], b_BP2[..., 1:])], axis=-1)


def _pair_spans(spans_BI4: jax.Array) -> jax.Array:
    """[B, P, 4] around those of two query blocks: first with first, second with second.

    It may hold a block neither visits (the state says so), and never one of them twice.
    """
    a, b = spans_BI4[:, 0::2], spans_BI4[:, 1::2]
    first, second = _hull(a[..., :2], b[..., :2]), _hull(a[..., 2:], b[..., 2:])
    joined = (second[..., 1:] > 0) & (second[..., :1] <= first[..., 1:])
    whole = _hull(first, second)
    first = jnp.where(joined, whole, first)
    return jnp.concatenate([first, jnp.where(joined, 0, second)], axis=-1)
