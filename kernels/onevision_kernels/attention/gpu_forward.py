"""Range attention forward on Hopper: TMA, WGMMA and an online softmax in three warpgroups.

One block of threads takes one query block of one head: a producer warpgroup copies key blocks
into a ring of shared memory, two consumer warpgroups of 64 queries each multiply, take the
softmax and multiply again. Which key blocks are visited, and which of them need no mask, is read
from the schedule at run time (FlashAttention-3, arXiv 2407.08608, with ranges for a mask).

Letters: B batch, T queries, S keys, N query heads, K kv heads, H head width, I query blocks,
QB = 64 queries of one warpgroup, KB keys of a block.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from onevision_kernels.attention.gpu_tiles import GpuSchedule, GpuTiles

CONSUMERS = 2
PRODUCER = CONSUMERS  # The last warpgroup.
# 65,536 registers over 3 x 128 threads are 168 a thread; the producer hands most of its own over.
PRODUCER_REGISTERS, CONSUMER_REGISTERS = 40, 232
LOG2_E = math.log2(math.e)
MATRIX: Any = plgpu.Layout.WGMMA
ROW: Any = plgpu.Layout.WGMMA.reduce(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is known when the kernel is traced."""

    scale: float
    group: int  # Query heads of a kv head.
    head_dim: int
    rows: int  # Queries of one consumer.
    keys: int
    stages: int
    num_blocks: int  # Query blocks.
    through_smem: bool  # Interpreted: weights pass through shared memory.


def range_forward(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    schedule: GpuSchedule,
    *,
    scale: float,
    tiles: GpuTiles,
    interpreted: bool,
) -> tuple[jax.Array, jax.Array]:
    """(out [B, T, N, H], lse [B, N, T] float32); T and S multiples of 8, v finite everywhere."""
    B, T, N, H = q_BTNH.shape
    plan = _Plan(
        scale=scale,
        group=N // k_BSKH.shape[2],
        head_dim=H,
        rows=tiles.forward_query_block // CONSUMERS,
        keys=tiles.forward_key_block,
        stages=tiles.stages,
        num_blocks=schedule.forward.key_spans.shape[1],
        through_smem=interpreted,
    )
    kernel = plgpu.kernel(
        functools.partial(_kernel, plan=plan),
        out_type=(
            jax.ShapeDtypeStruct(q_BTNH.shape, v_BSKH.dtype),
            jax.ShapeDtypeStruct((B, N, T), jnp.float32),
        ),
        scratch_types=_scratch(plan, q_BTNH.dtype),
        grid=(N, plan.num_blocks, B),
        grid_names=("head", "block", "batch"),
        num_threads=CONSUMERS + 1,
        thread_name="warpgroup",
        kernel_name="range_attention_forward",
        compiler_params=plgpu.CompilerParams(approx_math=True),
    )
    spans, full = schedule.forward.key_spans, schedule.forward.full_spans
    return kernel(q_BTNH, k_BSKH, v_BSKH, schedule.bounds, spans, full)


