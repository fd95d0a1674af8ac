"""Range attention in plain XLA, for every backend: dense when small, in query blocks when not.

Dense attention has its own backward pass, which computes the weights again from the log-sum-exp,
so no array of scores is kept for it.
Scores of more than DENSE_LIMIT x DENSE_LIMIT positions are never held at once: a loop takes
QUERY_BLOCK queries at a time against all keys and recomputes them in the backward pass. Where a
static bound on the reach of the ranges is given (`max_span`, vision windows), each block meets
only the keys within reach, so the cost is linear in T.

Letters: B batch, T queries, S keys, N query heads, K kv heads, H head width, J query blocks.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from onevision_kernels.attention.ranges import visible
from onevision_kernels.attention.reference import (
    AttentionOutput,
    attend_masked,
    reference_attention,
)

DENSE_LIMIT = 4096
QUERY_BLOCK = 512
WINDOW_BLOCK = 256  # Smaller than QUERY_BLOCK: a window block wastes 2 * max_span keys.


def xla_attention(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    ranges_BT4: jax.Array,
    *,
    causal: bool,
    scale: float,
    max_span: int | None = None,
    schedule: object = (),
) -> AttentionOutput:
    """Same contract as `reference_attention`; memory linear in T beyond DENSE_LIMIT."""
    del schedule
    T, S = q_BTNH.shape[1], k_BSKH.shape[1]
    if max_span is not None and T == S and T > WINDOW_BLOCK + 2 * max_span:
        return _in_windows(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal, scale, max_span)
    if T * S > DENSE_LIMIT * DENSE_LIMIT:
        return _in_blocks(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal, scale)
    return AttentionOutput(*_dense(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal, scale))


def _dense_results(
    q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal: bool, scale: float
) -> tuple[jax.Array, jax.Array]:
    """(out, lse) of the reference."""
    found = reference_attention(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal=causal, scale=scale)
    return found.out, found.lse


def _dense_forward(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal, scale):
    out_BTNH, lse_BTN = _dense_results(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal, scale)
    return (out_BTNH, lse_BTN), (q_BTNH, k_BSKH, v_BSKH, ranges_BT4, out_BTNH, lse_BTN)


def _dense_backward(causal, scale, saved, cotangents):
    """With weights p, d_scores = p (d_out . v - d_out . out + d_lse)."""
    q_BTNH, k_BSKH, v_BSKH, ranges_BT4, out_BTNH, lse_BTN = saved
    d_out_BTNH, d_lse_BTN = cotangents
    (B, T, N, H), (S, K) = q_BTNH.shape, k_BSKH.shape[1:3]
    wide = jnp.promote_types(q_BTNH.dtype, jnp.float32)
    einsum = functools.partial(jnp.einsum, preferred_element_type=wide)
    seen_BTS = visible(ranges_BT4, jnp.arange(T), jnp.arange(S), causal)
    asks_BT11 = seen_BTS.any(axis=2)[:, :, None, None]
    asked_BS11 = seen_BTS.any(axis=1)[:, :, None, None]
    # What nobody sees may hold NaN, which no product with 0 would remove.
    q, d_out = (
        jnp.where(asks_BT11, x, 0).reshape(B, T, K, N // K, H) for x in (q_BTNH, d_out_BTNH)
    )
    k, v = (jnp.where(asked_BS11, x, 0) for x in (k_BSKH, v_BSKH))
    own_BTN = (d_out.reshape(B, T, N, H).astype(wide) * out_BTNH.astype(wide)).sum(axis=-1)
    shift_BTN = jnp.where(asks_BT11[..., 0], d_lse_BTN - own_BTN, 0)

    def per_score(x_BTN):  # [B, K, G, T, 1]
        return x_BTN.reshape(B, T, K, N // K).transpose(0, 2, 3, 1)[..., None]

    seen_B11TS = seen_BTS[:, None, None]
    lse = per_score(jnp.where(asks_BT11[..., 0], lse_BTN, 0))
    scores_BKGTS = einsum("BTKGH,BSKH->BKGTS", q, k) * scale
    weights_BKGTS = jnp.where(
        seen_B11TS, jnp.exp(jnp.where(seen_B11TS, scores_BKGTS, lse) - lse), 0
    )
    d_weights_BKGTS = einsum("BTKGH,BSKH->BKGTS", d_out, v)
    d_scores_BKGTS = weights_BKGTS * (d_weights_BKGTS + per_score(shift_BTN)) * scale
    narrow_BKGTS = d_scores_BKGTS.astype(q.dtype)
    d_q = einsum("BKGTS,BSKH->BTKGH", narrow_BKGTS, k).reshape(B, T, N, H)
    d_k = einsum("BKGTS,BTKGH->BSKH", narrow_BKGTS, q)
    d_v = einsum("BKGTS,BTKGH->BSKH", weights_BKGTS.astype(v.dtype), d_out)
    return d_q.astype(q.dtype), d_k.astype(k.dtype), d_v.astype(v.dtype), None


_dense: Any = jax.custom_vjp(_dense_results, nondiff_argnums=(4, 5))
_dense.defvjp(_dense_forward, _dense_backward)


def _split(x_BT: jax.Array, block: int) -> jax.Array:
    """[B, T, ...] -> [J, B, block, ...], T padded with zeros to a multiple of the block."""
    B, T = x_BT.shape[:2]
    num_blocks = -(-T // block)
    padding = [(0, 0)] * x_BT.ndim
    padding[1] = (0, num_blocks * block - T)
    blocks = jnp.pad(x_BT, padding).reshape(B, num_blocks, block, *x_BT.shape[2:])
    return jnp.moveaxis(blocks, 1, 0)


def _join(x_JBT: jax.Array, num_queries: int) -> jax.Array:
    """[J, B, block, ...] -> [B, T, ...], the padding cut off."""
    J, B, block = x_JBT.shape[:3]
    joined = jnp.moveaxis(x_JBT, 0, 1).reshape(B, J * block, *x_JBT.shape[3:])
    return joined[:, :num_queries]


def _in_blocks(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal, scale) -> AttentionOutput:
    """One block of queries after another against all keys."""
    keys = jnp.arange(k_BSKH.shape[1], dtype=jnp.int32)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def one_block(args):
        start, q, ranges = args
        queries = start + jnp.arange(QUERY_BLOCK, dtype=jnp.int32)
        seen = visible(ranges, queries, keys, causal)
        return attend_masked(q, k_BSKH, v_BSKH, seen, scale)

    q_blocks, range_blocks = _split(q_BTNH, QUERY_BLOCK), _split(ranges_BT4, QUERY_BLOCK)
    starts = jnp.arange(q_blocks.shape[0], dtype=jnp.int32) * QUERY_BLOCK
    outputs = lax.map(one_block, (starts, q_blocks, range_blocks))
    return AttentionOutput(*(_join(x, q_BTNH.shape[1]) for x in outputs))


def _in_windows(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, causal, scale, max_span) -> AttentionOutput:
    """All blocks at once, each against the keys at most `max_span` away from its queries."""
    S = k_BSKH.shape[1]
    reach = min(WINDOW_BLOCK + 2 * max_span, S)

    def one_block(start, q, ranges):
        first = jnp.clip(start - max_span, 0, S - reach)
        k = lax.dynamic_slice_in_dim(k_BSKH, first, reach, axis=1)
        v = lax.dynamic_slice_in_dim(v_BSKH, first, reach, axis=1)
        queries = start + jnp.arange(WINDOW_BLOCK, dtype=jnp.int32)
        keys = first + jnp.arange(reach, dtype=jnp.int32)
        return attend_masked(q, k, v, visible(ranges, queries, keys, causal), scale)

    q_blocks, range_blocks = _split(q_BTNH, WINDOW_BLOCK), _split(ranges_BT4, WINDOW_BLOCK)
    starts = jnp.arange(q_blocks.shape[0], dtype=jnp.int32) * WINDOW_BLOCK
    outputs = jax.vmap(one_block)(starts, q_blocks, range_blocks)
    return AttentionOutput(*(_join(x, q_BTNH.shape[1]) for x in outputs))
