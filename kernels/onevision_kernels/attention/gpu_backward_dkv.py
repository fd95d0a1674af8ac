"""d_k and d_v of range attention on Hopper: a program holds 128 keys and visits their queries.

The scores are computed transposed (keys by queries), so the weights are a left factor as they lie
in registers. That makes what belongs to a query a vector along the columns, of which a thread
holds 16 values: these are read from shared memory where they are used, never kept.

Letters: B batch, T queries, S keys, N query heads, K kv heads, H head width.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from onevision_kernels.attention.gpu_backward_plan import BLOCK, FULL, PAIR, SKIPPED, Plan
from onevision_kernels.attention.gpu_backward_warps import (
    BY_COLUMN,
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


def key_gradients(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    d_out_BTNH: jax.Array,
    stats_BN2T: jax.Array,
    plan: Plan,
    scale: float,
) -> tuple[jax.Array, jax.Array]:
    """(d_k, d_v) like k and v. T and S are whole pairs of blocks; stats: lse to base 2 and delta.

    A program sums over the query heads of its kv head in float32 registers. Where that makes too
    few programs to fill the GPU, each takes one query head and the sums are taken outside.
    """
    (B, S, K, H), N = k_BSKH.shape, q_BTNH.shape[2]
    alone = B * K * (S // PAIR) < TILES.programs
    heads = N if alone else K
    d_k, d_v = _sums(q_BTNH, k_BSKH, v_BSKH, d_out_BTNH, stats_BN2T, plan, scale, heads)
    if heads == K:
        return d_k, d_v
    split = (x.reshape(B, S, K, N // K, H) for x in (d_k, d_v))
    d_k, d_v = (x.astype(jnp.float32).sum(axis=3).astype(k_BSKH.dtype) for x in split)
    return d_k, d_v


def _sums(q_BTNH, k_BSKH, v_BSKH, d_out_BTNH, stats_BN2T, plan: Plan, scale: float, heads: int):
    """d_k and d_v [B, S, heads, H], each of N / heads query heads."""
    (B, S, K, H), N = k_BSKH.shape, q_BTNH.shape[2]
    summed, group, dtype, stages = N // heads, heads // K, q_BTNH.dtype, TILES.stages

    def kernel(
        q, k, v, d_out, stats, order, bounds, state, query_spans, asks, asked, query_gaps,
        key_gaps, d_k, d_v, *, k_s, v_s, q_s, d_out_s, stats_s, bounds_s, own, ready, consumed,
        blanking, left_s=None,
    ):  # fmt: skip
        b, pair = divided(order[lax.axis_index("program")], S // PAIR)
        head, wg = lax.axis_index("head"), lax.axis_index("wg")
        kv = lax.div(head, group)
        first, stop = query_spans[b, pair, 0], query_spans[b, pair, 1]
        steps = (stop - first) * summed

        def query_block(t):
            return first + lax.div(t, summed)

        def tiles_of(t):
            i = query_block(t)
            n, rows = head * summed + lax.rem(t, summed), rows_of(i)
            tiles = ((q.at[b, rows, n], q_s), (d_out.at[b, rows, n], d_out_s))
            beside = ((stats.at[b, n, :, rows], stats_s), (bounds.at[b, :, rows], bounds_s))
            return tiles, asks.at[b, rows], query_gaps[b, i], beside

        @pl.when(wg == CONSUMERS)
        def _load():
            load_tiles(steps, stages, tiles_of, consumed, ready, blanking)

        @pl.when(wg < CONSUMERS)
        def _multiply():
            plgpu.set_max_registers(CONSUMER_REGISTERS, action="increase")
            j = 2 * pair + wg
            rows = rows_of(j)
            plgpu.copy_gmem_to_smem(k.at[b, rows, kv], k_s.at[wg], own.at[wg])
            plgpu.copy_gmem_to_smem(v.at[b, rows, kv], v_s.at[wg], own.at[wg])
            plgpu.barrier_wait(own.at[wg])

            @pl.when(key_gaps[b, j] > 0)
            def _blank():
                blank(v_s.at[wg], asked.at[b, rows])

            def left(x):
                return left_operand(x.astype(dtype), None if left_s is None else left_s.at[wg])

            def visit(is_full, slot, d_k_acc, d_v_acc):
                def products(acc):
                    plgpu.wgmma(acc, k_s.at[wg], q_s.at[slot].T)
                    return acc[...]

                scores = pl.run_scoped(products, SCORES)
                scores = lax.cond(
                    is_full,
                    lambda: scores,
                    lambda: _masked(scores, j * BLOCK, bounds_s.at[slot]),
                )
                lse = load(stats_s.at[slot, 0], BY_COLUMN, optimized=True)
                p = jnp.exp2(scores * (scale * math.log2(math.e)) - _by_column(lse))

                def more_products(acc):
                    plgpu.wgmma(acc, v_s.at[wg], d_out_s.at[slot].T)
                    plgpu.wgmma(d_v_acc, left(p), d_out_s.at[slot])
                    return plgpu.wgmma_accumulator_load(acc, wait_n=1)

                d_p = pl.run_scoped(more_products, SCORES)
                delta = load(stats_s.at[slot, 1], BY_COLUMN, optimized=True)
                d_scores = p * (d_p - _by_column(delta))
                plgpu.wgmma(d_k_acc, left(d_scores), q_s.at[slot])
                plgpu.wgmma_wait(0)

            def visit_all(d_k_acc, d_v_acc):
                # The state of a block is read a step ahead: its latency is hidden.
                @pl.loop(0, steps, init_carry=state[b, query_block(0), j])
                def _step(t, seen):
                    coming = state[b, query_block(t + 1), j]
                    slot = lax.rem(t, stages)
                    plgpu.barrier_wait(ready.at[slot])

                    @pl.when(seen != SKIPPED)
                    def _visit():
                        visit(seen == FULL, slot, d_k_acc, d_v_acc)

                    plgpu.barrier_arrive(consumed.at[slot])
                    return coming

                return d_k_acc[...], d_v_acc[...]

            acc = plgpu.WGMMAAccumulatorRef((BLOCK, H), jnp.float32)
            d_k_sum, d_v_sum = pl.run_scoped(visit_all, acc, acc)
            k_s.at[wg][...] = (d_k_sum * scale).astype(dtype)
            v_s.at[wg][...] = d_v_sum.astype(dtype)
            plgpu.commit_smem()
            plgpu.copy_smem_to_gmem(k_s.at[wg], d_k.at[b, rows, head])
            plgpu.copy_smem_to_gmem(v_s.at[wg], d_v.at[b, rows, head])
            plgpu.wait_smem_to_gmem(0)

    scratch = dict(
        k_s=tile((CONSUMERS, BLOCK, H), dtype),
        v_s=tile((CONSUMERS, BLOCK, H), dtype),
        q_s=tile((stages, BLOCK, H), dtype),
        d_out_s=tile((stages, BLOCK, H), dtype),
        stats_s=plgpu.SMEM((stages, 2, BLOCK), jnp.float32),
        bounds_s=plgpu.SMEM((stages, 4, BLOCK), jnp.int32),
        own=plgpu.Barrier(num_arrivals=2, num_barriers=CONSUMERS),
        ready=plgpu.Barrier(num_arrivals=4, num_barriers=stages),
        consumed=plgpu.Barrier(num_arrivals=CONSUMERS, num_barriers=stages),
        blanking=plgpu.Barrier(num_arrivals=2),
        **weights_scratch(dtype),
    )
    out = jax.ShapeDtypeStruct((B, S, heads, H), dtype)
    run = plgpu.kernel(
        kernel,
        out_type=(out, out),
        grid=(B * (S // PAIR), heads),
        grid_names=("program", "head"),
        num_threads=CONSUMERS + 1,
        thread_name="wg",
        scratch_types=scratch,
        compiler_params=plgpu.CompilerParams(approx_math=True),
    )
    return run(
        q_BTNH, k_BSKH, v_BSKH, d_out_BTNH, stats_BN2T, plan.key_order, plan.bounds, plan.state,
        plan.query_spans, plan.asks, plan.asked, plan.query_gaps, plan.key_gaps,
    )  # fmt: skip


def _by_column(x_C: jax.Array) -> jax.Array:
    return lax.broadcast_in_dim(x_C, (BLOCK, BLOCK), [1])


def _masked(scores: jax.Array, first_key, limits) -> jax.Array:
    """-inf where the query (column) does not see the key (row); limits [4, columns].

    One limit after another, so that few of them lie in registers at a time.
    """
    key = plgpu.broadcasted_iota(jnp.int32, scores.shape, 0, layout=WGMMA) + first_key

    def limit(x):
        return _by_column(load(limits.at[x], BY_COLUMN, optimized=True))

    scores = jnp.where(key >= limit(0), scores, -jnp.inf)
    scores = jnp.where(key < limit(1), scores, -jnp.inf)
    return jnp.where((key < limit(2)) | (key >= limit(3)), scores, -jnp.inf)
