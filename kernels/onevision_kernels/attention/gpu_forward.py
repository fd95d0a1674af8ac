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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu

from onevision_kernels.attention.gpu_tiles import GpuSchedule, GpuTiles

plgpu: Any = mosaic_gpu  # The older jax that type checkers see has other forms of it.

CONSUMERS = 2
PRODUCER = CONSUMERS  # The last warpgroup.
# 65,536 registers over 3 x 128 threads are 168 a thread; the producer hands most of its own over.
# jax 0.12.0.1 assembles relocatable code, where ptxas ignores that (C7504): the kernel fits in 168.
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
    """(out [B, T, N, H], lse [B, N, T] float32); T and S multiples of 8."""
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
            # Whole blocks: unlike the copy of a matrix, that of a row is not cut at the end.
            jax.ShapeDtypeStruct((B, N, plan.num_blocks * tiles.forward_query_block), jnp.float32),
        ),
        scratch_types=_scratch(plan, q_BTNH.dtype),
        grid=(N, plan.num_blocks, B),
        grid_names=("head", "block", "batch"),
        num_threads=CONSUMERS + 1,
        thread_name="warpgroup",
        kernel_name="range_attention_forward",
        compiler_params=plgpu.CompilerParams(approx_math=True),
    )
    rows = schedule.rows
    assert rows is not None
    out, lse = kernel(
        q_BTNH,
        k_BSKH,
        v_BSKH,
        rows.bounds,
        rows.split,
        rows.asked,
        rows.dirty,
        schedule.forward.key_spans,
        schedule.forward.full_spans,
    )
    return out, lse[:, :, :T]


