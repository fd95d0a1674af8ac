"""`linear_logprob` as one Mosaic GPU kernel for Hopper: logits live in registers, a tile at a time.

A block of threads takes one tile of tokens and one part of the vocabulary, whose tiles it goes
through in order. One warpgroup copies slices of the hidden states and of the head into a ring in
shared memory (TMA) and never waits for a tile to end; two others multiply them (WGMMA, a half of
the tokens each) and fold every finished tile of logits into running maxima and sums, a pair of rows
a thread. The parts of the vocabulary are merged by their log-sum-exp. Blocks that run at the same
time share a group of token tiles small enough for the L2 cache, and the same entries of the head.

Logits are kept in units of log 2; scaling them and masking banned entries is one multiply-add.
Backward is XLA's, from the saved log-sum-exp.

Letters: N tokens, D width, V vocabulary, M tokens of a warpgroup, U entries of a tile.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from onevision_kernels.logprob.call import Call
from onevision_kernels.logprob.partial import FAR, PartialSums, log_probs, merge
from onevision_kernels.logprob.reference import LogProbs
from onevision_kernels.logprob.xla import Plan, with_xla_backward
from onevision_kernels.target import Target, not_hopper

LN2 = math.log(2)
ROWS = 64  # M: of one WGMMA
TOKENS = 2 * ROWS  # of a tile
ENTRIES = 256  # U
DEPTH = 64  # of the slices in shared memory: 128 bytes of bfloat16, the widest swizzle
STAGES = 4  # slices of both operands in flight, 48 KB each
STRIP = 32  # entries folded into the sums at once, which bounds the registers
GROUP = 32  # token tiles whose hidden states stay in L2 (29 MB at width 3584)
PARTS = 4  # of the vocabulary, at least
MULTIPROCESSORS = 132


class Work(NamedTuple):
    """How a call is cut: token tiles, vocabulary tiles, and parts of the vocabulary."""

    token_tiles: int
    vocab_tiles: int
    parts: int


def refuses(target: Target, call: Call) -> str | None:
    """Why the kernel cannot run there; None where it can."""
    if reason := not_hopper(target):
        return reason
    if call.dtype not in (jnp.bfloat16, jnp.float16):
        return f"takes bfloat16 and float16 (WGMMA), the hidden states are {call.dtype}"
    if call.num_shards > 1:
        return f"runs on one device, the work is shared by {call.num_shards}"
    if call.width % DEPTH:
        return f"needs a width that is a multiple of {DEPTH}, it is {call.width}"
    if call.vocab_size < ENTRIES:
        return f"needs a vocabulary of {ENTRIES} or more, it has {call.vocab_size}"
    if call.vocab_size % 8 and not call.vocab_first:
        return f"needs a head [D, V] with V a multiple of 8 (TMA), V is {call.vocab_size}"
    return None


def gpu_logprob(
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
    N, V = call.num_tokens, call.vocab_size
    missing = -N % TOKENS
    hidden_ND = jnp.pad(hidden_ND, ((0, missing), (0, 0)))
    targets_N = jnp.pad(targets_N.astype(jnp.int32), (0, missing))
    there = _tiles_with_targets(targets_N, V)
    arrays: list[jax.Array] = [hidden_ND, head.astype(hidden_ND.dtype), targets_N, there]
    if banned_V is not None or V % ENTRIES:
        arrays.append(_bias(V, banned_V))
    work = divide(N + missing, V)
    kernel = _build(call, work, math.log2(math.e) / temperature, len(arrays) == 5)
    sums = kernel(*arrays)  # [parts, N / M, 4, M]
    sums = jnp.moveaxis(sums, 2, 0).reshape(4, work.parts, N + missing)[..., :N]
    peak, total, weighted, picked = sums
    found = merge(PartialSums(peak * LN2, total, weighted * LN2, picked / temperature))
    if banned_V is None:
        return found
    is_banned_N = banned_V[jnp.clip(targets_N[:N], 0, V - 1)] & (targets_N[:N] >= 0)
    return found._replace(picked=jnp.where(is_banned_N, FAR, found.picked))


def divide(num_tokens: int, vocab_size: int) -> Work:
    """As many parts as keep every multiprocessor busy, and each of them several times."""
    token_tiles, vocab_tiles = num_tokens // TOKENS, -(-vocab_size // ENTRIES)
    parts = max(PARTS, -(-MULTIPROCESSORS // token_tiles))
    return Work(token_tiles, vocab_tiles, min(parts, vocab_tiles))


def _tiles_with_targets(targets_N: jax.Array, vocab_size: int) -> jax.Array:
    """[N / M, tiles] int32: which tiles hold the target of any of a warpgroup's tokens."""
    num_tiles = -(-vocab_size // ENTRIES)
    tile_GM1 = jnp.where(targets_N < 0, -1, targets_N // ENTRIES).reshape(-1, ROWS, 1)
    return (tile_GM1 == jnp.arange(num_tiles)[None, None]).any(axis=1).astype(jnp.int32)


def _bias(vocab_size: int, banned_V: jax.Array | None) -> jax.Array:
    """[tiles x U] float32 added to each tile's logits: FAR for entries that do not count.

    The last tile begins where it still fits, over entries that its neighbour has counted.
    """
    num_tiles = -(-vocab_size // ENTRIES)
    begin_J1 = jnp.arange(num_tiles, dtype=jnp.int32)[:, None] * ENTRIES
    offset_1U = jnp.arange(ENTRIES, dtype=jnp.int32)[None]
    ids_JU = jnp.minimum(begin_J1, vocab_size - ENTRIES) + offset_1U
    skip_JU = ids_JU < begin_J1
    if banned_V is not None:
        skip_JU |= banned_V[ids_JU]
    return jnp.where(skip_JU, FAR, 0.0).astype(jnp.float32).reshape(-1)


def _build(call: Call, work: Work, scale: float, biased: bool) -> Any:
    """The kernel (hidden [N, D], head, targets [N], there [N / M, tiles], bias [tiles x U] where
    `biased`) -> sums [parts, N / M, 4, M]; the target's logit is not scaled yet."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import mosaic_gpu

    plgpu: Any = mosaic_gpu  # The older jax that type checkers see has other signatures.
    V, vocab_first = call.vocab_size, call.vocab_first
    num_steps = call.width // DEPTH
    layout = plgpu.Layout.WGMMA
    by_row, by_entry = layout.reduce(1), layout.reduce(0)
    tiles = (plgpu.TilingTransform((8, DEPTH)), plgpu.SwizzleTransform(128))
    head_slice = (ENTRIES, DEPTH) if vocab_first else (DEPTH, ENTRIES)

    def first_entry(tile):
        return jnp.minimum(tile * ENTRIES, V - ENTRIES)

    def produce(hidden_ref, head_ref, scratch, token_tile, first, count):
        hidden_s, head_s, full, empty = scratch
        num_slices = count * num_steps

        def slot_of(step):
            return lax.rem(step, jnp.int32(STAGES))

        @pl.loop(0, num_slices)
        def _copy(step):
            slot = slot_of(step)
            depth = pl.ds(lax.rem(step, jnp.int32(num_steps)) * DEPTH, DEPTH)
            entries = pl.ds(first_entry(first + lax.div(step, jnp.int32(num_steps))), ENTRIES)
            where = (entries, depth) if vocab_first else (depth, entries)
            tokens = pl.ds(token_tile * TOKENS, TOKENS)
            pl.when(step >= STAGES)(lambda: plgpu.barrier_wait(empty.at[slot]))
            plgpu.copy_gmem_to_smem(hidden_ref.at[tokens, depth], hidden_s.at[slot], full.at[slot])
            plgpu.copy_gmem_to_smem(head_ref.at[where], head_s.at[slot], full.at[slot])

        @pl.loop(jnp.maximum(num_slices - STAGES, 0), num_slices)
        def _last_are_read(step):
            plgpu.barrier_wait(empty.at[slot_of(step)])

    def product(scratch, rows, turn):
        """[M, U] logits of tile number `turn` of this block, over log 2 and unscaled."""
        hidden_s, head_s, full, empty = scratch

        def accumulate(acc):
            @pl.loop(0, num_steps)
            def _step(k):
                step = turn * num_steps + k
                slot = lax.rem(step, jnp.int32(STAGES))
                plgpu.barrier_wait(full.at[slot])
                head = head_s.at[slot]
                head = head.transpose((1, 0)) if vocab_first else head
                plgpu.wgmma(acc, hidden_s.at[slot, rows], head)
                plgpu.wgmma_wait(1)  # The product before this one is done: its slices are free.
                before = lax.rem(step + STAGES - 1, jnp.int32(STAGES))
                pl.when(k > 0)(lambda: plgpu.barrier_arrive(empty.at[before]))

            plgpu.wgmma_wait(0)
            last = lax.rem(turn * num_steps + num_steps - 1, jnp.int32(STAGES))
            plgpu.barrier_arrive(empty.at[last])
            return acc[...]

        return pl.run_scoped(accumulate, plgpu.ACC((ROWS, ENTRIES), jnp.float32))

    def strips(logits_MU, bias_ref, tile):
        """The scaled, masked logits, STRIP entries at a time."""
        for start in range(0, ENTRIES, STRIP):
            strip = logits_MU[:, start : start + STRIP] * scale
            if bias_ref is not None:
                here = bias_ref.at[pl.ds(tile * ENTRIES + start, STRIP)]
                bias = plgpu.load(here, layout=by_entry, optimized=False)
                strip = strip + lax.broadcast_in_dim(bias, strip.shape, [1])
            yield start, strip

    def fold(sums, logits_MU, away_M, there, bias_ref, tile):
        """The sums with a tile added; away: how far the target lies from the tile's first entry."""
        peak_M, total_M, weighted_M, old_M = sums
        picked_M = lax.cond(there, lambda: old_M + pick(logits_MU, away_M), lambda: old_M)
        parts = list(strips(logits_MU, bias_ref, tile))
        highest = parts[0][1]
        for _, strip in parts[1:]:
            highest = jnp.maximum(highest, strip)
        new_M = jnp.maximum(peak_M, highest.max(axis=1))
        rows = lambda x_M: lax.broadcast_in_dim(x_M, (ROWS, STRIP), [0])  # noqa: E731
        zero = plgpu.layout_cast(jnp.zeros((ROWS, STRIP), jnp.float32), layout)
        total = weighted = zero
        for _, strip in parts:
            below = strip - rows(new_M)
            exp = jnp.exp2(below)
            total += exp
            weighted += exp * below
        below_M = peak_M - new_M
        shrink_M = jnp.exp2(below_M)
        weighted_M = shrink_M * (weighted_M + below_M * total_M) + weighted.sum(axis=1)
        total_M = shrink_M * total_M + total.sum(axis=1)
        return new_M, total_M, weighted_M, picked_M

    def pick(logits_MU, away_M):
        """Each row's logit at its target, unscaled; 0 where the tile has none."""
        ids = plgpu.broadcasted_iota(jnp.int32, (ROWS, STRIP), 1, layout=layout)
        picked = plgpu.layout_cast(jnp.zeros((ROWS, STRIP), jnp.float32), layout)
        for start in range(0, ENTRIES, STRIP):
            away = lax.broadcast_in_dim(away_M - start, (ROWS, STRIP), [0])
            picked += jnp.where(ids == away, logits_MU[:, start : start + STRIP], 0.0)
        return picked.sum(axis=1)

    def consume(
        targets_ref, there_ref, bias_ref, sums_ref, sums_s, scratch, wg, token_tile, part, span
    ):
        first, count = span
        rows = pl.ds(wg * ROWS, ROWS)
        here = targets_ref.at[pl.ds(token_tile * TOKENS + wg * ROWS, ROWS)]
        targets_M = plgpu.load(here, layout=by_row, optimized=False)
        full = lambda x: plgpu.layout_cast(jnp.full((ROWS,), x, jnp.float32), by_row)  # noqa: E731

        def turn(i, sums):
            tile = first + i
            # A target in entries that a tile reaches back over belongs to the tile before.
            begin = first_entry(tile)
            there = there_ref[token_tile * 2 + wg, tile] != 0
            away_M = targets_M - begin
            away_M = jnp.where(targets_M < tile * ENTRIES, -1, away_M)
            return fold(sums, product(scratch, rows, i), away_M, there, bias_ref, tile)

        start = (full(FAR), full(0.0), full(0.0), full(0.0))
        sums = lax.fori_loop(0, count, turn, start)
        for number, sum_M in enumerate(sums):
            sums_s.at[wg, number][...] = sum_M
        plgpu.commit_smem()
        plgpu.copy_smem_to_gmem(sums_s.at[wg], sums_ref.at[part, token_tile * 2 + wg])
        plgpu.wait_smem_to_gmem(0)

    def kernel(
        hidden_ref, head_ref, targets_ref, there_ref, *refs, hidden_s, head_s, sums_s, full, empty
    ):
        bias_ref, sums_ref = refs if biased else (None, *refs)
        wg = lax.axis_index("wg")
        token_tile, part = _place(lax.axis_index("block"), work)
        first = lax.div(part * work.vocab_tiles, jnp.int32(work.parts))
        count = lax.div((part + 1) * work.vocab_tiles, jnp.int32(work.parts)) - first
        scratch = (hidden_s, head_s, full, empty)

        @pl.when(wg == 2)
        def _copies():
            plgpu.set_max_registers(40, action="decrease")
            produce(hidden_ref, head_ref, scratch, token_tile, first, count)

        @pl.when(wg < 2)
        def _computes():
            plgpu.set_max_registers(232, action="increase")
            consume(
                targets_ref,
                there_ref,
                bias_ref,
                sums_ref,
                sums_s,
                scratch,
                wg,
                token_tile,
                part,
                (first, count),
            )

    return plgpu.kernel(
        kernel,
        out_type=jax.ShapeDtypeStruct((work.parts, work.token_tiles * 2, 4, ROWS), jnp.float32),
        grid=(work.token_tiles * work.parts,),
        grid_names=("block",),
        num_threads=3,
        thread_name="wg",
        scratch_types={
            "hidden_s": plgpu.SMEM((STAGES, TOKENS, DEPTH), call.dtype, transforms=tiles),
            "head_s": plgpu.SMEM((STAGES, *head_slice), call.dtype, transforms=tiles),
            "sums_s": plgpu.SMEM((2, 4, ROWS), jnp.float32),
            "full": plgpu.Barrier(num_arrivals=2, num_barriers=STAGES),
            "empty": plgpu.Barrier(num_arrivals=2, num_barriers=STAGES),
        },
        compiler_params=plgpu.CompilerParams(approx_math=True),
        kernel_name="linear_logprob",
    )


def _place(block: jax.Array, work: Work) -> tuple[jax.Array, jax.Array]:
    """(token tile, part of the vocabulary) of a block: group by group, part by part within."""
    whole = GROUP * work.parts
    group = lax.div(block, jnp.int32(whole))
    within = lax.rem(block, jnp.int32(whole))
    size = jnp.minimum(GROUP, work.token_tiles - group * GROUP)
    return group * GROUP + lax.rem(within, size), lax.div(within, size)
