"""Range attention on Hopper through Mosaic GPU: the entry, its refusals and its gradients.

The kernels themselves need jax 0.11.2 or newer and are imported when they are first called, so
that older versions can still ask why they do not run.
Letters: B batch, T queries, S keys, N query heads, K kv heads, H head width.
"""

from typing import Any

import jax
import jax.numpy as jnp

from onevision_kernels.attention.call import Call
from onevision_kernels.attention.gpu_backward_plan import backward_plan
from onevision_kernels.attention.gpu_tiles import TILES, GpuSchedule, RowBounds
from onevision_kernels.attention.reference import AttentionOutput
from onevision_kernels.attention.schedule import block_schedule
from onevision_kernels.target import Target, current_target, not_hopper

DTYPES = ("bfloat16", "float16")
MAX_HEAD_DIM = 128
MIN_QUERIES = 64
ROW_MULTIPLE = 8  # Copies move tiles of 8 rows.


def refuses(target: Target, call: Call) -> str | None:
    """Why the kernels do not run there; None where they do."""
    if reason := not_hopper(target):
        return reason
    if jnp.dtype(call.dtype).name not in DTYPES:
        name = jnp.dtype(call.dtype).name
        return f"multiplies {' or '.join(DTYPES)} (wgmma has no full float32), the call is {name}"
    if call.head_dim % 16 or call.head_dim > MAX_HEAD_DIM:
        return f"needs a head width of 16, 32, ... {MAX_HEAD_DIM}, the call has {call.head_dim}"
    if call.num_queries < MIN_QUERIES:
        return (
            f"works on {MIN_QUERIES} queries at once, the call has {call.num_queries}: "
            "decoding has its own kernel"
        )
    return None


def schedule(ranges_BT4: jax.Array, call: Call) -> GpuSchedule:
    """What both directions want to know of the ranges, once a batch."""
    forward, backward = (
        block_schedule(
            ranges_BT4, call.num_keys, causal=call.causal, query_block=queries, key_block=keys
        )
        for queries, keys in (
            (TILES.forward_query_block, TILES.forward_key_block),
            (TILES.backward_query_block, TILES.backward_key_block),
        )
    )
    return GpuSchedule(
        forward=forward,
        backward=backward_plan(ranges_BT4, backward, call.num_keys, causal=call.causal),
        rows=_row_bounds(ranges_BT4, call),
    )


def attend(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    ranges_BT4: jax.Array,
    *,
    causal: bool,
    scale: float,
    max_span: int | None,
    schedule: GpuSchedule,
) -> AttentionOutput:
    """Same contract as `reference_attention`; `max_span` changes nothing, the schedule knows more.

    Raises ValueError where q, k and v differ in dtype and for a scale that is not positive.
    """
    del max_span
    if not q_BTNH.dtype == k_BSKH.dtype == v_BSKH.dtype:
        names = ", ".join(str(x.dtype) for x in (q_BTNH, k_BSKH, v_BSKH))
        raise ValueError(f"q, k and v must have one dtype on Hopper, they are {names}; cast them")
    if scale <= 0:
        raise ValueError(f"scale must be positive on Hopper, got {scale}; negate q instead")
    return AttentionOutput(*_attend(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, schedule, causal, scale))


def _results(
    q_BTNH, k_BSKH, v_BSKH, ranges_BT4, schedule: GpuSchedule, causal: bool, scale: float
) -> tuple[jax.Array, jax.Array]:
    """(out, lse) of the kernel."""
    from onevision_kernels.attention.gpu_forward import range_forward

    del ranges_BT4, causal  # In the schedule.
    T = q_BTNH.shape[1]
    q, k, v = (_pad_rows(x) for x in (q_BTNH, k_BSKH, v_BSKH))
    out_BTNH, lse_BNT = range_forward(
        q, k, v, schedule, scale=scale, tiles=TILES, interpreted=current_target().interpreted
    )
    return out_BTNH[:, :T], lse_BNT[:, :, :T].transpose(0, 2, 1)


def _forward(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, schedule, causal, scale):
    out_BTNH, lse_BTN = _results(q_BTNH, k_BSKH, v_BSKH, ranges_BT4, schedule, causal, scale)
    saved = q_BTNH, k_BSKH, v_BSKH, ranges_BT4, schedule, out_BTNH, lse_BTN
    return (out_BTNH, lse_BTN), saved


