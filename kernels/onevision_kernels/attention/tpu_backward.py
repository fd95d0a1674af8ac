"""Range attention on TPU, backward: all three gradients in one pass over the work list.

Scores are computed transposed, keys down and queries across, from the log-sum-exp of the forward
pass. The gradient of a query block is complete at its last entry. Those of the keys and values of
the whole row stay in VMEM in float32 until the list is done; J entries DRAIN then write them.

Letters: B batch, T queries, S keys, N query heads, K kv heads, G = N / K, H head width; q and k
as suffixes are the block sizes; J key blocks.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from onevision_kernels.attention import tpu_work as work
from onevision_kernels.attention.tpu_blocks import Blocks, matmul_precision
from onevision_kernels.attention.tpu_forward import LOG2E, within, zero_rows

_AB = (((1,), (0,)), ((), ()))  # a @ b
_ABT = (((1,), (1,)), ((), ()))  # a @ b.T


def backward(
    q_BNTH: jax.Array,
    k_BKSH: jax.Array,
    v_BKSH: jax.Array,
    d_out_BNTH: jax.Array,
    lse_BNT: jax.Array,
    own_BNT: jax.Array,
    schedule: work.TpuSchedule,
    *,
    scale: float,
    blocks: Blocks,
    cost: pl.CostEstimate,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of q, k and v.

    own [B, N, T] float32: d_out . out - d_lse, what each score's gradient is measured from.
    """
    (B, N, T, H), (K, S) = q_BNTH.shape, k_BKSH.shape[1:3]
    heads, kv_heads = blocks.kv_heads * (N // K), blocks.kv_heads
    J = pl.cdiv(S, blocks.key)
    entries_BL, num_entries_B = schedule.backward
    L = entries_BL.shape[1]

    def at(b, t, entries):
        return entries[b * L + t]

    def of_queries(b, n, t, entries):
        return b, n, work.query_block(at(b, t, entries)), 0

    def of_keys(b, n, t, entries):
        entry = at(b, t, entries)
        drains = (entry & work.KIND) == work.DRAIN
        return b, n, jnp.where(drains, 0, work.key_block(entry)), 0

    def of_drained(b, n, t, entries):
        entry = at(b, t, entries)
        drains = (entry & work.KIND) == work.DRAIN
        return b, n, jnp.where(drains, work.key_block(entry), 0), 0

    def of_rows(b, n, t, entries):
        return b, n, 0, work.query_block(at(b, t, entries))

    spec_q = pl.BlockSpec((1, heads, blocks.query, H), of_queries)
    spec_k = pl.BlockSpec((1, kv_heads, blocks.key, H), of_keys)
    spec_row = pl.BlockSpec((1, heads, 1, blocks.query), of_rows)
    spec_dk = pl.BlockSpec((1, kv_heads, blocks.key, H), of_drained)
    shift = schedule.bounds.shape[2] - T
    lse_BN1T, own_BN1T = (
        jnp.pad(jnp.where(jnp.isfinite(lse_BNT), x, 0.0), [(0, 0), (0, 0), (0, shift)])[:, :, None]
        for x in (lse_BNT * LOG2E, own_BNT)
    )
    return pl.pallas_call(
        functools.partial(_kernel, length=L, key_step=blocks.key_step, scale=scale),
        out_shape=[
            jax.ShapeDtypeStruct(q_BNTH.shape, q_BNTH.dtype),
            jax.ShapeDtypeStruct(k_BKSH.shape, k_BKSH.dtype),
            jax.ShapeDtypeStruct(v_BKSH.shape, v_BKSH.dtype),
        ],
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(B, K // kv_heads, num_entries_B.max()),
            in_specs=[
                spec_q,
                spec_k,
                spec_k,
                spec_q,
                spec_row,
                spec_row,
                pl.BlockSpec(
                    (1, work.BOUND_ROWS, blocks.query),
                    lambda b, n, t, entries: (b, 0, work.query_block(at(b, t, entries))),
                ),
                pl.BlockSpec(
                    (1, 1, blocks.key),
                    lambda b, n, t, entries: (b, 0, work.key_block(at(b, t, entries))),
                ),
            ],
            out_specs=[spec_q, spec_dk, spec_dk],
            scratch_shapes=[
                pltpu.VMEM((heads, blocks.query, H), jnp.float32),
                pltpu.VMEM((kv_heads, J * blocks.key, H), jnp.float32),
                pltpu.VMEM((kv_heads, J * blocks.key, H), jnp.float32),
            ],
        ),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"),
            vmem_limit_bytes=blocks.vmem_bytes,
        ),
        cost_estimate=cost,
        name="range_attention_backward",
    )(
        entries_BL.reshape(-1),
        q_BNTH,
        k_BKSH,
        v_BKSH,
        d_out_BNTH,
        lse_BN1T,
        own_BN1T,
        schedule.bounds,
        schedule.asked,
    )


