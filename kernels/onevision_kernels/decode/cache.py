"""What decode attention reads: the keys and values of prompts, and of the answers to them.

B rows are P prompts times G answers, those of one prompt side by side: row b answers prompt b // G.
The arrays are those of all layers, so that no implementation has to cut (and copy) one out, and a
kv head's slots stand together, so that each is one matrix as it lies in memory.

Letters: L layers, P prompts, S prompt slots, B rows, R answer slots, T new tokens, N query heads,
K kv heads, H head width.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class SharedCache(NamedTuple):
    """Slots that no query sees may hold anything, NaN included."""

    prompt_k: jax.Array  # [L, P, K, S, H]
    prompt_v: jax.Array  # [L, P, K, S, H]
    bounds: jax.Array  # [P, 2] int32: first and one past last slot of each prompt
    answer_k: jax.Array  # [L, B, K, R, H]
    answer_v: jax.Array  # [L, B, K, R, H]
    lengths: jax.Array  # [B] int32: slots of each answer, the new tokens' included


class DecodeCall(NamedTuple):
    """The shapes of one call (hashable): what an implementation may choose by."""

    num_prompts: int
    num_rows: int
    num_new: int
    prompt_slots: int
    answer_slots: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    dtype: Any

    @classmethod
    def of(cls, q_BTNH: jax.Array, cache: SharedCache) -> "DecodeCall":
        """Of these arrays; raises ValueError for shapes that cannot belong together."""
        (B, T, N, H), (L, P, K, S, _) = q_BTNH.shape, cache.prompt_k.shape
        R = cache.answer_k.shape[3]
        if P == 0 or B % P:
            raise ValueError(f"{B} rows are no whole number of answers to each of {P} prompts")
        if N % K:
            raise ValueError(f"{N} query heads cannot share {K} kv heads evenly")
        wanted = {
            "prompt_k": (L, P, K, S, H),
            "prompt_v": (L, P, K, S, H),
            "bounds": (P, 2),
            "answer_k": (L, B, K, R, H),
            "answer_v": (L, B, K, R, H),
            "lengths": (B,),
        }
        for name, shape in wanted.items():
            if getattr(cache, name).shape != shape:
                raise ValueError(
                    f"{name} has shape {getattr(cache, name).shape}, expected {shape} for queries "
                    f"of shape {q_BTNH.shape}"
                )
        return cls(P, B, T, S, R, N, K, H, jnp.dtype(q_BTNH.dtype))

    @classmethod
    def typical(cls) -> "DecodeCall":
        """16 prompts of 1500 slots, 8 answers each, on the 7B decoder in bfloat16."""
        return cls(16, 128, 1, 1500, 512, 28, 4, 128, jnp.dtype(jnp.bfloat16))


def layer_of(cache: SharedCache, layer: jax.Array) -> tuple[jax.Array, ...]:
    """prompt_k, prompt_v, answer_k, answer_v of one layer."""
    stacks = (cache.prompt_k, cache.prompt_v, cache.answer_k, cache.answer_v)
    return tuple(jax.lax.dynamic_index_in_dim(x, layer, keepdims=False) for x in stacks)


def query_limits(lengths_B: jax.Array, num_new: int) -> jax.Array:
    """[B, T] int32: new token t of a row sees the answer slots before this one.

    The newest sees all `lengths` slots, the one before it one less, and so on.
    """
    behind_T = jnp.arange(num_new - 1, -1, -1, dtype=jnp.int32)
    return lengths_B[:, None] - behind_T[None, :]
