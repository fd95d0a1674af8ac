"""The shapes of one call of `linear_logprob`: all that is known before the arrays are."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Call(NamedTuple):
    """Hashable: what an implementation may choose by."""

    num_tokens: int  # of all rows
    width: int
    vocab_size: int
    dtype: Any  # of the hidden states
    head_dtype: Any
    vocab_first: bool = False
    vocab_shards: int = 1
    num_shards: int = 1

    @classmethod
    def of(
        cls,
        hidden_BTD: jax.Array,
        head: jax.Array,
        *,
        vocab_first: bool,
        vocab_shards: int = 1,
        num_shards: int = 1,
    ) -> "Call":
        """Of these arrays; raises ValueError for shapes that cannot belong together."""
        B, T, D = hidden_BTD.shape
        V, width = head.shape if vocab_first else head.shape[::-1]
        if width != D:
            layout = "[V, D]" if vocab_first else "[D, V]"
            raise ValueError(f"a head {layout} of shape {head.shape} does not fit width {D}")
        if V % vocab_shards:
            raise ValueError(f"a vocabulary of {V} does not divide into {vocab_shards} shards")
        dtypes = jnp.dtype(hidden_BTD.dtype), jnp.dtype(head.dtype)
        return cls(B * T, D, V, *dtypes, vocab_first, vocab_shards, num_shards)

    @classmethod
    def typical(cls) -> "Call":
        """A packed batch before the 7B model's head, in bfloat16."""
        dtype = jnp.dtype(jnp.bfloat16)
        return cls(16_384, 3584, 152_064, dtype, dtype)
