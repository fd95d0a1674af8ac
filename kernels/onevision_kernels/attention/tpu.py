"""Range attention in Pallas for TPU: the entry, its gradient, and when it declines.

The kernels (`tpu_forward.py`, `tpu_backward.py`) take arrays with the heads before the positions,
in which a block of one head is contiguous; XLA folds the transposes into what made the arrays.

Letters: B batch, T queries, S keys, N query heads, K kv heads, H head width.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from onevision_kernels.attention import tpu_work as work
from onevision_kernels.attention.call import Call
from onevision_kernels.attention.reference import AttentionOutput
from onevision_kernels.attention.tpu_backward import backward
from onevision_kernels.attention.tpu_blocks import (
    Blocks,
    Settings,
    key_gradient_bytes,
    settings_for,
    vmem_of,
)
from onevision_kernels.attention.tpu_forward import forward
from onevision_kernels.target import Target, not_tpu

MIN_QUERIES = 64  # Fewer is decoding.
DTYPES = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32))


def refuses(target: Target, call: Call) -> str | None:
    """Why the kernels cannot run there; None where they can."""
    if reason := not_tpu(target):
        return reason
    if call.dtype not in DTYPES:
        return f"computes in bfloat16 and float32, the arrays are {call.dtype}"
    if call.num_queries < MIN_QUERIES:
        return (
            f"is made for {MIN_QUERIES} queries or more, the call has {call.num_queries}: "
            "decoding has its own kernel"
        )
    if key_gradient_bytes(call) > vmem_of(target) // 2:
        return (
            f"holds the gradients of a row's keys in vector memory, {call.num_keys} keys of width "
            f"{call.head_dim} do not fit into that of {target.kind}"
        )
    return None


def schedule(ranges_BT4: jax.Array, call: Call) -> work.TpuSchedule:
    """What the kernels want to know of the ranges; every leaf has the batch first."""
    chosen = settings_for(call)
    S = call.num_keys

    def work_list(blocks: Blocks, drain: bool) -> work.WorkList:
        sizes = (blocks.query, blocks.key)
        return work.work_list(ranges_BT4, S, causal=call.causal, sizes=sizes, drain=drain)

    rows = math.lcm(chosen.forward.query, chosen.backward.query)
    keys = math.lcm(chosen.forward.key, chosen.backward.key)
    bounds = work.bounds_of(
        ranges_BT4, S, causal=call.causal, length=-(-call.num_queries // rows) * rows
    )
    asked = work.asked_of(bounds, -(-S // keys) * keys)
    return work.TpuSchedule(
        forward=work_list(chosen.forward, drain=False),
        backward=work_list(chosen.backward, drain=True),
        bounds=bounds,
        asked=asked,
    )


def attend(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    ranges_BT4: jax.Array,
    *,
    causal: bool,
    scale: float,
    max_span: int | None = None,
    schedule: work.TpuSchedule,
) -> AttentionOutput:
    """Same contract as `reference_attention`; memory linear in T, forward and backward."""
    del ranges_BT4
    call = Call.of(q_BTNH, k_BSKH, causal=causal, max_span=max_span)
    static = _Static(scale=scale, call=call, settings=settings_for(call))
    heads_first = (x.transpose(0, 2, 1, 3) for x in (q_BTNH, k_BSKH, v_BSKH))
    out_BNTH, lse_BNT = _attend(*heads_first, schedule, static)
    return AttentionOutput(out_BNTH.transpose(0, 2, 1, 3), lse_BNT.transpose(0, 2, 1))


@dataclasses.dataclass(frozen=True)
class _Static:
    """What the kernels know before the arrays; hashable, for `custom_vjp`."""

    scale: float
    call: Call
    settings: Settings

    def cost(self, matmuls: int, arrays: int) -> pl.CostEstimate:
        """An upper bound from the shapes: what the ranges leave out is not known yet.

        matmuls: products of T x S x H; arrays: how often q's (or k's) worth of bytes moves.
        """
        B, T, S, N, K, H, dtype, causal, max_span = self.call
        keys = S if max_span is None else min(S, 2 * max_span + 1)
        scores = B * N * T * keys // (2 if causal and max_span is None else 1)
        return pl.CostEstimate(
            flops=2 * matmuls * scores * H,
            bytes_accessed=arrays * B * (T * N + S * K) * H * dtype.itemsize,
            transcendentals=scores,
        )


def _run_forward(q_BNTH, k_BKSH, v_BKSH, schedule, static: _Static):
    return forward(
        q_BNTH,
        k_BKSH,
        v_BKSH,
        schedule,
        scale=static.scale,
        blocks=static.settings.forward,
        cost=static.cost(matmuls=2, arrays=2),
    )


def _save(q_BNTH, k_BKSH, v_BKSH, schedule, static: _Static):
    out_BNTH, lse_BNT = _run_forward(q_BNTH, k_BKSH, v_BKSH, schedule, static)
    return (out_BNTH, lse_BNT), (q_BNTH, k_BKSH, v_BKSH, schedule, out_BNTH, lse_BNT)


def _run_backward(static: _Static, saved, cotangents):
    q_BNTH, k_BKSH, v_BKSH, schedule, out_BNTH, lse_BNT = saved
    d_out_BNTH, d_lse_BNT = cotangents
    wide = (x.astype(jnp.float32) for x in (d_out_BNTH, out_BNTH))
    own_BNT = functools.reduce(jnp.multiply, wide).sum(axis=-1) - d_lse_BNT
    grads = backward(
        q_BNTH,
        k_BKSH,
        v_BKSH,
        d_out_BNTH.astype(q_BNTH.dtype),
        lse_BNT,
        own_BNT,
        schedule,
        scale=static.scale,
        blocks=static.settings.backward,
        cost=static.cost(matmuls=5, arrays=4),
    )
    return *grads, None


_attend: Any = jax.custom_vjp(_run_forward, nondiff_argnums=(4,))
_attend.defvjp(_save, _run_backward)