def _scratch(plan: _Plan, dtype) -> dict[str, Any]:
    """Shared memory and barriers of one block of threads."""

    def tiled(*shape):
        swizzle = plgpu.find_swizzle(shape[-1] * dtype.itemsize * 8)
        tiling = plgpu.TilingTransform((8, swizzle // dtype.itemsize))
        return plgpu.SMEM(shape, dtype, transforms=(tiling, plgpu.SwizzleTransform(swizzle)))

    ring = tiled(plan.stages, plan.keys, plan.head_dim)
    ready = plgpu.Barrier(num_barriers=plan.stages)
    free = plgpu.Barrier(num_barriers=plan.stages, num_arrivals=CONSUMERS)
    scratch: dict[str, Any] = {
        "q_s": tiled(CONSUMERS, plan.rows, plan.head_dim),
        "k_s": ring,
        "v_s": ring,
        "lse_s": plgpu.SMEM((CONSUMERS, plan.rows), jnp.float32),
        "q_ready": plgpu.Barrier(num_barriers=CONSUMERS),
        "k_ready": ready,
        "v_ready": ready,
        "k_free": free,
        "v_free": free,
        "turns": plgpu.Barrier(num_arrivals=CONSUMERS),
    }
    if plan.through_smem:
        scratch["p_s"] = tiled(CONSUMERS, plan.rows, plan.keys)
    return scratch


def _kernel(
    q_ref,
    k_ref,
    v_ref,
    bounds_ref,
    split_ref,
    asked_ref,
    dirty_ref,
    spans_ref,
    full_ref,
    out_ref,
    lse_ref,
    *,
    plan: _Plan,
    **scratch,
):
    b, n, warpgroup = (lax.axis_index(name) for name in ("batch", "head", "warpgroup"))
    # Causal blocks far down the row are the longest: they start first.
    i = plan.num_blocks - 1 - lax.axis_index("block")
    spans = [spans_ref[b, i, x] for x in range(4)]

    @pl.when(warpgroup == PRODUCER)
    def _():
        plgpu.set_max_registers(PRODUCER_REGISTERS, action="decrease")
        head = lax.div(n, jnp.int32(plan.group))
        _produce(k_ref.at[b, :, head], v_ref.at[b, :, head], spans, plan, scratch)

    @pl.when(warpgroup < CONSUMERS)
    def _():
        plgpu.set_max_registers(CONSUMER_REGISTERS, action="increase")
        queries = pl.ds((i * CONSUMERS + warpgroup) * plan.rows, plan.rows)
        mask = _Mask(
            bounds=[bounds_ref.at[b, x, queries] for x in range(4)],
            split=split_ref.at[b, i],
            full=full_ref.at[b, i],
        )
        refs = q_ref.at[b, queries, n], out_ref.at[b, queries, n], lse_ref.at[b, n, queries]
        unasked = dirty_ref.at[b], asked_ref.at[b]
        _consume(refs, mask, unasked, spans, plan, warpgroup, scratch)


def _num_visited(spans):
    return spans[1] - spans[0] + spans[3] - spans[2]


def _visited(turn, spans):
    """The key block of a turn of the loop: the first span, then the second."""
    in_first = spans[1] - spans[0]
    return jnp.where(turn < in_first, spans[0] + turn, spans[2] + turn - in_first)


def _produce(k_ref, v_ref, spans, plan: _Plan, scratch) -> None:
    """Copies the visited key blocks into the ring, as soon as both consumers left a place."""
    num_turns = _num_visited(spans)

    # The turns beyond the last only wait until the ring is free.
    @pl.loop(0, num_turns + plan.stages)
    def _(turn):
        place = lax.rem(turn, jnp.int32(plan.stages))
        keys = pl.ds(_visited(turn, spans) * plan.keys, plan.keys)
        for name, ref in (("k", k_ref), ("v", v_ref)):

            @pl.when(turn >= plan.stages)
            def _(name=name):
                plgpu.barrier_wait(scratch[name + "_free"].at[place])

            @pl.when(turn < num_turns)
            def _(name=name, ref=ref):
                ring, ready = scratch[name + "_s"], scratch[name + "_ready"]
                plgpu.copy_gmem_to_smem(ref.at[keys], ring.at[place], ready.at[place])


def _consume(refs, mask: "_Mask", unasked, spans, plan: _Plan, warpgroup, scratch) -> None:
    """The online softmax of 64 queries over the visited key blocks."""
    q_ref, out_ref, lse_ref = refs
    q_s, q_ready = scratch["q_s"].at[warpgroup], scratch["q_ready"].at[warpgroup]
    k_s, v_s, k_ready, v_ready = (scratch[x] for x in ("k_s", "v_s", "k_ready", "v_ready"))
    p_s = scratch["p_s"].at[warpgroup] if plan.through_smem else None
    num_turns = _num_visited(spans)
    factor = plan.scale * LOG2_E

    def my_turn():
        plgpu.barrier_arrive(scratch["turns"])
        plgpu.barrier_wait(scratch["turns"])

    def step(turn, carry):
        out, peak, total = carry
        place = lax.rem(turn, jnp.int32(plan.stages))

        def multiply(acc):
            plgpu.wgmma(acc, q_s, k_s.at[place].transpose((1, 0)))
            my_turn()
            return acc[...]

        scores = pl.run_scoped(multiply, plgpu.ACC((plan.rows, plan.keys), jnp.float32))
        plgpu.barrier_arrive(scratch["k_free"].at[place])
        scores = mask(scores, _visited(turn, spans))
        # Scores stay unscaled: the scale enters the exponent of 2 in one multiply-add.
        new_peak = jnp.maximum(peak, scores.max(axis=1) * factor)
        shift = jnp.where(new_peak == -jnp.inf, 0.0, new_peak)
        decay = jnp.exp2(peak - shift)
        weights = jnp.exp2(scores * factor - _columns(shift, scores))
        total = total * decay + weights.sum(axis=1)
        out = out * _columns(decay, out)
        carry = lax.optimization_barrier((out, new_peak, total, weights.astype(v_s.dtype)))
        out, peak, total, weights = carry
        plgpu.barrier_arrive(scratch["turns"])  # The softmax is done:
        plgpu.barrier_wait(v_ready.at[place])
        plgpu.barrier_wait(scratch["turns"])  # the tensor cores are free.
        # The first consumer is always the first to multiply by v.
        pl.when(warpgroup == 0)(lambda: _clean(v_s.at[place], unasked, _visited(turn, spans), plan))

        def prefetch():
            @pl.when(turn + 1 < num_turns)
            def _():
                plgpu.barrier_wait(k_ready.at[lax.rem(turn + 1, jnp.int32(plan.stages))])

        out = _add_product(out, weights, v_s.at[place], p_s, prefetch)
        plgpu.barrier_arrive(scratch["v_free"].at[place])
        return out, peak, total

    plgpu.copy_gmem_to_smem(q_ref, q_s, q_ready)
    plgpu.barrier_wait(q_ready)

    @pl.when(num_turns > 0)
    def _():
        plgpu.barrier_wait(k_ready.at[0])

    pl.when(warpgroup == 1)(my_turn)
    start = (
        plgpu.layout_cast(jnp.zeros((plan.rows, plan.head_dim), jnp.float32), MATRIX),
        plgpu.layout_cast(jnp.full((plan.rows,), -jnp.inf, jnp.float32), ROW),
        plgpu.layout_cast(jnp.zeros((plan.rows,), jnp.float32), ROW),
    )
    out, peak, total = lax.fori_loop(0, num_turns, step, start)
    pl.when(warpgroup == 0)(my_turn)

    some = total > 0
    total = jnp.where(some, total, 1.0)
    lse_s = scratch["lse_s"].at[warpgroup]
    lse_s[...] = jnp.where(some, peak * (1 / LOG2_E) + jnp.log(total), -jnp.inf)
    q_s[...] = (out * _columns(1.0 / total, out)).astype(q_s.dtype)  # Nobody needs q any more.
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(q_s, out_ref)
    plgpu.copy_smem_to_gmem(lse_s, lse_ref)
    plgpu.wait_smem_to_gmem(0)


def _clean(v_s, unasked, block, plan: _Plan) -> None:
    """Zeros the values nobody asks for: a weight of 0 does not silence a NaN."""
    dirty_ref, asked_ref = unasked

    @pl.when(dirty_ref[block] != 0)
    def _():
        for first in range(0, plan.keys, plan.rows):
            some = pl.ds(first, plan.rows)
            asked_row = asked_ref.at[pl.ds(block * plan.keys + first, plan.rows)]
            v = plgpu.load(v_s.at[some], layout=MATRIX)
            asked = _columns(plgpu.load(asked_row, layout=ROW, optimized=False), v)
            v_s.at[some][...] = jnp.where(asked != 0, v, jnp.zeros_like(v))
        plgpu.commit_smem()


def _columns(row, like):
    """[rows] -> the shape of `like`, every column the same."""
    return lax.broadcast_in_dim(row, like.shape, [0])


class _Mask(NamedTuple):
    """What a consumer knows of the keys its queries see.

    References, read when needed: registers are scarce.
    bounds: four of [rows] (see `RowBounds`). split: [], 0 where no row has a gap.
    full: [4], two spans of key blocks that need no mask.
    """

    bounds: list[Any]
    split: Any
    full: Any

    def __call__(self, scores, block):
        """-inf where a score is not seen."""
        lo0, hi0, lo1, hi1 = (self.full[x] for x in range(4))
        partial = ~(((block >= lo0) & (block < hi0)) | ((block >= lo1) & (block < hi1)))
        first_key = block * scores.shape[1]
        scores = lax.cond(partial, lambda: self._hull(scores, first_key), lambda: scores)
        gap = partial & (self.split[...] != 0)
        return lax.cond(gap, lambda: self._gap(scores, first_key), lambda: scores)

    def _hull(self, scores, first_key):
        # Selections instead of a mask of booleans: those would take a register each.
        key = _key(scores, first_key)
        scores = jnp.where(key >= self._row(0, scores), scores, -jnp.inf)
        return jnp.where(key < self._row(3, scores), scores, -jnp.inf)

    def _gap(self, scores, first_key):
        key = _key(scores, first_key)
        left = jnp.where(key < self._row(1, scores), scores, -jnp.inf)
        return jnp.where(key >= self._row(2, scores), scores, left)

    def _row(self, bound, scores):
        return _columns(plgpu.load(self.bounds[bound], layout=ROW, optimized=False), scores)


def _key(scores, first_key):
    """The key of each score."""
    return plgpu.broadcasted_iota(jnp.int32, scores.shape, 1, layout=MATRIX) + first_key


def _add_product(out, weights, v_s, p_s, meanwhile):
    """out + weights @ v. `p_s`: where an interpreter wants the weights, None for registers."""
    if p_s is None:

        def accumulate(acc):
            plgpu.wgmma(acc, weights, v_s)
            meanwhile()

        return pl.run_state(accumulate)(plgpu.ACC.init(out))
    p_s[...] = weights
    plgpu.commit_smem()

    def multiply(acc):
        plgpu.wgmma(acc, p_s, v_s)
        meanwhile()
        return acc[...]

    return out + pl.run_scoped(multiply, plgpu.ACC(out.shape, jnp.float32))
