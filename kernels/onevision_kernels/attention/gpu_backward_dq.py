"""d_q of range attention on Hopper: a program holds 128 queries of a head and visits their keys.

Letters: B batch, T queries, S keys, N query heads, K kv heads, H head width.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from onevision_kernels.attention.gpu_backward_plan import BLOCK, FULL, PAIR, SKIPPED, Plan
from onevision_kernels.attention.gpu_backward_warps import (
    BY_ROW,
    CONSUMER_REGISTERS,
    CONSUMERS,
    TILES,
    WGMMA,
    blank,
    divided,
    left_operand,
    load,
    load_tiles,
    rows_of,
    tile,
    weights_scratch,
)

SCORES = plgpu.WGMMAAccumulatorRef((BLOCK, BLOCK), jnp.float32)


def query_gradient(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    d_out_BTNH: jax.Array,
    stats_BN2T: jax.Array,
    plan: Plan,
    scale: float,
) -> jax.Array:
    """d_q like q. T and S are whole pairs of blocks; stats: lse to base 2 and delta."""
    B, T, N, H = q_BTNH.shape
    group, dtype, stages = N // k_BSKH.shape[2], q_BTNH.dtype, TILES.stages

    def kernel(
        q, k, v, d_out, stats, order, bounds, state, key_spans, asks, asked, query_gaps, key_gaps,
        d_q, *, q_s, d_out_s, k_s, v_s, own, ready, consumed, blanking, left_s=None,
    ):  # fmt: skip
        b, pair = divided(order[lax.axis_index("program")], T // PAIR)
        n, wg = lax.axis_index("head"), lax.axis_index("wg")
        kv = lax.div(n, group)
        lo0, hi0, lo1, hi1 = (key_spans[b, pair, x] for x in range(4))
        steps = hi0 - lo0 + hi1 - lo1

        def key_block(t):
            return jnp.where(t < hi0 - lo0, lo0 + t, lo1 + t - (hi0 - lo0))

        def tiles_of(t):
            j = key_block(t)
            rows = rows_of(j)
            tiles = ((k.at[b, rows, kv], k_s), (v.at[b, rows, kv], v_s))
            return tiles, asked.at[b, rows], key_gaps[b, j], ()

        @pl.when(wg == CONSUMERS)
        def _load():
            load_tiles(steps, stages, tiles_of, consumed, ready, blanking)

        @pl.when(wg < CONSUMERS)
        def _multiply():
            plgpu.set_max_registers(CONSUMER_REGISTERS, action="increase")
            i = 2 * pair + wg
            rows = rows_of(i)
            plgpu.copy_gmem_to_smem(q.at[b, rows, n], q_s.at[wg], own.at[wg])
            plgpu.copy_gmem_to_smem(d_out.at[b, rows, n], d_out_s.at[wg], own.at[wg])
            lse, delta = (load(stats.at[b, n, x, rows], BY_ROW) for x in range(2))
            limits = [load(bounds.at[b, x, rows], BY_ROW) for x in range(4)]
            plgpu.barrier_wait(own.at[wg])

            @pl.when(query_gaps[b, i] > 0)
            def _blank():
                blank(d_out_s.at[wg], asks.at[b, rows])

            def d_scores_of(j, is_full, slot, scores_acc, d_p_acc):
                plgpu.wgmma(scores_acc, q_s.at[wg], k_s.at[slot].T)
                plgpu.wgmma(d_p_acc, d_out_s.at[wg], v_s.at[slot].T)
                # The weights are computed while the second product runs.
                scores = plgpu.wgmma_accumulator_load(scores_acc, wait_n=1)
                scores = lax.cond(
                    is_full, lambda: scores, lambda: _masked(scores, j * BLOCK, limits)
                )
                p = jnp.exp2(scores * (scale * math.log2(math.e)) - _by_row(lse))
                return (p * (d_p_acc[...] - _by_row(delta))).astype(dtype)

            def visit(j, is_full, slot, d_q_acc):
                make = functools.partial(d_scores_of, j, is_full, slot)
                d_scores = pl.run_scoped(make, SCORES, SCORES)
                left = left_operand(d_scores, None if left_s is None else left_s.at[wg])
                plgpu.wgmma(d_q_acc, left, k_s.at[slot])
                plgpu.wgmma_wait(0)

            def visit_all(d_q_acc):
                # The state of a block is read a step ahead: its latency is hidden.
                @pl.loop(0, steps, init_carry=state[b, i, key_block(0)])
                def _step(t, seen):
                    coming = state[b, i, key_block(t + 1)]
                    slot = lax.rem(t, stages)
                    plgpu.barrier_wait(ready.at[slot])

                    @pl.when(seen != SKIPPED)
                    def _visit():
                        visit(key_block(t), seen == FULL, slot, d_q_acc)

                    plgpu.barrier_arrive(consumed.at[slot])
                    return coming

                return d_q_acc[...]

            total = pl.run_scoped(visit_all, plgpu.WGMMAAccumulatorRef((BLOCK, H), jnp.float32))
            q_s.at[wg][...] = (total * scale).astype(dtype)
            plgpu.commit_smem()
            plgpu.copy_smem_to_gmem(q_s.at[wg], d_q.at[b, rows, n])
            plgpu.wait_smem_to_gmem(0)

    scratch = dict(
        q_s=tile((CONSUMERS, BLOCK, H), dtype),
        d_out_s=tile((CONSUMERS, BLOCK, H), dtype),
        k_s=tile((stages, BLOCK, H), dtype),
        v_s=tile((stages, BLOCK, H), dtype),
        own=plgpu.Barrier(num_arrivals=2, num_barriers=CONSUMERS),
        ready=plgpu.Barrier(num_arrivals=2, num_barriers=stages),
        consumed=plgpu.Barrier(num_arrivals=CONSUMERS, num_barriers=stages),
        blanking=plgpu.Barrier(num_arrivals=2),
        **weights_scratch(dtype),
    )
    run = plgpu.kernel(
        kernel,
        out_type=jax.ShapeDtypeStruct(q_BTNH.shape, dtype),
        grid=(B * (T // PAIR), N),
        grid_names=("program", "head"),
        num_threads=CONSUMERS + 1,
        thread_name="wg",
        scratch_types=scratch,
        compiler_params=plgpu.CompilerParams(approx_math=True),
    )
    return run(
        q_BTNH, k_BSKH, v_BSKH, d_out_BTNH, stats_BN2T, plan.query_order, plan.bounds, plan.state,
        plan.key_spans, plan.asks, plan.asked, plan.query_gaps, plan.key_gaps,
    )  # fmt: skip


def _by_row(x_R: jax.Array) -> jax.Array:
    return lax.broadcast_in_dim(x_R, (BLOCK, BLOCK), [0])


def _masked(scores: jax.Array, first_key, limits: list[jax.Array]) -> jax.Array:
    """-inf where the query does not see the key."""
    key = plgpu.broadcasted_iota(jnp.int32, scores.shape, 1, layout=WGMMA) + first_key
    lo, hi, gap_lo, gap_hi = (_by_row(x) for x in limits)
    seen = (key >= lo) & (key < hi) & ((key < gap_lo) | (key >= gap_hi))
    return jnp.where(seen, scores, -jnp.inf)
