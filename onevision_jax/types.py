"""Every pytree that crosses a room.

Letters: B rows, T tokens, P patches, M = P / 4 merged vision rows, L layers, S cache slots,
R slots of an answer, K kv heads, H head width, D model width.
"""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def _pytree(cls: type[T]) -> type[T]:
    """A frozen dataclass whose fields are all data."""
    made: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    names = [field.name for field in dataclasses.fields(made)]
    return jax.tree_util.register_dataclass(made, data_fields=names, meta_fields=[])


@_pytree
class Batch:
    """Rows of tokens and the patches of their images; several examples may share a row.

    Images occupy runs of equal `image_ids`, their windows runs of equal `window_ids` inside;
    patches are stored in window order, four in a row make one merged vision row.
    """

    tokens: jax.Array  # [B, T] int32
    positions: jax.Array  # [3, B, T] int32: M-RoPE (t, h, w), restarted per segment
    segment_ids: jax.Array  # [B, T] int32: runs of equal ids; 0 = padding
    vision_index: jax.Array  # [B, T] int32: merged vision row of the same batch row; -1 = text
    patches: jax.Array  # [B, P, 588] uint8: raw 14 x 14 x 3 patches; P = 0 = text only
    patch_positions: jax.Array  # [B, P, 2] int32: (h, w) inside the image
    image_ids: jax.Array  # [B, P] int32; 0 = padding
    window_ids: jax.Array  # [B, P] int32; 0 = padding
    targets: jax.Array | None = None  # [B, T] int32: next ids (training)
    loss_weights: jax.Array | None = None  # [B, T] float32: 0 on prompt, image, padding
    # Reinforcement learning; all belong to `targets`, as loss_weights does.
    advantages: jax.Array | None = None  # [B, T] float32
    sampler_logprobs: jax.Array | None = None  # [B, T] float32: when the token was drawn
    old_logprobs: jax.Array | None = None  # [B, T] float32: before the first update with this batch


@_pytree
class AnswerCache:
    """Keys and values of G answers to each prompt, side by side: row b answers prompt b // G."""

    k: jax.Array  # [L, B, K, R, H]
    v: jax.Array  # [L, B, K, R, H]
    step: jax.Array  # [] int32: the slot that the next token of every row is written to
    lengths: jax.Array  # [B] int32: slots that count; below `step`, the row has ended

    def end(self, done_B: jax.Array) -> "AnswerCache":
        """Rows that are done grow no longer, and their slots are not read again."""
        return dataclasses.replace(self, lengths=jnp.where(done_B, 0, self.lengths))


@_pytree
class KVCache:
    """Keys and values of all layers, of prompts and (once they are decoded) of their answers.

    Prompt b holds real keys in slots `start[b] .. length - 1`.
    """

    k: jax.Array  # [L, B, K, S, H]
    v: jax.Array  # [L, B, K, S, H]
    start: jax.Array  # [B] int32: number of left-padding slots
    length: jax.Array  # [] int32: slots filled so far, padding included
    answers: AnswerCache | None = None  # None: tokens are appended to the prompts


@_pytree
class ModelOutput:
    """What the model returns: final hidden states, and the cache it was given, filled further."""

    hidden: jax.Array  # [B, T, D] after the final norm
    cache: KVCache | None
