"""Prefill and the decoding loop: pure functions over a documented state.

Prompts are padded on the left, so all end in the same slot. Their keys and values are kept once,
however many answers continue them; every answer writes the same slot of its own at every step, and
the cache is updated in place.

Letters: B rows, T prompt tokens, R room for new tokens, V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from onevision_jax.model import QwenVL
from onevision_jax.rollout.sampling import Sampling, sample
from onevision_jax.types import Batch, KVCache


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeState:
    """A generation in progress. `begin` makes it, `extend` moves it on."""

    cache: KVCache  # T slots a prompt, R an answer; holds everything but the newest token
    tokens: jax.Array  # [B, R] int32: what was generated; pad_id beyond `lengths`
    logprobs: jax.Array  # [B, R] float32: log-probability of each generated token
    lengths: jax.Array  # [B] int32: tokens generated, the stop token included
    done: jax.Array  # [B] bool: the row has drawn a stop token
    step: jax.Array  # [] int32: tokens every running row has generated
    next_position: jax.Array  # [B] int32: M-RoPE position (all axes) of the newest token
    keys: jax.Array  # [B] PRNG keys; the draw of step n uses fold_in(key, n)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
    """What stays fixed while decoding (hashable: a static argument)."""

    sampling: Sampling
    stop_ids: tuple[int, ...]  # generation of a row ends with any of these
    banned_ids: tuple[int, ...]  # never drawn: the tokens that stand for vision input
    pad_id: int  # written to rows that are done

    def banned(self, vocab_size: int) -> jax.Array:
        """[V] bool."""
        mask = jnp.zeros((vocab_size,), bool)
        return (
            mask.at[jnp.asarray(self.banned_ids, jnp.int32)].set(True) if self.banned_ids else mask
        )


def begin(
    model: QwenVL,
    batch: Batch,
    next_position: jax.Array,
    keys_B: jax.Array,
    decoding: Decoding,
    max_new_tokens: int,
) -> DecodeState:
    """Runs the prompts and draws the first token of every row.

    batch: left-padded prompts. next_position: the first position after each prompt.
    keys [B]: B is a multiple of the prompts; row b continues prompt b // (B / prompts), whose
    keys and values are computed once. max_new_tokens: R, the room to reserve.
    """
    num_prompts, T = batch.tokens.shape
    B = keys_B.shape[0]
    start = jnp.sum(batch.segment_ids == 0, axis=1).astype(jnp.int32)
    output = model(batch, model.empty_cache(start, T))
    last_B1D = jnp.repeat(output.hidden[:, -1:], B // num_prompts, axis=0)
    next_position_B = jnp.repeat(next_position, B // num_prompts)
    tokens_B, logprobs_B = _draw(model, last_B1D, keys_B, jnp.int32(0), decoding)
    room = jnp.full((B, max_new_tokens), decoding.pad_id, jnp.int32)
    assert output.cache is not None
    return DecodeState(
        cache=model.with_answers(output.cache, B // num_prompts, max_new_tokens),
        tokens=room.at[:, 0].set(tokens_B),
        logprobs=jnp.zeros((B, max_new_tokens), jnp.float32).at[:, 0].set(logprobs_B),
        lengths=jnp.ones((B,), jnp.int32),
        done=_is_stop(tokens_B, decoding),
        step=jnp.int32(1),
        next_position=next_position_B.astype(jnp.int32),
        keys=keys_B,
    )


def extend(
    model: QwenVL, state: DecodeState, decoding: Decoding, until_step: jax.Array
) -> DecodeState:
    """Decodes until every row is done or has `until_step` tokens (at most R)."""
    limit = jnp.minimum(until_step, state.tokens.shape[1])

    def unfinished(state: DecodeState) -> jax.Array:
        return (state.step < limit) & ~state.done.all()

    graphdef, params = nnx.split(model)

    def one_step(state: DecodeState) -> DecodeState:
        return _step(nnx.merge(graphdef, params), state, decoding)

    return jax.lax.while_loop(unfinished, one_step, state)


def _step(model: QwenVL, state: DecodeState, decoding: Decoding) -> DecodeState:
    newest_B1 = jax.lax.dynamic_slice_in_dim(state.tokens, state.step - 1, 1, axis=1)
    output = model(_one_token(newest_B1, state.next_position), state.cache)
    drawn_B, logprobs_B = _draw(model, output.hidden, state.keys, state.step, decoding)
    drawn_B = jnp.where(state.done, decoding.pad_id, drawn_B)
    logprobs_B = jnp.where(state.done, 0.0, logprobs_B)
    where = (jnp.int32(0), state.step)
    cache = output.cache
    assert cache is not None
    assert cache.answers is not None
    return dataclasses.replace(
        state,
        cache=dataclasses.replace(cache, answers=cache.answers.end(state.done)),
        tokens=jax.lax.dynamic_update_slice(state.tokens, drawn_B[:, None], where),
        logprobs=jax.lax.dynamic_update_slice(state.logprobs, logprobs_B[:, None], where),
        lengths=state.lengths + ~state.done,
        done=state.done | _is_stop(drawn_B, decoding),
        step=state.step + 1,
        next_position=state.next_position + 1,
    )


def _one_token(tokens_B1: jax.Array, position_B: jax.Array) -> Batch:
    """One text token a row."""
    B = tokens_B1.shape[0]
    return Batch(
        tokens=tokens_B1,
        positions=jnp.broadcast_to(position_B[None, :, None], (3, B, 1)),
        segment_ids=jnp.ones((B, 1), jnp.int32),
        vision_index=jnp.full((B, 1), -1, jnp.int32),
        patches=jnp.zeros((B, 0, 0), jnp.uint8),
        patch_positions=jnp.zeros((B, 0, 2), jnp.int32),
        image_ids=jnp.zeros((B, 0), jnp.int32),
        window_ids=jnp.zeros((B, 0), jnp.int32),
    )


def _draw(model: QwenVL, hidden_B1D, keys_B, step, decoding: Decoding):
    logits_BV = model.logits(hidden_B1D)[:, 0].astype(jnp.float32)
    step_keys_B = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys_B, step)
    return sample(logits_BV, step_keys_B, decoding.sampling, decoding.banned(logits_BV.shape[1]))


def _is_stop(tokens_B: jax.Array, decoding: Decoding) -> jax.Array:
    stops = jnp.asarray(decoding.stop_ids, jnp.int32).reshape(1, -1)
    return (tokens_B[:, None] == stops).any(axis=1)
