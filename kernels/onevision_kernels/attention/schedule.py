"""Which blocks of keys a block of queries visits: computed once a batch, shared by all layers.

Kernels work on blocks of QB queries and KB keys. A block nobody looks into is skipped at run time;
one that every query sees whole needs no mask.

Letters: B batch, T queries, S keys, I query blocks = ceil(T / QB), J key blocks = ceil(S / KB).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class BlockSchedule(NamedTuple):
    """Half-open spans of block indices, int32; an empty span is (0, 0).

    key_spans [B, I, 4]: (lo0, hi0, lo1, hi1), the key blocks that query block i visits. The first
    span lies wholly before the second, and is the only one where one is enough.
    full_spans [B, I, 4]: two spans of key blocks (maybe empty, any order) that every query of the
    block sees whole; all lie among those visited. A last block of queries that is not filled to
    QB sees no block whole.
    query_spans [B, J, 2]: first and one past last query block that visits key block j. A query
    block between them may still not visit it: ask its `key_spans`.
    """

    key_spans: jax.Array
    full_spans: jax.Array
    query_spans: jax.Array


def block_schedule(
    ranges_BT4: jax.Array, num_keys: int, *, causal: bool, query_block: int, key_block: int
) -> BlockSchedule:
    """The schedule of `ranges` (see `ranges.py`) for blocks of these sizes."""
    starts_BTR, stops_BTR = _effective(ranges_BT4, num_keys, causal)
    starts, stops = (_in_blocks(x, query_block) for x in (starts_BTR, stops_BTR))
    key_spans = _visited(starts, stops, key_block, num_keys)
    return BlockSchedule(
        key_spans=_merge(key_spans).reshape(*key_spans.shape[:2], 4),
        full_spans=_full(starts, stops, key_block).reshape(*key_spans.shape[:2], 4),
        query_spans=_reverse(_merge(key_spans), -(-num_keys // key_block)),
    )


def visits(key_spans_BI4: jax.Array, num_key_blocks: int) -> jax.Array:
    """bool [B, I, J]: query block i visits key block j."""
    lo0, hi0, lo1, hi1 = (key_spans_BI4[:, :, n, None] for n in range(4))
    j = jnp.arange(num_key_blocks, dtype=jnp.int32)[None, None]
    return ((j >= lo0) & (j < hi0)) | ((j >= lo1) & (j < hi1))


def _effective(ranges_BT4: jax.Array, num_keys: int, causal: bool) -> tuple[jax.Array, jax.Array]:
    """Starts and stops [B, T, 2] with the causal bound inside; an empty range is (0, 0)."""
    starts, stops = ranges_BT4[..., 0::2], jnp.minimum(ranges_BT4[..., 1::2], num_keys)
    starts = jnp.maximum(starts, 0)
    if causal:
        T = ranges_BT4.shape[1]
        stops = jnp.minimum(stops, jnp.arange(1, T + 1, dtype=jnp.int32)[None, :, None])
    some = stops > starts
    return jnp.where(some, starts, 0), jnp.where(some, stops, 0)


def _in_blocks(x_BTR: jax.Array, query_block: int) -> jax.Array:
    """[B, I, QB, 2]; queries beyond T see nothing."""
    B, T, R = x_BTR.shape
    padded = jnp.pad(x_BTR, [(0, 0), (0, -T % query_block), (0, 0)])
    return padded.reshape(B, -1, query_block, R)


def _visited(starts: jax.Array, stops: jax.Array, key_block: int, num_keys: int) -> jax.Array:
    """[B, I, 2 ranges, 2]: the hull of each range over the block's queries, in key blocks."""
    some = stops > starts
    lo = jnp.where(some, starts, num_keys).min(axis=2) // key_block
    hi = -(-stops.max(axis=2) // key_block)
    return jnp.where((hi > 0)[..., None], jnp.stack([lo, hi], axis=-1), 0)


def _merge(spans_BI22: jax.Array) -> jax.Array:
    """The two spans in order, or one where they meet."""
    a, b = spans_BI22[:, :, 0], spans_BI22[:, :, 1]
    some_a, some_b = a[..., 1] > 0, b[..., 1] > 0
    swap = some_b & (~some_a | (b[..., 0] < a[..., 0]))
    first, second = (jnp.where(swap[..., None], x, y) for x, y in ((b, a), (a, b)))
    joined = (second[..., 1] > 0) & (second[..., 0] <= first[..., 1])
    stop = jnp.where(joined, jnp.maximum(first[..., 1], second[..., 1]), first[..., 1])
    first = jnp.stack([first[..., 0], stop], axis=-1)
    return jnp.stack([first, jnp.where(joined[..., None], 0, second)], axis=2).astype(jnp.int32)


def _full(starts: jax.Array, stops: jax.Array, key_block: int) -> jax.Array:
    """[B, I, 2, 2]: the key blocks inside the intersection of each range over the queries."""
    lo = -(-starts.max(axis=2) // key_block)
    hi = stops.min(axis=2) // key_block
    spans = jnp.stack([lo, hi], axis=-1)
    return jnp.where((hi > lo)[..., None], spans, 0).astype(jnp.int32)


def _reverse(spans_BI22: jax.Array, num_key_blocks: int) -> jax.Array:
    """[B, J, 2] from the visited spans."""
    B, I = spans_BI22.shape[:2]  # noqa: E741
    seen_BIJ = visits(spans_BI22.reshape(B, I, 4), num_key_blocks)
    i = jnp.arange(I, dtype=jnp.int32)[None, :, None]
    lo = jnp.where(seen_BIJ, i, I).min(axis=1)
    hi = jnp.where(seen_BIJ, i + 1, 0).max(axis=1)
    return jnp.where((hi > 0)[..., None], jnp.stack([lo, hi], axis=-1), 0)
