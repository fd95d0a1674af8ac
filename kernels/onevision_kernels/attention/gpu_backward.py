"""Backward pass of range attention on Hopper: one kernel for d_q, one for d_k and d_v.

Two kernels compute the scores twice (7 products instead of 5), need no atomics and are therefore
deterministic. Each program is two warpgroups that multiply and one that loads; every warpgroup
skips the blocks its own 64 rows do not meet.

Letters: B batch, T queries, S keys, N query heads, K kv heads, H head width.
"""

import math

import jax
import jax.numpy as jnp

from onevision_kernels.attention.gpu_backward_dkv import key_gradients
from onevision_kernels.attention.gpu_backward_dq import query_gradient
from onevision_kernels.attention.gpu_backward_plan import PAIR, Plan, backward_plan
from onevision_kernels.attention.gpu_backward_warps import HEAD_MULTIPLE
from onevision_kernels.attention.gpu_tiles import GpuSchedule


def attention_backward(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    ranges_BT4: jax.Array,
    schedule: GpuSchedule,
    lse_BTN: jax.Array,
    delta_BTN: jax.Array,
    d_out_BTNH: jax.Array,
    *,
    causal: bool,
    scale: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(d_q, d_k, d_v) in the dtypes of q, k and v, which are all bfloat16 or all float16.

    schedule.backward: a BlockSchedule for blocks of TILES.backward_query_block x
    backward_key_block, or what `backward_plan` made of it once for all layers.
    lse: float32, -inf where a query sees nothing; delta: float32, rowsum(d_out * out) - d_lse.
    With weights p = exp(scores * scale - lse), d_scores = p * (d_out . v - delta) * scale.
    What nobody sees may hold NaN and has the gradient 0.
    Raises ValueError for a schedule made for other blocks.
    """
    T, (S, H) = q_BTNH.shape[1], k_BSKH.shape[1::2]
    plan = schedule.backward
    if not isinstance(plan, Plan):
        plan = backward_plan(ranges_BT4, plan, S, causal=causal)
    q, d_out = (_pad(x, PAIR) for x in (q_BTNH, d_out_BTNH.astype(q_BTNH.dtype)))
    k, v = (_pad(x, PAIR) for x in (k_BSKH, v_BSKH))
    stats_BN2T = _stats(lse_BTN, delta_BTN, plan.asks)
    d_q = query_gradient(q, k, v, d_out, stats_BN2T, plan, scale)
    d_k, d_v = key_gradients(q, k, v, d_out, stats_BN2T, plan, scale)
    return d_q[:, :T, :, :H], d_k[:, :S, :, :H], d_v[:, :S, :, :H]


def _pad(x_BTNH: jax.Array, multiple: int) -> jax.Array:
    """Zeros up to whole programs and whole products; the real shapes need none."""
    T, H = x_BTNH.shape[1], x_BTNH.shape[3]
    wanted = [(0, 0), (0, -T % multiple), (0, 0), (0, -H % HEAD_MULTIPLE)]
    return jnp.pad(x_BTNH, wanted) if any(after for _, after in wanted) else x_BTNH


def _stats(lse_BTN: jax.Array, delta_BTN: jax.Array, asks_BT: jax.Array) -> jax.Array:
    """float32 [B, N, 2, T]: lse to base 2 and delta; 0 in the rows that see nothing."""
    extra = [(0, 0), (0, asks_BT.shape[1] - lse_BTN.shape[1]), (0, 0)]
    stats = (
        jnp.pad(x.astype(jnp.float32), extra) for x in (lse_BTN * math.log2(math.e), delta_BTN)
    )
    kept = (jnp.where(asks_BT[:, :, None] > 0, x, 0).transpose(0, 2, 1) for x in stats)
    return jnp.stack(list(kept), axis=2)
