"""Decode attention in plain XLA, for every backend.

The queries of all answers to a prompt meet its keys in one matrix product per kv head, of
M = G x T x (N / K) rows, so the prompt's keys and values are read once a group; each answer's own
keys meet its own queries; the two results are merged by log-sum-exp. Keys and values are multiplied
in their own dtype and summed in float32: nothing of the size of the cache is written.

Letters: B rows, P prompts, G answers a prompt, T new tokens, S slots, N query heads, K kv heads,
M query rows a kv head, H head width, X prompts or rows.
"""

import jax
import jax.numpy as jnp

from onevision_kernels.attention.reference import AttentionOutput
from onevision_kernels.decode.cache import SharedCache, layer_of, query_limits
from onevision_kernels.decode.merge import Part, merge


def xla_decode(
    q_BTNH: jax.Array, cache: SharedCache, layer: jax.Array, *, scale: float
) -> AttentionOutput:
    """Same contract as `reference_decode`."""
    B, T, N, _ = q_BTNH.shape
    prompt_k, prompt_v, answer_k, answer_v = layer_of(cache, layer)
    P, K, S, _ = prompt_k.shape
    starts_P11, stops_P11 = (cache.bounds[:, i, None, None] for i in (0, 1))
    slot_11S, slot_11R = (
        jnp.arange(n, dtype=jnp.int32)[None, None] for n in (S, answer_k.shape[2])
    )
    seen_P1S = (slot_11S >= starts_P11) & (slot_11S < stops_P11)
    limits_BT = query_limits(cache.lengths, T)
    limits_BM1 = jnp.repeat(limits_BT, N // K, axis=1)[:, :, None]
    parts = [
        attend_part(by_kv_head(q_BTNH, P, K), prompt_k, prompt_v, seen_P1S, scale),
        attend_part(by_kv_head(q_BTNH, B, K), answer_k, answer_v, slot_11R < limits_BM1, scale),
    ]
    rows = [Part(*(by_row(x, B, T) for x in part)) for part in parts]
    out_BTNH, lse_BTN = merge(rows)
    return AttentionOutput(out_BTNH.astype(answer_v.dtype), lse_BTN)


def by_kv_head(q_BTNH: jax.Array, groups: int, num_kv_heads: int) -> jax.Array:
    """[X, K, M, H] with X = groups: the queries that meet the same keys, as rows of a matrix."""
    B, T, N, H = q_BTNH.shape
    G, K = B // groups, num_kv_heads
    split = q_BTNH.reshape(groups, G, T, K, N // K, H)
    return split.transpose(0, 3, 1, 2, 4, 5).reshape(groups, K, G * T * (N // K), H)


def by_row(x_XKM: jax.Array, rows: int, num_new: int) -> jax.Array:
    """The way back: [X, K, M, ...] -> [B, T, N, ...]."""
    X, K, M, *width = x_XKM.shape
    G = rows // X
    share = M // (G * num_new)
    split = x_XKM.reshape(X, K, G, num_new, share, *width)
    back = jnp.moveaxis(split, 1, 3)
    return back.reshape(rows, num_new, K * share, *width)


def attend_part(q_XKMH, k_XKSH, v_XKSH, seen_XMS, scale: float) -> Part:
    """Softmax attention of each group's rows over its slots. seen: [X, M, S], M may be 1."""
    wide = jnp.promote_types(q_XKMH.dtype, jnp.float32)
    scores_XKMS = jnp.einsum("XKMH,XKSH->XKMS", q_XKMH, k_XKSH, preferred_element_type=wide)
    seen_X1MS = seen_XMS[:, None]
    scores_XKMS = jnp.where(seen_X1MS, scores_XKMS * scale, -jnp.inf)
    peak_XKM = scores_XKMS.max(axis=-1, initial=-jnp.inf)
    peak_XKM = jnp.where(jnp.isfinite(peak_XKM), peak_XKM, 0.0)
    weights_XKMS = jnp.exp(scores_XKMS - peak_XKM[..., None])  # exp(-inf) = 0 where nothing is seen
    # A value that nobody sees may be NaN, which no product with 0 would remove.
    asked_X1S1 = seen_XMS.any(axis=1)[:, None, :, None]
    weighted_XKMH = jnp.einsum(
        "XKMS,XKSH->XKMH",
        weights_XKMS.astype(v_XKSH.dtype),
        jnp.where(asked_X1S1, v_XKSH, 0),
        preferred_element_type=wide,
    )
    return Part(weighted_XKMH, weights_XKMS.sum(axis=-1), peak_XKM)
