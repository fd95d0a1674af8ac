"""Decode attention for Hopper: split-KV flash attention in Pallas Mosaic GPU.

One kernel serves both parts. It takes X groups of M query rows a kv head, each group with keys of
its own: the prompts (M = G x T x N / K rows share them), then the answers (M = T x N / K). A block
of the grid takes 64 rows, one kv head and one of `splits` equal shares of the slots between the
group's true bounds, so unwritten slots are not read and a few long prompts still fill the device.
A producer warpgroup copies keys and values of the wanted layer straight out of the stacked cache, a
consumer multiplies and keeps the running softmax; the shares are merged by log-sum-exp in XLA.

Written for jax >= 0.11.2. Compiled ahead of time and run in the interpreter; never timed by us.

Letters: X prompts or rows, K kv heads, M query rows a kv head, S slots, H head width, B rows.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from onevision_kernels.attention.reference import AttentionOutput
from onevision_kernels.decode.cache import DecodeCall, SharedCache, query_limits
from onevision_kernels.decode.merge import Part, merge
from onevision_kernels.decode.xla import by_kv_head, by_row
from onevision_kernels.target import Target, current_target, not_hopper

ROWS = 64  # Query rows of a block: the least that WGMMA multiplies.
SLOTS = 64  # Keys and values of one copy.
TILE = 8  # Slots of a tile of shared memory: copies begin at a multiple of it.
STAGES = 4  # Copies in flight.
BLOCKS_WANTED = 2 * 132  # About two a multiprocessor.
LOWEST = -1e30  # Stands for -inf in the running maximum, where -inf - -inf would be NaN.
PRODUCER_REGISTERS, CONSUMER_REGISTERS = 40, 232


def gpu_refuses(target: Target, call: DecodeCall) -> str | None:
    """Why the kernel does not run there; None where it does."""
    if reason := not_hopper(target):
        return reason
    if call.dtype not in (jnp.bfloat16, jnp.float16):
        return f"needs bfloat16 or float16, the queries are {call.dtype}"
    if call.head_dim not in (64, 128):
        return f"needs a head width of 64 or 128, it is {call.head_dim}"
    slots = (call.prompt_slots, call.answer_slots)
    if min(slots) < SLOTS or any(number % TILE for number in slots):
        return (
            f"needs {SLOTS} slots or more, a multiple of {TILE}, for prompts and for answers, got "
            f"{slots[0]} and {slots[1]}"
        )
    return None


def gpu_decode(
    q_BTNH: jax.Array, cache: SharedCache, layer: jax.Array, *, scale: float
) -> AttentionOutput:
    """Same contract as `reference_decode`."""
    B, T, N, _ = q_BTNH.shape
    P, K = cache.prompt_k.shape[1:3]
    starts_P, stops_P = cache.bounds[:, 0], cache.bounds[:, 1]
    limits_PM = jnp.broadcast_to(stops_P[:, None], (P, B // P * T * (N // K)))
    limits_BM = jnp.repeat(query_limits(cache.lengths, T), N // K, axis=1)
    prompts = _attend(
        by_kv_head(q_BTNH, P, K), cache.prompt_k, cache.prompt_v, starts_P, limits_PM, layer, scale
    )
    answers = _attend(
        by_kv_head(q_BTNH, B, K),
        cache.answer_k,
        cache.answer_v,
        jnp.zeros((B,), jnp.int32),
        limits_BM,
        layer,
        scale,
    )
    parts = [Part(*(by_row(x, B, T) for x in part)) for part in (*prompts, *answers)]
    out_BTNH, lse_BTN = merge(parts)
    return AttentionOutput(out_BTNH.astype(cache.answer_v.dtype), lse_BTN)


def _attend(q_XKMH, k_LXKSH, v_LXKSH, starts_X, limits_XM, layer, scale: float) -> list[Part]:
    """One part a split; row m of group x sees the slots starts[x] .. limits[x, m] - 1."""
    (X, K, M, H), S = q_XKMH.shape, k_LXKSH.shape[3]
    padding = -M % ROWS
    q_ZMH = jnp.pad(q_XKMH, [(0, 0), (0, 0), (0, padding), (0, 0)]).reshape(X * K, M + padding, H)
    bounds_X2 = jnp.stack([starts_X, jnp.maximum(limits_XM.max(axis=1), starts_X)], axis=1)
    shape = Shape(X, K, M + padding, S, H, q_XKMH.dtype, scale)
    out, lse = _split_kv(shape)(
        q_ZMH,
        k_LXKSH.reshape(-1, S, H),
        v_LXKSH.reshape(-1, S, H),
        bounds_X2,
        jnp.pad(limits_XM, [(0, 0), (0, padding)]),
        layer.reshape(1),
    )
    out = out.reshape(shape.splits, X, K, -1, H)[:, :, :, :M]
    lse = lse.reshape(shape.splits, X, K, -1)[:, :, :, :M]
    seen = lse > LOWEST / 2
    return [Part(out[i], seen[i].astype(jnp.float32), lse[i]) for i in range(shape.splits)]


class Shape(NamedTuple):
    """What a kernel is compiled for. Z pairs of group and kv head; M is a multiple of ROWS."""

    X: int
    K: int
    M: int
    S: int
    H: int
    dtype: Any
    scale: float

    @property
    def splits(self) -> int:
        """Shares of the slots: enough blocks for the device, at least four copies each."""
        wanted = -(-BLOCKS_WANTED // (self.X * self.K * (self.M // ROWS)))
        return max(1, min(wanted, self.S // (4 * SLOTS)))


def _split_kv(shape: Shape):
    """The kernel: (q, k, v, bounds, limits, layer) -> out [splits Z, M, H], lse [splits Z, M]."""
    from jax.experimental.pallas import mosaic_gpu

    plgpu: Any = mosaic_gpu  # The older jax that type checkers see lacks half of it.
    in_shared_memory = current_target().interpreted  # There WGMMA takes no operand in registers.
    X, K, M, S, H, dtype, scale = shape
    Z, splits = X * K, shape.splits
    wgmma = plgpu.Layout.WGMMA
    tiles = (plgpu.TilingTransform((8, 64)), plgpu.SwizzleTransform(128))
    wide_tiles = (plgpu.TilingTransform((8, 32)), plgpu.SwizzleTransform(128))

    def smem(*dims: int, dtype=dtype, transforms=tiles):
        return plgpu.SMEM(dims, dtype, transforms=transforms)

    scratch = {
        "q_s": smem(ROWS, H),
        "k_s": smem(STAGES, SLOTS, H),
        "v_s": smem(STAGES, SLOTS, H),
        "out_s": smem(ROWS, H, dtype=jnp.float32, transforms=wide_tiles),
        "lse_s": plgpu.SMEM((ROWS,), jnp.float32),
        "q_full": plgpu.Barrier(),
        "k_full": plgpu.Barrier(num_barriers=STAGES),
        "v_full": plgpu.Barrier(num_barriers=STAGES),
        "k_free": plgpu.Barrier(num_barriers=STAGES),
        "v_free": plgpu.Barrier(num_barriers=STAGES),
    }
    if in_shared_memory:
        scratch["p_s"] = smem(ROWS, SLOTS)

    def kernel(
        q_ref, k_ref, v_ref, bounds_ref, limits_ref, layer_ref, out_ref, lse_ref,
        q_s, k_s, v_s, out_s, lse_s, q_full, k_full, v_full, k_free, v_free, p_s=None,
    ):  # fmt: skip
        pair, row0 = lax.axis_index("pair"), lax.axis_index("rows") * ROWS
        split = lax.axis_index("split")
        x = lax.div(pair, jnp.int32(K))
        where = layer_ref[0] * Z + pair
        start, stop = bounds_ref[x, 0], bounds_ref[x, 1]
        first_tile = lax.div(start, jnp.int32(TILE))
        blocks = pl.cdiv(stop - first_tile * TILE, SLOTS)
        share = pl.cdiv(blocks, splits)
        first = split * share
        count = jnp.maximum(jnp.minimum(share, blocks - first), 0)

        def position(i):
            """First slot that block i answers for; first slot it copies, never too near the end."""
            tile = first_tile + (first + i) * (SLOTS // TILE)
            copied_from = jnp.minimum(tile, (S - SLOTS) // TILE) * TILE
            return jnp.maximum(tile * TILE, start), copied_from

        @pl.when(lax.axis_index("warpgroup") == 1)
        def _produce():
            plgpu.set_max_registers(PRODUCER_REGISTERS, action="decrease")

            @pl.loop(0, count)
            def _(i):
                stage = lax.rem(i, jnp.int32(STAGES))
                slots = pl.ds(position(i)[1], SLOTS)
                for full, ref, copied, free in (
                    (k_full, k_ref, k_s, k_free),
                    (v_full, v_ref, v_s, v_free),
                ):

                    @pl.when(i >= STAGES)
                    def _(free=free):
                        plgpu.barrier_wait(free.at[stage])

                    plgpu.copy_gmem_to_smem(ref.at[where, slots], copied.at[stage], full.at[stage])

        @pl.when(lax.axis_index("warpgroup") == 0)
        def _consume():
            plgpu.set_max_registers(CONSUMER_REGISTERS, action="increase")
            plgpu.copy_gmem_to_smem(q_ref.at[pair, pl.ds(row0, ROWS)], q_s, q_full)
            limit = plgpu.load(
                limits_ref.at[x, pl.ds(row0, ROWS)], layout=wgmma.reduce(1), optimized=False
            )
            plgpu.barrier_wait(q_full)

            def released(barrier, i, stage):
                """The producer waits only for stages that it fills again."""

                @pl.when(i + STAGES < count)
                def _():
                    plgpu.barrier_arrive(barrier.at[stage])

            def scores(i, stage):
                def multiply(acc):
                    plgpu.wgmma(acc, q_s, k_s.at[stage].transpose((1, 0)))
                    return acc[...]

                plgpu.barrier_wait(k_full.at[stage])
                found = pl.run_scoped(multiply, plgpu.ACC((ROWS, SLOTS), jnp.float32))
                released(k_free, i, stage)
                return found

            def weighted(i, stage, weights, wanted, copied_from):
                plgpu.barrier_wait(v_full.at[stage])
                whole = (wanted == copied_from) & (copied_from + SLOTS <= stop)

                @pl.when(jnp.logical_not(whole))
                def _():  # What lies outside the bounds may be NaN, and 0 x NaN is NaN.
                    slot = plgpu.broadcasted_iota(jnp.int32, (SLOTS, H), 0, layout=wgmma)
                    slot = slot + copied_from
                    values = plgpu.load(v_s.at[stage], layout=wgmma)
                    zeros = plgpu.layout_cast(jnp.zeros((SLOTS, H), dtype), wgmma)
                    inside = (slot >= wanted) & (slot < stop)
                    v_s.at[stage][...] = jnp.where(inside, values, zeros)
                    plgpu.commit_smem()

                if p_s is not None:
                    p_s[...] = weights
                    plgpu.commit_smem()

                def multiply(acc):
                    plgpu.wgmma(acc, weights if p_s is None else p_s, v_s.at[stage])
                    return acc[...]

                found = pl.run_scoped(multiply, plgpu.ACC((ROWS, H), jnp.float32))
                released(v_free, i, stage)
                return found

            def block(i, carry):
                acc, peak, total = carry
                stage = lax.rem(i, jnp.int32(STAGES))
                wanted, copied_from = position(i)
                score = scores(i, stage)
                slot = plgpu.broadcasted_iota(jnp.int32, (ROWS, SLOTS), 1, layout=wgmma)
                slot = slot + copied_from
                seen = (slot >= wanted) & (slot < lax.broadcast_in_dim(limit, slot.shape, [0]))
                score = jnp.where(seen, score * (scale * math.log2(math.e)), LOWEST)
                new_peak = jnp.maximum(peak, score.max(axis=1))
                shrink = jnp.exp2(peak - new_peak)
                weight = jnp.exp2(score - lax.broadcast_in_dim(new_peak, score.shape, [0]))
                weight = jnp.where(seen, weight, 0.0)
                total = total * shrink + weight.sum(axis=1)
                added = weighted(i, stage, weight.astype(dtype), wanted, copied_from)
                acc = acc * lax.broadcast_in_dim(shrink, acc.shape, [0]) + added
                return acc, new_peak, total

            def constant(value, dims, layout):
                return plgpu.layout_cast(jnp.full(dims, value, jnp.float32), layout)

            acc, peak, total = lax.fori_loop(
                0,
                count,
                block,
                (
                    constant(0.0, (ROWS, H), wgmma),
                    constant(LOWEST, (ROWS,), wgmma.reduce(1)),
                    constant(0.0, (ROWS,), wgmma.reduce(1)),
                ),
            )
            safe = jnp.where(total > 0, total, 1.0)
            # Back to natural logarithms; LOWEST marks rows that saw nothing.
            lse = (peak + jnp.log(safe) * math.log2(math.e)) * math.log(2)
            lse_s[...] = jnp.where(total > 0, lse, LOWEST)
            out_s[...] = acc / lax.broadcast_in_dim(safe, acc.shape, [0])
            plgpu.commit_smem()
            place = (split * Z + pair, pl.ds(row0, ROWS))
            plgpu.copy_smem_to_gmem(out_s, out_ref.at[place])
            plgpu.copy_smem_to_gmem(lse_s, lse_ref.at[place])
            plgpu.wait_smem_to_gmem(0)

    return plgpu.kernel(
        kernel,
        out_type=(
            jax.ShapeDtypeStruct((splits * Z, M, H), jnp.float32),
            jax.ShapeDtypeStruct((splits * Z, M), jnp.float32),
        ),
        grid=(Z, M // ROWS, splits),
        grid_names=("pair", "rows", "split"),
        num_threads=2,
        thread_name="warpgroup",
        scratch_types=scratch,
        compiler_params=plgpu.CompilerParams(approx_math=True),
    )
