"""The shapes of one call of range attention: all that is known before the arrays are."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Call(NamedTuple):
    """Hashable: what an implementation may choose by, and what prepared ranges belong to."""

    batch: int
    num_queries: int
    num_keys: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    dtype: Any
    causal: bool = False
    max_span: int | None = None

    @classmethod
    def of(
        cls, q_BTNH: jax.Array, k_BSKH: jax.Array, *, causal: bool, max_span: int | None = None
    ) -> "Call":
        """Of these arrays; raises ValueError for shapes that cannot belong together."""
        (B, T, N, H), (S, K) = q_BTNH.shape, k_BSKH.shape[1:3]
        if N % K:
            raise ValueError(f"{N} query heads cannot share {K} kv heads evenly")
        if causal and T != S:
            raise ValueError(
                f"causal attention needs as many keys as queries, got {S} keys for {T} queries; "
                "put the bound into the ranges instead"
            )
        return cls(B, T, S, N, K, H, jnp.dtype(q_BTNH.dtype), causal, max_span)

    @classmethod
    def typical(cls) -> "Call":
        """A packed row of the 7B decoder (28 query heads, 4 kv heads, width 128) in bfloat16."""
        return cls(1, 8192, 8192, 28, 4, 128, jnp.dtype(jnp.bfloat16), True)
