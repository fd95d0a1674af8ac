"""Qwen2.5-VL: tokens and patches in, hidden states out; logits only where they are asked for.

Letters: B rows, T tokens, M merged vision rows, D width, V vocabulary, L layers, S slots.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from onevision_jax.axes import constrain
from onevision_jax.model.config import QwenVLConfig
from onevision_jax.model.layers import ModelOptions, param
from onevision_jax.model.text import Decoder
from onevision_jax.model.vision import VisionTower
from onevision_jax.types import AnswerCache, Batch, KVCache, ModelOutput


class QwenVL(nnx.Module):
    """The whole model. Build it abstractly with `abstract`, or with fresh parameters."""

    def __init__(self, config: QwenVLConfig, *, options: ModelOptions, rngs: nnx.Rngs):
        self.config = config
        self.options = options
        V, D = config.text.vocab_size, config.text.hidden_size
        self.vision = VisionTower(config.vision, options=options, rngs=rngs)
        self.embed = self._table((V, D), ("vocab", "embed"), rngs)
        self.decoder = Decoder(config.text, options=options, rngs=rngs)
        tied = config.text.tie_word_embeddings
        self.head = None if tied else self._table((D, V), ("embed", "vocab"), rngs)

    def _table(self, shape: tuple[int, int], axes: tuple[str, str], rngs: nnx.Rngs) -> nnx.Param:
        dtype, scale = self.options.param_dtype, self.options.init_scale
        return param(
            shape,
            axes,
            stack=(),
            init=lambda: jax.random.normal(rngs.params(), shape, dtype) * scale,
        )

    def embed_inputs(self, batch: Batch) -> jax.Array:
        """[B, T, D]: token embeddings, with the image's vectors where vision_index >= 0.

        The processor has checked that placeholders and vision rows agree one to one.
        """
        dtype = self.options.dtype
        x_BTD = jnp.take(self.embed[...], batch.tokens, axis=0).astype(dtype)
        if batch.patches.shape[1] == 0:
            return constrain(x_BTD, "batch", "length", "act_embed")
        vision_BMD = self.vision(batch)
        row_BT1 = jnp.maximum(batch.vision_index, 0)[:, :, None]
        picked_BTD = jnp.take_along_axis(vision_BMD, row_BT1, axis=1)
        x_BTD = jnp.where(batch.vision_index[:, :, None] >= 0, picked_BTD, x_BTD)
        return constrain(x_BTD, "batch", "length", "act_embed")

    def __call__(self, batch: Batch, cache: KVCache | None = None) -> ModelOutput:
        """Hidden states [B, T, D] after the final norm.

        Without a cache: packed rows, causal inside each segment. With one: the tokens are appended
        to it (left-padded rows, one segment each) and see what it holds; where it has answers, the
        rows are those of the answers, and see their prompt and themselves.
        """
        x_BTD = self.embed_inputs(batch)
        if cache is None:
            hidden = self.decoder(x_BTD, batch.positions, batch.segment_ids)
            return ModelOutput(hidden=hidden, cache=None)
        hidden, cache = self.decoder.with_cache(x_BTD, batch.positions, cache)
        return ModelOutput(hidden=hidden, cache=cache)

    def logits(self, hidden_BTD: jax.Array) -> jax.Array:
        """[B, T, V] accumulated in float32 or wider. For a few positions; never for training."""
        wide = jnp.promote_types(hidden_BTD.dtype, jnp.float32)
        table = self.embed if self.head is None else self.head
        equation = "BTD,VD->BTV" if self.head is None else "BTD,DV->BTV"
        weights = table[...].astype(hidden_BTD.dtype)
        logits_BTV = jnp.einsum(equation, hidden_BTD, weights, preferred_element_type=wide)
        return constrain(logits_BTV, "batch", "length", "act_vocab")

    def empty_cache(self, start_B: jax.Array, num_slots: int) -> KVCache:
        """A cache of `num_slots` slots whose rows begin after `start_B` [B] slots of padding."""
        zeros = self._slots(start_B.shape[0], num_slots)
        return KVCache(k=zeros, v=zeros, start=start_B, length=jnp.zeros((), jnp.int32))

    def with_answers(self, cache: KVCache, count: int, num_slots: int) -> KVCache:
        """`count` answers to each prompt of the cache, with room for `num_slots` tokens each.

        The prompts' keys and values stay where they are, once for all their answers.
        """
        rows = cache.start.shape[0] * count
        zeros, step = self._slots(rows, num_slots), jnp.zeros((), jnp.int32)
        lengths = jnp.zeros((rows,), jnp.int32)
        answers = AnswerCache(k=zeros, v=zeros, step=step, lengths=lengths)
        return dataclasses.replace(cache, answers=answers)

    def _slots(self, rows: int, num_slots: int) -> jax.Array:
        text = self.config.text
        shape = (text.num_layers, rows, text.num_kv_heads, num_slots, text.head_dim)
        zeros = jnp.zeros(shape, self.options.dtype)
        return constrain(zeros, "layers", "batch", "act_kv_heads", None, None)

    def with_options(self, **changes: Any) -> "QwenVL":
        """The same parameters under changed ModelOptions (remat="full", dtype=..., ...)."""
        options = dataclasses.replace(self.options, **changes)
        return nnx.merge(nnx.graphdef(abstract(self.config, options)), nnx.state(self))


def abstract(config: QwenVLConfig, options: ModelOptions | None = None) -> QwenVL:
    """The model with shapes in place of parameters; nothing is allocated."""
    options = options or ModelOptions()
    return nnx.eval_shape(lambda: QwenVL(config, options=options, rngs=nnx.Rngs(0)))


def initialise(
    config: QwenVLConfig,
    options: ModelOptions,
    seed: int = 0,
    *,
    shardings_for: Callable[[nnx.State], nnx.State] | None = None,
) -> QwenVL:
    """A model with fresh random parameters, made where they will live.

    shardings_for: from the abstract parameters to the same tree of shardings, such as
    `ShardingRules.params`; the values do not depend on it.
    """
    graphdef, shapes = nnx.split(abstract(config, options))

    def create(key: jax.Array):
        return nnx.state(QwenVL(config, options=options, rngs=nnx.Rngs(key)))

    shardings = None if shardings_for is None else shardings_for(shapes)
    return nnx.merge(graphdef, jax.jit(create, out_shardings=shardings)(jax.random.key(seed)))
