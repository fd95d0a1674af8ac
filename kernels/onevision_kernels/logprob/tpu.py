"""`linear_logprob` as one Pallas TPU kernel: logits live in VMEM, a block at a time.

Grid (blocks of tokens, blocks of the vocabulary), the vocabulary innermost. Each of the 128 lanes
keeps its own running maximum and sums over the entries that fall into it, so a block of logits is
never reduced across lanes; the lanes are merged once, after the last block. A block is computed in
slices, each one matrix product and then the arithmetic on its logits, so that the arithmetic of one
slice runs beside the product of the next.

Logits are kept in units of log 2 and scaled by the temperature in the same multiplication. Backward
is XLA's, from the saved log-sum-exp.

Letters: N tokens, D width, V vocabulary, C tokens of a block, U entries of a block, L lanes.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from onevision_kernels.logprob.call import Call
from onevision_kernels.logprob.partial import FAR, PartialSums, log_probs
from onevision_kernels.logprob.reference import LogProbs
from onevision_kernels.logprob.xla import Plan, with_xla_backward
from onevision_kernels.target import Target, not_tpu

LANES = 128
LN2 = math.log(2)
BLOCK_TOKENS = 1024
BLOCK_ENTRIES = 1024
ROWS = 512
SLICE = 512  # entries of one matrix product
VMEM_BYTES = 96 * 2**20


class Blocks(NamedTuple):
    """Sizes of a block and of the slices it is computed in."""

    tokens: int
    entries: int
    rows: int
    slice: int


def refuses(target: Target, call: Call) -> str | None:
    """Why the kernel cannot run there; None where it can."""
    if reason := not_tpu(target):
        return reason
    for name, dtype in (("hidden states", call.dtype), ("head", call.head_dtype)):
        if dtype not in (jnp.bfloat16, jnp.float32):
            return f"takes bfloat16 and float32, the {name} are {dtype}"
    if call.num_shards > 1:
        return f"runs on one device, the work is shared by {call.num_shards}"
    if _vmem_bytes(call, choose_blocks(call)) > VMEM_BYTES:
        return f"does not fit its blocks of width {call.width} into fast memory"
    return None


def tpu_logprob(
    hidden_BTD: jax.Array,
    head: jax.Array,
    targets_BT: jax.Array,
    banned_V: jax.Array | None,
    *,
    vocab_first: bool,
    temperature: float,
    vocab_shards: int = 1,
    num_shards: int = 1,
) -> LogProbs:
    """Same contract as `reference_logprob`; temporary memory linear in T only."""
    plan = Plan(vocab_first, temperature, vocab_shards, num_shards)
    return LogProbs(*_logprob(plan, hidden_BTD, head, targets_BT, banned_V))


def _results(plan: Plan, hidden_BTD, head, targets_BT, banned_V) -> tuple[jax.Array, ...]:
    B, T, D = hidden_BTD.shape
    sums = partial_sums(
        hidden_BTD.reshape(B * T, D),
        head,
        targets_BT.reshape(B * T),
        banned_V,
        vocab_first=plan.vocab_first,
        temperature=plan.temperature,
    )
    return tuple(x.reshape(B, T) for x in log_probs(sums))


_logprob: Any = with_xla_backward(_results)


def partial_sums(
    hidden_ND: jax.Array,
    head: jax.Array,
    targets_N: jax.Array,
    banned_V: jax.Array | None,
    *,
    vocab_first: bool,
    temperature: float,
) -> PartialSums:
    """What the entries of `head` add to each token's sums; a target below 0 is not among them."""
    call = Call.of(hidden_ND[None], head, vocab_first=vocab_first)
    N, D, V = call.num_tokens, call.width, call.vocab_size
    blocks = choose_blocks(call)
    num_blocks = pl.cdiv(V, blocks.entries)
    kernel = functools.partial(
        _kernel,
        blocks=blocks,
        vocab_size=V,
        vocab_first=vocab_first,
        scale=math.log2(math.e) / temperature,
    )
    head_block = (blocks.entries, D) if vocab_first else (D, blocks.entries)
    head_index = (lambda i, j: (j, 0)) if vocab_first else (lambda i, j: (0, j))
    inputs: list[Any] = [hidden_ND, head, targets_N.astype(jnp.int32)[:, None]]
    in_specs = [
        pl.BlockSpec((blocks.tokens, D), lambda i, j: (i, 0)),
        pl.BlockSpec(head_block, head_index),
        pl.BlockSpec((blocks.tokens, 1), lambda i, j: (i, 0)),
    ]
    if banned_V is not None:
        inputs.append(banned_V.astype(jnp.int32)[None])
        in_specs.append(pl.BlockSpec((1, blocks.entries), lambda i, j: (0, j)))
    sums_NL = pl.pallas_call(
        kernel,
        grid=(pl.cdiv(N, blocks.tokens), num_blocks),
        in_specs=in_specs,
        out_specs=pl.BlockSpec((blocks.tokens, LANES), lambda i, j: (i, 0)),
        out_shape=jax.ShapeDtypeStruct((N, LANES), jnp.float32),
        scratch_shapes=[pltpu.VMEM((blocks.tokens, LANES), jnp.float32)] * 4,
        name="linear_logprob",
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=VMEM_BYTES + 2**24
        ),
        cost_estimate=_cost(call, blocks),
    )(*inputs)
    return PartialSums(*(sums_NL[:, lane] for lane in range(4)))