def _kernel(
    entries_ref,
    q_ref,  # [1, heads, q, H]
    k_ref,  # [1, kv heads, k, H]
    v_ref,
    d_out_ref,  # [1, heads, q, H]
    lse_ref,  # [1, heads, 1, q], in units of log 2
    own_ref,
    bounds_ref,  # [1, 8, q] int32
    asked_ref,  # [1, 1, k]
    d_q_ref,  # [1, heads, q, H]
    d_k_ref,  # [1, kv heads, k, H]
    d_v_ref,
    q_sum_ref,  # [heads, q, H] float32
    k_sum_ref,  # [kv heads, S, H] float32
    v_sum_ref,
    *,
    length: int,
    key_step: int,
    scale: float,
):
    entry = entries_ref[pl.program_id(0) * length + pl.program_id(2)]
    kind = entry & work.KIND
    heads, kv_heads, block = q_ref.shape[1], k_ref.shape[1], k_ref.shape[2]
    start = pl.multiple_of(work.key_block(entry) * block, block)

    @pl.when(pl.program_id(2) == 0)
    def open_row():
        k_sum_ref[...] = jnp.zeros_like(k_sum_ref)
        v_sum_ref[...] = jnp.zeros_like(v_sum_ref)

    @pl.when((entry & work.FIRST) != 0)
    def open_block():
        q_sum_ref[...] = jnp.zeros_like(q_sum_ref)

    dot = functools.partial(
        lax.dot_general,
        precision=matmul_precision(q_ref.dtype),
        preferred_element_type=jnp.float32,
    )

    def visit(masked: bool):
        @pl.loop(0, heads)
        def one_head(n):
            kv = lax.div(n, heads // kv_heads)
            q_qH, d_out_qH = q_ref[0, n], d_out_ref[0, n]
            if masked:
                asks_1q = bounds_ref[0, work.ASKS_ROW : work.ASKS_ROW + 1, :].astype(jnp.float32)
                q_qH, d_out_qH = zero_rows(q_qH, asks_1q), zero_rows(d_out_qH, asks_1q)
            for offset in range(0, block, key_step):
                keys = pl.ds(offset, key_step)
                k_kH, v_kH = k_ref[0, kv, keys], v_ref[0, kv, keys]
                if masked:
                    asked_1k = asked_ref[0, :, keys]
                    k_kH, v_kH = zero_rows(k_kH, asked_1k), zero_rows(v_kH, asked_1k)
                s_kq = dot(k_kH, q_qH, _ABT) * (scale * LOG2E)
                if masked:
                    seen = _seen(bounds_ref, work.range_index(entry), start + offset, s_kq.shape)
                    s_kq = jnp.where(seen, s_kq, -jnp.inf)
                p_kq = jnp.exp2(s_kq - lse_ref[0, n])
                rows = pl.ds(pl.multiple_of(start + offset, key_step), key_step)
                v_sum_ref[kv, rows] += dot(p_kq.astype(q_ref.dtype), d_out_qH, _AB)
                d_s_kq = p_kq * (dot(v_kH, d_out_qH, _ABT) - own_ref[0, n])
                k_sum_ref[kv, rows] += dot(d_s_kq.astype(q_ref.dtype), q_qH, _AB)
                q_sum_ref[n] += dot(d_s_kq.T.astype(q_ref.dtype), k_kH, _AB)

    pl.when(kind == work.FULL)(functools.partial(visit, masked=False))
    pl.when(kind == work.PARTIAL)(functools.partial(visit, masked=True))

    @pl.when((entry & work.LAST) != 0)
    def close_block():
        d_q_ref[0] = (q_sum_ref[...] * scale).astype(d_q_ref.dtype)

    @pl.when(kind == work.DRAIN)
    def drain():
        d_k_ref[0] = (k_sum_ref[:, pl.ds(start, block)] * scale).astype(d_k_ref.dtype)
        d_v_ref[0] = v_sum_ref[:, pl.ds(start, block)].astype(d_v_ref.dtype)


def _seen(bounds_ref, which, offset, shape: tuple[int, ...]) -> jax.Array:
    """bool [k, q]: which queries see each of the keys from `offset` on in one of their ranges."""
    key = lax.broadcasted_iota(jnp.int32, shape, 0)
    start, stop = (bounds_ref[0, pl.ds(2 * which + side, 1), :] for side in range(2))
    return within(key, start - offset, stop - start)
