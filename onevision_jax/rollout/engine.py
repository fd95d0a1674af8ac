"""Batches of prompts to completions. Token ids in, token ids out: it knows no text.

Prompt length, patches and room for new tokens are rounded up to a few sizes, so a long run compiles
a handful of programs, whatever the images.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from onevision_jax.errors import InputError
from onevision_jax.model import QwenVL
from onevision_jax.parallel import ShardingRules, on_mesh, place
from onevision_jax.processor import Example, collate
from onevision_jax.rollout.generate import DecodeState, Decoding, begin, extend
from onevision_jax.rollout.sampling import Sampling
from onevision_jax.types import Batch

STREAM_STEPS = 4  # Tokens decoded between two looks at a stream.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Completion:
    """One generated answer."""

    token_ids: list[int]  # what was generated, the stop token included
    logprobs: list[float]  # of each token, see `sampling.sample`
    finish_reason: str  # "stop" (a stop token) or "length"


def ladder(count: int, base: int = 64) -> int:
    """The smallest of 0, base * 2^n, base * 1.5 * 2^n that holds `count`."""
    if count == 0:
        return 0
    size = base
    while size < count:
        size *= 2
    lower = size * 3 // 4
    return lower if base < lower and count <= lower else size


class Generator:
    """A model ready to answer, on one device or a mesh."""

    def __init__(
        self,
        model: QwenVL,
        *,
        stop_ids: Sequence[int],
        banned_ids: Sequence[int] = (),
        pad_id: int = 0,
        rules: ShardingRules | None = None,
    ):
        """stop_ids end a row. banned_ids are never drawn, nor are the model's vision tokens."""
        self._graphdef, self._params = nnx.split(model)
        self._rules = rules
        banned = {*banned_ids, *model.config.vision_token_ids} - set(stop_ids)
        self._vocab_size = model.config.text.vocab_size
        self._banned_ids = tuple(sorted(i for i in banned if i < self._vocab_size))
        self._stop_ids = tuple(stop_ids)
        self._pad_id = pad_id
        wrap = functools.partial(on_mesh, rules) if rules else lambda function: function
        self._begin = jax.jit(wrap(_begin), static_argnames=("graphdef", "decoding", "room"))
        self._extend = jax.jit(
            wrap(_extend), static_argnames=("graphdef", "decoding"), donate_argnames="state"
        )

    def generate(
        self,
        examples: Sequence[Example],
        *,
        sampling: Sampling,
        max_new_tokens: int,
        seeds: Sequence[int] | None = None,
        num_samples: int = 1,
    ) -> list[Completion]:
        """`num_samples` completions an example, all in one batch, those of one example together.

        A prompt and its images go through the model once, however many samples it has. seeds: one a
        completion (default 0, 1, ...); what is drawn depends on its seed alone, not on its
        neighbours or its place.
        """
        state, decoding = self._start(examples, sampling, max_new_tokens, seeds, num_samples)
        state = self._more(state, decoding, max_new_tokens)
        return self._completions(state, len(examples) * num_samples)

    def use(self, model: QwenVL) -> None:
        """Answers with the parameters of this model from now on; nothing is copied or compiled."""
        graphdef, params = nnx.split(model)
        if graphdef != self._graphdef:
            raise InputError("the model has another shape or options than the one it replaces")
        self._params = params

    def stream(
        self, example: Example, *, sampling: Sampling, max_new_tokens: int, seed: int = 0
    ) -> Iterator[int | Completion]:
        """The token ids of one answer as they are decoded, and the Completion at the end."""
        state, decoding = self._start([example], sampling, max_new_tokens, [seed])
        shown = 0
        while True:
            length = int(state.lengths[0])
            yield from np.asarray(state.tokens)[0, shown:length].tolist()
            shown = length
            if bool(state.done[0]) or length >= max_new_tokens:
                break
            state = self._more(state, decoding, min(length + STREAM_STEPS, max_new_tokens))
        yield self._completions(state, 1)[0]

    def _start(
        self,
        examples: Sequence[Example],
        sampling: Sampling,
        max_new_tokens: int,
        seeds: Sequence[int] | None,
        num_samples: int = 1,
    ) -> tuple[DecodeState, Decoding]:
        if not examples:
            raise InputError("there are no prompts to answer; give at least one")
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {max_new_tokens}, expected 1 or more")
        largest = max(int(example.tokens.max()) for example in examples)
        if largest >= self._vocab_size:
            raise InputError(
                f"a prompt holds token id {largest}, but the model has {self._vocab_size} rows of "
                "embeddings; use the tokenizer that belongs to the checkpoint"
            )
        if num_samples < 1:
            raise InputError(f"num_samples is {num_samples}, expected 1 or more")
        count = len(examples) * num_samples
        seeds = list(range(count)) if seeds is None else list(seeds)
        if len(seeds) != count:
            raise InputError(f"{count} completions need as many seeds, got {len(seeds)}")
        # Rows must divide over the mesh: the last one is repeated, and its copies are dropped.
        rows = self._rows(len(examples))
        filled = [*examples, *[examples[-1]] * (rows - len(examples))]
        seeds = [*seeds, *[seeds[-1]] * (rows * num_samples - count)]
        arrays = collate(
            filled,
            pad_to_tokens=ladder(max(len(example.tokens) for example in filled)),
            pad_to_patches=ladder(max(len(example.patches) for example in filled)),
            side="left",
            pad_id=self._pad_id,
        )
        batch = Batch(**{name: jnp.asarray(value) for name, value in arrays.items()})
        if self._rules:
            batch = place(batch, self._rules.batch(batch))
        next_position_B = jnp.asarray([example.next_position for example in filled], jnp.int32)
        keys_B = jnp.stack([jax.random.key(seed) for seed in seeds])
        decoding = Decoding(
            sampling=sampling,
            stop_ids=self._stop_ids,
            banned_ids=self._banned_ids,
            pad_id=self._pad_id,
        )
        state = self._begin(
            self._params,
            batch,
            next_position_B,
            keys_B,
            graphdef=self._graphdef,
            decoding=decoding,
            room=ladder(max_new_tokens, 16),
        )
        return state, decoding

    def _rows(self, count: int) -> int:
        if self._rules is None:
            return count
        step = self._rules.rows_multiple()
        return -(-count // step) * step

    def _more(self, state: DecodeState, decoding: Decoding, until_step: int) -> DecodeState:
        return self._extend(
            self._params, state, jnp.int32(until_step), graphdef=self._graphdef, decoding=decoding
        )

    def _completions(self, state: DecodeState, count: int) -> list[Completion]:
        tokens_BR, logprobs_BR = np.asarray(state.tokens), np.asarray(state.logprobs)
        lengths, done = np.asarray(state.lengths), np.asarray(state.done)
        return [
            Completion(
                token_ids=tokens_BR[row, : lengths[row]].tolist(),
                logprobs=logprobs_BR[row, : lengths[row]].tolist(),
                finish_reason="stop" if done[row] else "length",
            )
            for row in range(count)
        ]


def _begin(params, batch, next_position_B, keys_B, *, graphdef, decoding, room) -> DecodeState:
    return begin(nnx.merge(graphdef, params), batch, next_position_B, keys_B, decoding, room)


def _extend(params, state, until_step, *, graphdef, decoding) -> DecodeState:
    return extend(nnx.merge(graphdef, params), state, decoding, until_step)