def _kernel(hidden_ref, head_ref, targets_ref, *refs, blocks, vocab_size, vocab_first, scale):
    """One block of tokens against one block of entries; refs: [banned], sums, four of scratch."""
    *banned, sums_ref, peak_ref, total_ref, weighted_ref, picked_ref = refs
    running = (peak_ref, total_ref, weighted_ref, picked_ref)
    j = pl.program_id(1)
    last = j == pl.num_programs(1) - 1
    num_left = vocab_size - j * blocks.entries  # entries of the head from this block on

    @pl.when(j == 0)
    def _start():
        peak_ref[...] = jnp.full_like(peak_ref, FAR)
        for ref in (total_ref, weighted_ref, picked_ref):
            ref[...] = jnp.zeros_like(ref)

    def there_1L(offset):
        """Which of the lanes' entries at an offset into the block exist."""
        return lax.broadcasted_iota(jnp.int32, (1, LANES), 1) < num_left - offset

    def allowed_1L(offset):
        return there_1L(offset) & (banned[0][:, pl.ds(offset, LANES)] == 0)

    def update(allowed):
        @pl.loop(0, blocks.tokens, step=blocks.rows)
        def _rows(row):
            rows = pl.ds(row, blocks.rows)
            hidden_CD = hidden_ref[rows, :]
            parts = [ref.at[rows] for ref in running]
            for start in range(0, blocks.entries, blocks.slice):
                logits_CU = scale * _product(hidden_CD, head_ref, start, blocks.slice, vocab_first)
                away_C1 = targets_ref[rows, :] - (j * blocks.entries + start)
                _add(parts, logits_CU, away_C1, allowed and (lambda k, at=start: allowed(at + k)))

    if banned:
        update(allowed_1L)
    else:
        update(None if vocab_size % blocks.entries == 0 else there_1L)

    @pl.when(last)
    def _finish():
        sums_ref[...] = _merge_lanes(*(ref[...] for ref in running))


def _product(hidden_CD, head_ref, start, size, vocab_first) -> jax.Array:
    """[C, U] float32 logits of the entries from `start` on in the block."""
    entries = pl.ds(start, size)
    head = head_ref[entries, :] if vocab_first else head_ref[:, entries]
    exact = hidden_CD.dtype == jnp.float32
    return lax.dot_general(
        hidden_CD,
        head.astype(hidden_CD.dtype),
        (((1,), (1 if vocab_first else 0,)), ((), ())),
        precision=lax.Precision.HIGHEST if exact else None,
        preferred_element_type=jnp.float32,
    )


