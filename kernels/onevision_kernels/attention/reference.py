"""What range attention computes, written plainly: dense scores, float32 softmax.

Letters: B batch, T queries, S keys, N query heads, K kv heads, G = N / K, H head width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from onevision_kernels.attention.ranges import visible


class AttentionOutput(NamedTuple):
    """out [B, T, N, H] in the dtype of v; lse [B, T, N] float32 (-inf where nothing is seen)."""

    out: jax.Array
    lse: jax.Array


def attend_masked(
    q_BTNH: jax.Array, k_BSKH: jax.Array, v_BSKH: jax.Array, seen_BTS: jax.Array, scale: float
) -> AttentionOutput:
    """Softmax attention under a dense mask; scores and softmax in float32 (or float64).

    Rows that see nothing give zeros, and positions nobody sees may hold NaN without leaking,
    forward or backward: both sides of every product are zeroed there.
    """
    B, T, N, H = q_BTNH.shape
    K = k_BSKH.shape[2]
    accumulate = jnp.promote_types(q_BTNH.dtype, jnp.float32)
    asks_BT11 = seen_BTS.any(axis=2)[:, :, None, None]
    asked_BS11 = seen_BTS.any(axis=1)[:, :, None, None]
    q_BTKGH = jnp.where(asks_BT11, q_BTNH, 0).reshape(B, T, K, N // K, H)
    k_BSKH = jnp.where(asked_BS11, k_BSKH, 0)
    v_BSKH = jnp.where(asked_BS11, v_BSKH, 0)
    scores_BKGTS = jnp.einsum(
        "BTKGH,BSKH->BKGTS", q_BTKGH, k_BSKH, preferred_element_type=accumulate
    )
    seen_B11TS = seen_BTS[:, None, None]
    scores_BKGTS = jnp.where(seen_B11TS, scores_BKGTS * scale, -jnp.inf)
    peak_BKGT1 = scores_BKGTS.max(axis=-1, keepdims=True, initial=-jnp.inf)
    peak_BKGT1 = jax.lax.stop_gradient(jnp.where(jnp.isfinite(peak_BKGT1), peak_BKGT1, 0.0))
    # Masked scores are replaced once more: exp(-inf - 0) has a NaN-free value and gradient only so.
    weights_BKGTS = jnp.where(
        seen_B11TS, jnp.exp(jnp.where(seen_B11TS, scores_BKGTS, 0.0) - peak_BKGT1), 0.0
    )
    total_BKGT1 = weights_BKGTS.sum(axis=-1, keepdims=True)
    some_BKGT1 = total_BKGT1 > 0
    safe_BKGT1 = jnp.where(some_BKGT1, total_BKGT1, 1.0)
    probs_BKGTS = (weights_BKGTS / safe_BKGT1).astype(v_BSKH.dtype)
    out_BTKGH = jnp.einsum("BKGTS,BSKH->BTKGH", probs_BKGTS, v_BSKH)
    lse_BKGT = jnp.where(some_BKGT1, jnp.log(safe_BKGT1) + peak_BKGT1, -jnp.inf)[..., 0]
    lse_BTN = lse_BKGT.transpose(0, 3, 1, 2).reshape(B, T, N)
    return AttentionOutput(out_BTKGH.reshape(B, T, N, H), lse_BTN)


def reference_attention(
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
    """The specification: one dense [B, N, T, S] score array (the last two change nothing)."""
    del max_span, schedule
    queries = jnp.arange(q_BTNH.shape[1], dtype=jnp.int32)
    keys = jnp.arange(k_BSKH.shape[1], dtype=jnp.int32)
    seen_BTS = visible(ranges_BT4, queries, keys, causal)
    return attend_masked(q_BTNH, k_BSKH, v_BSKH, seen_BTS, scale)