def _scratch(plan: _Plan, dtype) -> dict[str, Any]:
    """Shared memory and barriers of one block of threads."""

    def tiled(*shape):
        swizzle = plgpu.find_swizzle(shape[-1] * dtype.itemsize * 8)
        tiling = plgpu.TilingTransform((8, swizzle // dtype.itemsize))
        return plgpu.SMEM(shape, dtype, transforms=(tiling, plgpu.SwizzleTransform(swizzle)))

    ring = tiled(plan.stages, plan.keys, plan.head_dim)
    ready = plgpu.Barrier(num_barriers=plan.stages)
    free = plgpu.Barrier(num_barriers=plan.stages, num_arrivals=CONSUMERS)
    weights = tiled(CONSUMERS, plan.rows, plan.keys) if plan.through_smem else None
    return dict(
        q_s=tiled(CONSUMERS, plan.rows, plan.head_dim),
        k_s=ring,
        v_s=ring,
        lse_s=plgpu.SMEM((CONSUMERS, plan.rows), jnp.float32),
        q_ready=plgpu.Barrier(num_barriers=CONSUMERS),
        k_ready=ready,
        v_ready=ready,
        k_free=free,
        v_free=free,
        **({"p_s": weights} if plan.through_smem else {}),
    )


def _kernel(
    q_ref, k_ref, v_ref, bounds_ref, spans_ref, full_ref, out_ref, lse_ref, *, plan, **scratch
):
    b, n, warpgroup = (lax.axis_index(name) for name in ("batch", "head", "warpgroup"))
    # Causal blocks far down the row are the longest: they start first.
    i = plan.num_blocks - 1 - lax.axis_index("block")
    spans = [spans_ref[b, i, x] for x in range(4)]

    @pl.when(warpgroup == PRODUCER)
    def _():
        plgpu.set_max_registers(PRODUCER_REGISTERS, action="decrease")
        head = lax.div(n, jnp.int32(plan.group))
        _produce(k_ref.at[b, :, head], v_ref.at[b, :, head], spans, plan, **scratch)

    @pl.when(warpgroup < CONSUMERS)
    def _():
        plgpu.set_max_registers(CONSUMER_REGISTERS, action="increase")
        first = (i * CONSUMERS + warpgroup) * plan.rows
        _consume(
            q_ref.at[b, pl.ds(first, plan.rows), n],
            [bounds_ref.at[b, x, pl.ds(first, plan.rows)] for x in range(4)],
            spans,
            [full_ref[b, i, x] for x in range(4)],
            out_ref.at[b, pl.ds(first, plan.rows), n],
            lse_ref.at[b, n, pl.ds(first, plan.rows)],
            plan=plan,
            **{name: ref if "_free" in name or "ready" in name else ref for name, ref in scratch.items()},
            warpgroup=warpgroup,
        )


def _num_visited(spans):
    return spans[1] - spans[0] + spans[3] - spans[2]


def _visited(turn, spans):
    """The key block of a turn of the loop: the first span, then the second."""
    in_first = spans[1] - spans[0]
    return jnp.where(turn < in_first, spans[0] + turn, spans[2] + turn - in_first)


def _produce(k_ref, v_ref, spans, plan, *, k_s, v_s, k_ready, v_ready, k_free, v_free, **_):
    """Copies the visited key blocks into the ring, as soon as both consumers left a place."""

    @pl.loop(0, _num_visited(spans))
    def _(turn):
        place = lax.rem(turn, jnp.int32(plan.stages))
        keys = pl.ds(_visited(turn, spans) * plan.keys, plan.keys)
        for ref, ring, ready, free in (
            (k_ref, k_s, k_ready, k_free),
            (v_ref, v_s, v_ready, v_free),
        ):

            @pl.when(turn >= plan.stages)
            def _(free=free):
                plgpu.barrier_wait(free.at[place])

            plgpu.copy_gmem_to_smem(ref.at[keys], ring.at[place], ready.at[place])


def _consume(
    q_ref, bounds, spans, full, out_ref, lse_ref, *, plan, warpgroup, q_s, k_s, v_s, lse_s,
    q_ready, k_ready, v_ready, k_free, v_free, p_s=None,
):
    q_s, lse_s, q_ready = q_s.at[warpgroup], lse_s.at[warpgroup], q_ready.at[warpgroup]
    plgpu.copy_gmem_to_smem(q_ref, q_s, q_ready)
    row = lambda value: plgpu.layout_cast(jnp.full((plan.rows,), value, jnp.float32), ROW)
    out = plgpu.layout_cast(jnp.zeros((plan.rows, plan.head_dim), jnp.float32), MATRIX)
    plgpu.barrier_wait(q_ready)

    def turn(t, carry):
        out, peak, total = carry
        place = lax.rem(t, jnp.int32(plan.stages))
        j = _visited(t, spans)
        plgpu.barrier_wait(k_ready.at[place])

        def scores(acc):
            plgpu.wgmma(acc, q_s, k_s.at[place].transpose((1, 0)))
            return acc[...]

        s = pl.run_scoped(scores, plgpu.ACC((plan.rows, plan.keys), jnp.float32))
        plgpu.barrier_arrive(k_free.at[place])
        whole = ((j >= full[0]) & (j < full[1])) | ((j >= full[2]) & (j < full[3]))
        s = lax.cond(whole, lambda: s, lambda: _masked(s, bounds, j * plan.keys))
        # Scores stay unscaled; the scale enters the exponent of 2 in one multiply-add.
        new_peak = jnp.maximum(peak, s.max(axis=1) * (plan.scale * LOG2_E))
        shift = jnp.where(new_peak == -jnp.inf, 0.0, new_peak)
        decay = jnp.exp2(peak - shift)
        p = jnp.exp2(s * (plan.scale * LOG2_E) - _columns(shift, s))
        total = total * decay + p.sum(axis=1)
        p = p.astype(v_s.dtype)
        plgpu.barrier_wait(v_ready.at[place])
        out = _weighted(out, decay, p, v_s.at[place], p_s.at[warpgroup] if p_s is not None else None)
        plgpu.barrier_arrive(v_free.at[place])
        return out, new_peak, total

    out, peak, total = lax.fori_loop(
        0, _num_visited(spans), turn, (out, row(-jnp.inf), row(0.0))
    )
    some = total > 0
    total = jnp.where(some, total, 1.0)
    lse_s[...] = jnp.where(some, peak * (1 / LOG2_E) + jnp.log(total), -jnp.inf)
    q_s[...] = (out * _columns(1.0 / total, out)).astype(q_s.dtype)
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(q_s, out_ref)
    plgpu.copy_smem_to_gmem(lse_s, lse_ref)
    plgpu.wait_smem_to_gmem(0)


def _columns(row, like):
    """[rows] -> the shape of `like`, every column the same."""
    return lax.broadcast_in_dim(row, like.shape, [0])


def _masked(s, bounds, first_key):
    a0, a1, b0, b1 = (
        _columns(plgpu.load(ref, layout=ROW, optimized=False), s) for ref in bounds
    )
    key = plgpu.broadcasted_iota(jnp.int32, s.shape, 1, layout=MATRIX) + first_key
    seen = ((key >= a0) & (key < a1)) | ((key >= b0) & (key < b1))
    return jnp.where(seen, s, -jnp.inf)


def _weighted(out, decay, p, v_s, p_s):
    """out * decay + p @ v."""
    if p_s is None:
        out = out * _columns(decay, out)

        def multiply(acc):
            plgpu.wgmma(acc, p, v_s)

        return pl.run_state(multiply)(plgpu.ACC.init(out))
    p_s[...] = p
    plgpu.commit_smem()

    def multiply(acc):
        plgpu.wgmma(acc, p_s, v_s)
        return acc[...]

    product = pl.run_scoped(multiply, plgpu.ACC(out.shape, jnp.float32))
    return out * _columns(decay, out) + product
