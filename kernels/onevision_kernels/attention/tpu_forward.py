"""Range attention on TPU, forward: one grid step per entry of the work list.

A step takes a block of queries of all the heads that share its kv heads against one block of
keys, so keys and values are read once per group. The running maximum, sum and output of the
softmax stay in VMEM from the first entry of a query block to its last. Scores are kept in units
of log 2, because the machine's exponential has the base 2.

Letters: B batch, T queries, S keys, N query heads, K kv heads, G = N / K, H head width; q and k
as suffixes are the block sizes.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from onevision_kernels.attention import tpu_work as work
from onevision_kernels.attention.tpu_blocks import LANES, Blocks, matmul_precision

LN2 = 0.6931471805599453
LOG2E = 1.4426950408889634
# Below every score. Finite, so that exp2(masked - lowest) is 0 and not NaN in a row still empty.
LOWEST = -1e30

_ABT = (((1,), (1,)), ((), ()))  # a @ b.T


def forward(
    q_BNTH: jax.Array,
    k_BKSH: jax.Array,
    v_BKSH: jax.Array,
    schedule: work.TpuSchedule,
    *,
    scale: float,
    blocks: Blocks,
    cost: pl.CostEstimate,
) -> tuple[jax.Array, jax.Array]:
    """(out [B, N, T, H] in the dtype of v, lse [B, N, T] float32)."""
    (B, N, T, H), K = q_BNTH.shape, k_BKSH.shape[1]
    heads, kv_heads = blocks.kv_heads * (N // K), blocks.kv_heads
    entries_BL, num_entries_B = schedule.forward
    L = entries_BL.shape[1]

    def at(b, t, entries):
        return entries[b * L + t]

    def of_queries(b, n, t, entries):
        return b, n, work.query_block(at(b, t, entries)), 0

    def of_keys(b, n, t, entries):
        return b, n, work.key_block(at(b, t, entries)), 0

    spec_q = pl.BlockSpec((1, heads, blocks.query, H), of_queries)
    spec_k = pl.BlockSpec((1, kv_heads, blocks.key, H), of_keys)
    kernel = functools.partial(_kernel, length=L, key_step=blocks.key_step, scale=scale)
    out_BNTH, lse_BN1T = pl.pallas_call(
        kernel,
        out_shape=[
            jax.ShapeDtypeStruct((B, N, T, H), v_BKSH.dtype),
            jax.ShapeDtypeStruct((B, N, 1, T), jnp.float32),
        ],
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(B, K // kv_heads, num_entries_B.max()),
            in_specs=[
                spec_q,
                spec_k,
                spec_k,
                pl.BlockSpec(
                    (1, work.BOUND_ROWS, blocks.query),
                    lambda b, n, t, entries: (b, 0, work.query_block(at(b, t, entries))),
                ),
                pl.BlockSpec(
                    (1, 1, blocks.key),
                    lambda b, n, t, entries: (b, 0, work.key_block(at(b, t, entries))),
                ),
            ],
            out_specs=[
                spec_q,
                pl.BlockSpec(
                    (1, heads, 1, blocks.query),
                    lambda b, n, t, entries: (b, n, 0, work.query_block(at(b, t, entries))),
                ),
            ],
            scratch_shapes=[
                pltpu.VMEM((heads, blocks.query, LANES), jnp.float32),
                pltpu.VMEM((heads, blocks.query, LANES), jnp.float32),
                pltpu.VMEM((heads, blocks.query, H), jnp.float32),
                pltpu.VMEM((4, blocks.query, LANES), jnp.int32),
            ],
        ),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"),
            vmem_limit_bytes=blocks.vmem_bytes,
        ),
        cost_estimate=cost,
        name="range_attention_forward",
    )(entries_BL.reshape(-1), q_BNTH, k_BKSH, v_BKSH, schedule.bounds, schedule.asked)
    return out_BNTH, lse_BN1T[:, :, 0]


def _kernel(
    entries_ref,
    q_ref,  # [1, heads, q, H]
    k_ref,  # [1, kv heads, k, H]
    v_ref,
    bounds_ref,  # [1, 8, q] int32
    asked_ref,  # [1, 1, k]
    out_ref,  # [1, heads, q, H]
    lse_ref,  # [1, heads, 1, q]
    peak_ref,  # [heads, q, 128], every lane the same
    total_ref,
    sum_ref,  # [heads, q, H]
    columns_ref,  # [4, q, 128], every lane the same
    *,
    length: int,
    key_step: int,
    scale: float,
):
    entry = entries_ref[pl.program_id(0) * length + pl.program_id(2)]
    kind = entry & work.KIND

    @pl.when((entry & work.FIRST) != 0)
    def open_block():
        peak_ref[...] = jnp.full_like(peak_ref, LOWEST)
        total_ref[...] = jnp.zeros_like(total_ref)
        sum_ref[...] = jnp.zeros_like(sum_ref)
        for row in range(4):
            columns_ref[row] = column(bounds_ref[0, row : row + 1, :])

    heads, kv_heads = q_ref.shape[1], k_ref.shape[1]

    def visit(masked: bool):
        @pl.loop(0, heads)
        def one_head(n):
            kv = lax.div(n, heads // kv_heads)
            q_qH = q_ref[0, n]
            # Smaller tiles of scores spill less; the compiler overlaps one with the next.
            for offset in range(0, k_ref.shape[2], key_step):
                keys = pl.ds(offset, key_step)
                v_kH = v_ref[0, kv, keys]
                s_qk = lax.dot_general(
                    q_qH,
                    k_ref[0, kv, keys],
                    _ABT,
                    precision=matmul_precision(q_ref.dtype),
                    preferred_element_type=jnp.float32,
                )
                s_qk *= scale * LOG2E
                if masked:
                    start = work.key_block(entry) * k_ref.shape[2] + offset
                    seen = _seen(columns_ref, work.range_index(entry), start, s_qk.shape)
                    s_qk = jnp.where(seen, s_qk, -jnp.inf)
                    v_kH = zero_rows(v_kH, asked_ref[0, :, keys])
                _accumulate(s_qk, v_kH, peak_ref.at[n], total_ref.at[n], sum_ref.at[n])

    pl.when(kind == work.FULL)(functools.partial(visit, masked=False))
    pl.when(kind == work.PARTIAL)(functools.partial(visit, masked=True))

    @pl.when((entry & work.LAST) != 0)
    def close_block():
        @pl.loop(0, heads)
        def one_head(n):
            total = total_ref[n]
            some = total > 0
            safe = jnp.where(some, total, 1.0)
            out_ref[0, n] = (sum_ref[n] / fit(safe, sum_ref.shape[2])).astype(out_ref.dtype)
            lse = jnp.where(some, peak_ref[n] * LN2 + jnp.log(safe), -jnp.inf)
            lse_ref[0, n] = lse.T[:1]


def _accumulate(s_qk, v_kH, peak_ref, total_ref, sum_ref):
    """One step of the running softmax; scores in units of log 2."""
    before = peak_ref[...]
    peak = jnp.maximum(before, s_qk.max(axis=1, keepdims=True))
    p_qk = jnp.exp2(s_qk - fit(peak, s_qk.shape[1]))
    shrink = jnp.exp2(before - peak)
    peak_ref[...] = peak
    total_ref[...] = total_ref[...] * shrink + p_qk.sum(axis=1, keepdims=True)
    part_qH = lax.dot_general(
        p_qk.astype(v_kH.dtype),
        v_kH,
        (((1,), (0,)), ((), ())),
        precision=matmul_precision(v_kH.dtype),
        preferred_element_type=jnp.float32,
    )
    sum_ref[...] = sum_ref[...] * fit(shrink, part_qH.shape[1]) + part_qH


def _seen(columns_ref, which, offset, shape: tuple[int, ...]) -> jax.Array:
    """bool [q, k]: which of the keys from `offset` on each query sees in one of its ranges."""
    key = lax.broadcasted_iota(jnp.int32, shape, 1)
    start, stop = (fit(columns_ref[2 * which + side], shape[1]) for side in range(2))
    return within(key, start - offset, stop - start)


def within(index: jax.Array, start: jax.Array, length: jax.Array) -> jax.Array:
    """start <= index < start + length, by one comparison: the sum wraps round below `start`."""
    least = jnp.iinfo(jnp.int32).min
    return index + (least - start) < length + least


def column(row_1n: jax.Array) -> jax.Array:
    """[1, n] -> [n, 128], every lane the same."""
    return jnp.broadcast_to(row_1n, (LANES, row_1n.shape[1])).T


def fit(x_nL: jax.Array, width: int) -> jax.Array:
    """[n, 128] whose lanes are the same -> [n, width]."""
    copies = -(-width // LANES)
    wide = x_nL if copies == 1 else jnp.tile(x_nL, (1, copies))
    return wide if width % LANES == 0 else wide[:, :width]


def zero_rows(x_nH: jax.Array, kept_1n: jax.Array) -> jax.Array:
    """Rows that are not kept become 0 (NaN included: no product would remove it)."""
    kept = fit(column(kept_1n), x_nH.shape[1]) > 0
    return jnp.where(kept, x_nH.astype(jnp.float32), 0.0).astype(x_nH.dtype)
