"""`linear_logprob` in plain XLA, for every backend; logits of all tokens never exist.

Forward: a loop over pieces of the token axis, each against the whole vocabulary, keeps three
numbers a token. Backward: from the saved log-sum-exp, a loop over blocks of the vocabulary, each
against all tokens, so that a block of the head's gradient is one product summed in float32 over
every token, written once in the head's dtype. A piece or block holds at most LOGITS_BYTES of
float32 logits on one device.

A vocabulary split over S devices is seen as [S, V / S]; blocks are cut from the second axis, so a
device meets only its own part.

Letters: B batch, T tokens, C tokens of a piece, D width, V vocabulary, S shards, U block of V / S.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from onevision_kernels.logprob.reference import LogProbs, dense_logits, summarise

LOGITS_BYTES = 160 * 2**20
LANES = 128  # pieces and blocks are multiples of this where they are larger


class Plan(NamedTuple):
    """Everything that is known before the arrays are."""

    vocab_first: bool
    temperature: float
    vocab_shards: int
    num_shards: int


def xla_logprob(
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
    """Same contract as `reference_logprob`; memory linear in T and in V, never in T x V."""
    plan = Plan(vocab_first, temperature, vocab_shards, num_shards)
    return LogProbs(*_logprob(plan, hidden_BTD, head, targets_BT, banned_V))


def _results(plan: Plan, hidden_BTD, head, targets_BT, banned_V) -> tuple[jax.Array, ...]:
    B, T = targets_BT.shape
    V = head.shape[0] if plan.vocab_first else head.shape[1]
    num_tokens = _fit(T, LOGITS_BYTES * plan.num_shards // (4 * V * B))

    def piece(_, inputs):
        hidden_BCD, targets_BC = inputs
        logits = dense_logits(hidden_BCD, head, banned_V, plan.vocab_first, plan.temperature)
        return None, tuple(summarise(logits, targets_BC))

    if num_tokens == T:
        return piece(None, (hidden_BTD, targets_BT))[1]
    pieces = (_split(hidden_BTD, num_tokens), _split(targets_BT, num_tokens))
    _, results = lax.scan(piece, None, pieces)
    return tuple(jnp.moveaxis(x, 0, 1).reshape(B, -1)[:, :T] for x in results)


def with_xla_backward(results: Callable[..., tuple[jax.Array, ...]]) -> Any:
    """`results` (log-prob, log-sum-exp and entropy of the arguments of `_results`) made
    differentiable in the hidden states and the head by `_backward`, however it computes them."""

    def forward(plan: Plan, hidden_BTD, head, targets_BT, banned_V):
        found = results(plan, hidden_BTD, head, targets_BT, banned_V)
        return found, (hidden_BTD, head, targets_BT, banned_V, found[1], found[2])

    function = jax.custom_vjp(results, nondiff_argnums=(0,))
    function.defvjp(forward, _backward)
    return function


def _backward(plan: Plan, saved, cotangents):
    hidden_BTD, head, targets_BT, banned_V, lse_BT, entropy_BT = saved
    S = plan.vocab_shards
    B, T, D = hidden_BTD.shape
    vocab_axis = 1 if plan.vocab_first else 2
    parts = head.reshape((S, -1, D) if plan.vocab_first else (D, S, -1))
    per_shard = parts.shape[vocab_axis]
    banned_SU = jnp.zeros((S, per_shard), bool)
    if banned_V is not None:
        banned_SU = banned_V.reshape(S, per_shard)
    U = _fit(per_shard, LOGITS_BYTES * plan.num_shards // (4 * B * T * S))

    # A token nobody asks about adds nothing, even where its hidden state is NaN (padding).
    asked_BT = functools.reduce(jnp.logical_or, (g != 0 for g in cotangents))
    hidden_BTD = jnp.where(asked_BT[:, :, None], hidden_BTD, 0)
    per_token = [
        jnp.where(asked_BT, x, 0)[:, :, None, None] for x in (lse_BT, entropy_BT, *cotangents)
    ]

    def block(carry, j):
        d_hidden, d_parts = carry
        start = jnp.minimum(j * U, per_shard - U)  # The last block may reach back over its
        fresh_U = start + jnp.arange(U) >= j * U  # neighbour, whose entries are done.
        weights = lax.dynamic_slice_in_dim(parts, start, U, vocab_axis).astype(hidden_BTD.dtype)
        ids_SU = jnp.arange(S)[:, None] * per_shard + start + jnp.arange(U)[None]
        is_target_BTSU = targets_BT[:, :, None, None] == ids_SU[None, None]
        skip_SU = lax.dynamic_slice_in_dim(banned_SU, start, U, 1) | ~fresh_U[None]
        d_logits = _d_logits(plan, hidden_BTD, weights, is_target_BTSU, skip_SU, per_token)
        d_weights, d_hidden_more = _products(plan, d_logits, hidden_BTD, weights)
        old = lax.dynamic_slice_in_dim(d_parts, start, U, vocab_axis)
        fresh = fresh_U[None, :, None] if plan.vocab_first else fresh_U[None, None]
        new = jnp.where(fresh, d_weights.astype(head.dtype), old)
        d_parts = lax.dynamic_update_slice_in_dim(d_parts, new, start, vocab_axis)
        return (d_hidden + d_hidden_more, d_parts), None

    wide = jnp.promote_types(hidden_BTD.dtype, jnp.float32)
    carry = (jnp.zeros(hidden_BTD.shape, wide), jnp.zeros_like(parts))
    num_blocks = -(-per_shard // U)
    if num_blocks == 1:
        carry, _ = block(carry, 0)
    else:
        carry, _ = lax.scan(block, carry, jnp.arange(num_blocks))
    d_hidden, d_parts = carry
    return d_hidden.astype(saved[0].dtype), d_parts.reshape(head.shape), None, None


_logprob = with_xla_backward(_results)


def _d_logits(plan: Plan, hidden_BTD, weights, is_target_BTSU, skip_SU, per_token) -> jax.Array:
    """[B, T, S, U] in the dtype of the hidden states: the gradient before the temperature.

    With p the probability, l its logarithm and H the entropy, the gradients are
    [target] - p of the log-prob, p of the log-sum-exp and -p (l + H) of the entropy.
    """
    lse, entropy, d_logprob, d_lse, d_entropy = per_token
    wide = jnp.promote_types(hidden_BTD.dtype, jnp.float32)
    logits_BTSU = jnp.einsum(
        "BTD,SUD->BTSU" if plan.vocab_first else "BTD,DSU->BTSU",
        hidden_BTD,
        weights,
        preferred_element_type=wide,
    )
    log_probs = logits_BTSU / plan.temperature - lse
    skip = skip_SU[None, None]
    probs = jnp.where(skip, 0.0, jnp.exp(jnp.where(skip, 0.0, log_probs)))
    gradient = (
        d_logprob * (jnp.where(is_target_BTSU & ~skip, 1.0, 0.0) - probs)
        + d_lse * probs
        - d_entropy * probs * (jnp.where(skip, 0.0, log_probs) + entropy)
    )
    return (gradient / plan.temperature).astype(hidden_BTD.dtype)


def _products(plan: Plan, d_logits_BTSU, hidden_BTD, weights) -> tuple[Any, Any]:
    """The block's gradient and the hidden states' share of it, both summed in float32 or wider."""
    wide = jnp.promote_types(hidden_BTD.dtype, jnp.float32)
    letters = "SUD" if plan.vocab_first else "DSU"
    einsum = functools.partial(jnp.einsum, preferred_element_type=wide)
    d_weights = einsum(f"BTSU,BTD->{letters}", d_logits_BTSU, hidden_BTD)
    return d_weights, einsum(f"BTSU,{letters}->BTD", d_logits_BTSU, weights)


def _fit(size: int, most: int) -> int:
    """The largest piece of at most `most` (at least 1), a multiple of LANES where it is larger."""
    if size <= most:
        return size
    return max(1, most // LANES * LANES if most >= LANES else most)


def _split(x_BT: jax.Array, length: int) -> jax.Array:
    """[B, T, ...] -> [T / length, B, length, ...], T padded with zeros."""
    B, T = x_BT.shape[:2]
    padding = [(0, 0)] * x_BT.ndim
    padding[1] = (0, -T % length)
    pieces = jnp.pad(x_BT, padding).reshape(B, -1, length, *x_BT.shape[2:])
    return jnp.moveaxis(pieces, 1, 0)