def _add(running, logits_CU, away_C1, allowed) -> None:
    """Adds entries to the lanes' sums; away: how far each target lies from the first of them."""
    peak_ref, total_ref, weighted_ref, picked_ref = running
    C, U = logits_CU.shape
    lane_CL = lax.broadcasted_iota(jnp.int32, (C, LANES), 1)
    away_CL = away_C1 - lane_CL
    parts, picked_CL = [], picked_ref[...]
    for offset in range(0, U, LANES):
        part_CL = logits_CU[:, offset : offset + LANES]
        if allowed:
            part_CL = jnp.where(allowed(offset), part_CL, FAR)
        parts.append(part_CL)
        picked_CL += jnp.where(away_CL == offset, part_CL, 0.0)
    old_CL, total_CL = peak_ref[...], total_ref[...]
    peak_CL = functools.reduce(jnp.maximum, parts, old_CL)
    below_CL = old_CL - peak_CL
    shrink_CL = jnp.exp2(below_CL)
    weighted_CL = shrink_CL * (weighted_ref[...] + below_CL * total_CL)
    total_CL *= shrink_CL
    for part_CL in parts:
        below_CL = part_CL - peak_CL
        exp_CL = jnp.exp2(below_CL)
        total_CL += exp_CL
        weighted_CL += exp_CL * below_CL
    peak_ref[...], total_ref[...] = peak_CL, total_CL
    weighted_ref[...], picked_ref[...] = weighted_CL, picked_CL


def _merge_lanes(peak_CL, total_CL, weighted_CL, picked_CL) -> jax.Array:
    """[C, L] the block's `PartialSums` in the first four lanes, in natural units."""
    peak_C1 = peak_CL.max(axis=1, keepdims=True)
    below_CL = peak_CL - peak_C1
    shrink_CL = jnp.exp2(below_CL)
    weighted_CL = shrink_CL * (weighted_CL + below_CL * total_CL)
    sums = [peak_C1, *(x.sum(axis=1, keepdims=True) for x in (shrink_CL * total_CL,))]
    sums += [x.sum(axis=1, keepdims=True) for x in (weighted_CL, picked_CL)]
    lane_CL = lax.broadcasted_iota(jnp.int32, peak_CL.shape, 1)
    merged_CL = jnp.zeros_like(peak_CL)
    for lane, (x_C1, unit) in enumerate(zip(sums, (LN2, 1.0, LN2, LN2), strict=True)):
        merged_CL = jnp.where(lane_CL == lane, x_C1 * unit, merged_CL)
    return merged_CL


def choose_blocks(call: Call) -> Blocks:
    """The largest blocks that help: beyond them the head is fast enough to be read again."""
    tokens = min(BLOCK_TOKENS, -(-call.num_tokens // 16) * 16)
    entries = min(BLOCK_ENTRIES, -(-call.vocab_size // LANES) * LANES)
    rows = ROWS if tokens % ROWS == 0 else tokens
    return Blocks(tokens, entries, rows, SLICE if entries % SLICE == 0 else LANES)


def _vmem_bytes(call: Call, blocks: Blocks) -> int:
    """Two of each block in flight, the logits of one, the sums."""
    hidden = 2 * blocks.tokens * call.width * call.dtype.itemsize
    head = 2 * blocks.entries * call.width * call.head_dtype.itemsize
    return hidden + head + 4 * blocks.tokens * (blocks.entries + 8 * LANES)


def _cost(call: Call, blocks: Blocks) -> pl.CostEstimate:
    head_bytes = call.vocab_size * call.width * call.head_dtype.itemsize
    return pl.CostEstimate(
        flops=2 * call.num_tokens * call.width * call.vocab_size,
        bytes_accessed=pl.cdiv(call.num_tokens, blocks.tokens) * head_bytes
        + call.num_tokens * (call.width * call.dtype.itemsize + 4 * LANES),
        transcendentals=call.num_tokens * call.vocab_size,
    )
