"""Attention masks as data: the key ranges each query may see.

`ranges` is int32 [B, T, 4] = (a0, a1, b0, b1): query t sees key s iff `a0 <= s < a1` or
`b0 <= s < b1`. One array describes packed causal text, full and windowed vision attention, a KV
cache with padding, and shared prompts, so one kernel serves them all. The two ranges of a query
must not overlap. Both empty = the query sees nothing and its output is zero.

Letters: B batch, T queries, S keys.
"""

import jax
import jax.numpy as jnp
from jax import lax


def segment_bounds(ids_BT: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First index and one-past-last index of the run of equal ids each position lies in.

    ids [B, T] int; equal ids must be contiguous. Returns two int32 [B, T].
    Example: [7 7 7 2 0 0] -> starts [0 0 0 3 4 4], stops [3 3 3 4 6 6].
    """
    T = ids_BT.shape[1]
    index_BT = lax.broadcasted_iota(jnp.int32, ids_BT.shape, 1)
    changes = ids_BT[:, 1:] != ids_BT[:, :-1]
    edge = jnp.ones((ids_BT.shape[0], min(T, 1)), bool)
    opens = jnp.concatenate([edge, changes], axis=1)
    closes = jnp.concatenate([changes, edge], axis=1)
    starts = lax.cummax(jnp.where(opens, index_BT, 0), axis=1)
    stops = lax.cummin(jnp.where(closes, index_BT + 1, T), axis=1, reverse=True)
    return starts, stops


def segment_ranges(ids_BT: jax.Array) -> jax.Array:
    """Each position sees the positions of its own segment; id 0 (padding) sees nothing.

    ids [B, T] int, equal ids contiguous (segment, image or window ids). Returns [B, T, 4] int32.
    """
    starts, stops = segment_bounds(ids_BT)
    real = ids_BT != 0
    zeros = jnp.zeros_like(starts)
    return jnp.stack([jnp.where(real, starts, 0), jnp.where(real, stops, 0), zeros, zeros], axis=-1)


def cache_ranges(start_B: jax.Array, length: jax.Array, num_new: int) -> jax.Array:
    """Queries written at slots `length .. length + num_new - 1` see the slots up to their own.

    start [B] int32: first real slot of each row (slots before it are left padding).
    length [] int32: slots filled before this call. Returns [B, num_new, 4] int32.
    A query in the padding itself (its slot lies before `start`) sees nothing.
    """
    slot_T = length + jnp.arange(num_new, dtype=jnp.int32)
    a0 = jnp.broadcast_to(start_B[:, None], (start_B.shape[0], num_new)).astype(jnp.int32)
    a1 = jnp.broadcast_to(slot_T[None, :] + 1, a0.shape)
    zeros = jnp.zeros_like(a0)
    return jnp.stack([a0, a1, zeros, zeros], axis=-1)


def visible(ranges_BT4: jax.Array, query_T: jax.Array, key_S: jax.Array, causal: bool) -> jax.Array:
    """The dense mask: bool [B, T, S], True where the query sees the key.

    query [T], key [S] int32: indices the block's rows and columns stand for.
    """
    a0, a1, b0, b1 = (ranges_BT4[:, :, i, None] for i in range(4))
    key = key_S[None, None, :]
    seen = ((key >= a0) & (key < a1)) | ((key >= b0) & (key < b1))
    if causal:
        seen &= key <= query_T[None, :, None]
    return seen
