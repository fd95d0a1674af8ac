"""What decode attention computes, written plainly: every row gets its own copy of the prompt.

Letters: B rows, P prompts, T new tokens, S prompt slots, R answer slots, N query heads, K kv
heads, H head width.
"""

import jax
import jax.numpy as jnp

from onevision_kernels.attention.reference import AttentionOutput, attend_masked
from onevision_kernels.decode.cache import SharedCache, layer_of, query_limits


def reference_decode(
    q_BTNH: jax.Array, cache: SharedCache, layer: jax.Array, *, scale: float
) -> AttentionOutput:
    """One dense softmax over [prompt | answer] slots."""
    B, T = q_BTNH.shape[:2]
    prompt_k, prompt_v, answer_k, answer_v = layer_of(cache, layer)
    P, S, R = prompt_k.shape[0], prompt_k.shape[2], answer_k.shape[2]

    def rows(prompt: jax.Array, answer: jax.Array) -> jax.Array:
        both = jnp.concatenate([jnp.repeat(prompt, B // P, axis=0), answer], axis=2)
        return both.swapaxes(1, 2)

    bounds_B2 = jnp.repeat(cache.bounds, B // P, axis=0)
    slot_11S, slot_11R = (jnp.arange(n, dtype=jnp.int32)[None, None] for n in (S, R))
    start_B11, stop_B11 = (bounds_B2[:, i, None, None] for i in (0, 1))
    seen_B1S = (slot_11S >= start_B11) & (slot_11S < stop_B11)
    seen_BTR = slot_11R < query_limits(cache.lengths, T)[:, :, None]
    seen = jnp.concatenate([jnp.broadcast_to(seen_B1S, (B, T, S)), seen_BTR], axis=2)
    return attend_masked(q_BTNH, rows(prompt_k, answer_k), rows(prompt_v, answer_v), seen, scale)