def _backward(causal, scale, saved, cotangents):
    """With weights p, d_scores = p (d_out . v - delta)."""
    from onevision_kernels.attention.gpu_backward import attention_backward

    q_BTNH, k_BSKH, v_BSKH, ranges_BT4, schedule, out_BTNH, lse_BTN = saved
    d_out_BTNH, d_lse_BTN = cotangents
    # What sees nothing may bring NaN in its cotangents.
    sees_BTN = lse_BTN != -jnp.inf
    own_BTN = (d_out_BTNH.astype(jnp.float32) * out_BTNH.astype(jnp.float32)).sum(axis=-1)
    delta_BTN = jnp.where(sees_BTN, own_BTN - d_lse_BTN, 0)
    gradients = attention_backward(
        q_BTNH,
        k_BSKH,
        v_BSKH,
        ranges_BT4,
        schedule,
        lse_BTN,
        delta_BTN,
        d_out_BTNH,
        causal=causal,
        scale=scale,
    )
    return *gradients, None, None


_attend: Any = jax.custom_vjp(_results, nondiff_argnums=(5, 6))
_attend.defvjp(_forward, _backward)


def _pad_rows(x_BT: jax.Array) -> jax.Array:
    """Rows up to a multiple of 8 (rarely any); more is read as zeros beyond the end."""
    missing = -x_BT.shape[1] % ROW_MULTIPLE
    return jnp.pad(x_BT, [(0, 0), (0, missing), (0, 0), (0, 0)]) if missing else x_BT


def _row_bounds(ranges_BT4: jax.Array, call: Call) -> RowBounds:
    T, query_block, key_block = (
        call.num_queries,
        TILES.forward_query_block,
        TILES.forward_key_block,
    )
    limit_T = jnp.full((T,), call.num_keys, jnp.int32)
    if call.causal:
        limit_T = jnp.minimum(limit_T, jnp.arange(1, T + 1, dtype=jnp.int32))
    bounds_BT4 = jnp.clip(ranges_BT4, 0, limit_T[None, :, None]).astype(jnp.int32)
    asked_BS = _asked(bounds_BT4, call.num_keys).astype(jnp.int32)
    # Beyond the last key there is nothing to clean: copies fill shared memory with zeros.
    padding = [(0, 0), (0, -call.num_keys % key_block)]
    asked_BS = jnp.pad(asked_BS, padding, constant_values=1)
    dirty_BJ = (asked_BS == 0).reshape(len(asked_BS), -1, key_block).any(axis=-1)
    bounds_BT4 = _hull_and_gap(bounds_BT4)
    bounds_BT4 = jnp.pad(bounds_BT4, [(0, 0), (0, -T % query_block), (0, 0)])
    gap_BT = bounds_BT4[..., 1] < bounds_BT4[..., 2]
    split_BI = gap_BT.reshape(gap_BT.shape[0], -1, query_block).any(axis=-1).astype(jnp.int32)
    return RowBounds(
        bounds=bounds_BT4.transpose(0, 2, 1),
        split=split_BI,
        asked=asked_BS,
        dirty=dirty_BJ.astype(jnp.int32),
    )


def _hull_and_gap(bounds_BT4: jax.Array) -> jax.Array:
    """The two ranges in order; without a second one the gap between them is empty."""
    a0, a1, b0, b1 = (bounds_BT4[..., x] for x in range(4))
    some_a, some_b = a1 > a0, b1 > b0
    swap = some_b & (~some_a | (b0 < a0))
    lo0, hi0 = jnp.where(swap, b0, a0), jnp.where(swap, b1, a1)
    both = some_a & some_b
    lo1 = jnp.where(both, jnp.where(swap, a0, b0), hi0)
    hi1 = jnp.where(both, jnp.where(swap, a1, b1), hi0)
    none = ~(some_a | some_b)
    return jnp.where(none[..., None], 0, jnp.stack([lo0, hi0, lo1, hi1], axis=-1))


def _asked(bounds_BT4: jax.Array, num_keys: int) -> jax.Array:
    """bool [B, S]: some query sees the key. Ranges open and close like brackets."""
    B = bounds_BT4.shape[0]
    starts, stops = bounds_BT4[..., 0::2].reshape(B, -1), bounds_BT4[..., 1::2].reshape(B, -1)
    some = (stops > starts).astype(jnp.int32)
    row = jnp.arange(B)[:, None]
    steps = jnp.zeros((B, num_keys + 1), jnp.int32)
    steps = steps.at[row, starts].add(some).at[row, stops].add(-some)
    return jnp.cumsum(steps, axis=1)[:, :num_keys] > 0
