"""Decode attention in plain XLA, for every backend.

The queries of all answers to a prompt meet its keys in one matrix product per kv head, of
M = G x T x (N / K) rows, so the prompt's keys and values are read once a group; each answer's own
keys meet its own queries; the two results are merged by log-sum-exp. Keys and values are multiplied
in their own dtype and summed in float32. On TPU nothing of the size of the cache is written; on GPU
XLA cuts a layer's keys and values out into a copy before it multiplies them.

Letters: B rows, P prompts, G answers a prompt, T new tokens, S slots, N query heads, K kv heads,
M query rows a kv head, H head width, X prompts or rows.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from onevision_kernels.attention.reference import AttentionOutput
from onevision_kernels.decode.cache import SharedCache, query_limits
from onevision_kernels.decode.merge import Part, merge

LEAST_SLOTS = 128  # Rooms are read by quarters only where a quarter is at least this long.


def xla_decode(
    q_BTNH: jax.Array, cache: SharedCache, layer: jax.Array, *, scale: float
) -> AttentionOutput:
    """Same contract as `reference_decode`."""
    B, T = q_BTNH.shape[:2]
    parts = [_over_prompts(q_BTNH, cache, layer, scale), _over_answers(q_BTNH, cache, layer, scale)]
    out_BTNH, lse_BTN = merge([Part(*(by_row(x, B, T) for x in part)) for part in parts])
    return AttentionOutput(out_BTNH.astype(cache.answer_v.dtype), lse_BTN)


def _over_prompts(q_BTNH, cache: SharedCache, layer, scale: float) -> Part:
    _, P, K, S, _ = cache.prompt_k.shape
    k, v = (_of_layer(x, layer, S) for x in (cache.prompt_k, cache.prompt_v))
    starts_P11, stops_P11 = (cache.bounds[:, i, None, None] for i in (0, 1))
    slot_11S = jnp.arange(S, dtype=jnp.int32)[None, None]
    seen_P1S = (slot_11S >= starts_P11) & (slot_11S < stops_P11)
    return attend_part(by_kv_head(q_BTNH, P, K), k, v, seen_P1S, scale)


def _over_answers(q_BTNH, cache: SharedCache, layer, scale: float) -> Part:
    """Reads no more than the quarters of the room that the longest answer has reached."""
    (B, T, N, _), (_, _, K, R, _) = q_BTNH.shape, cache.answer_k.shape
    q_BKMH = by_kv_head(q_BTNH, B, K)
    limits_BM1 = jnp.repeat(query_limits(cache.lengths, T), N // K, axis=1)[:, :, None]

    def within(slots: int) -> Callable[[], Part]:
        def attend() -> Part:
            k, v = (_of_layer(x, layer, slots) for x in (cache.answer_k, cache.answer_v))
            slot_11R = jnp.arange(slots, dtype=jnp.int32)[None, None]
            return attend_part(q_BKMH, k, v, slot_11R < limits_BM1, scale)

        return attend

    if R % 4 or R < 4 * LEAST_SLOTS:
        return within(R)()
    quarter = jnp.clip((cache.lengths.max() - 1) // (R // 4), 0, 3)
    return jax.lax.switch(quarter, [within((n + 1) * R // 4) for n in range(4)])


def _of_layer(stack_LXKSH: jax.Array, layer, slots: int) -> jax.Array:
    """[X, K, slots, H]: one layer's first slots."""
    _, X, K, _, H = stack_LXKSH.shape
    return jax.lax.dynamic_slice(stack_LXKSH, (layer, 0, 0, 0, 0), (1, X, K, slots, H))[0]


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
