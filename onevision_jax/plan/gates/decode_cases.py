"""Decoding with the 7B model: a new token for 8 answers to each of 16 prompts of 1500 tokens.

Letters: L layers, P prompts, S prompt slots, B rows, R answer slots, N query heads, K kv heads,
H head width.
"""

import functools
from typing import Any

import jax.numpy as jnp

from onevision_jax.plan.gates.case import GPUS, XLA_ON, Case, abstract, require

# Slots as the engine rounds 1500 tokens, to a multiple of 64.
L, P, S, B, R, N, K, H = 28, 16, 1536, 128, 512, 28, 4, 128


def decode(name: str) -> tuple[Any, tuple[Any, ...]]:
    """`decode_attention` by the implementation of that name, layer 0 of a whole cache."""
    from onevision_kernels.decode import SharedCache, decode_attention
    from onevision_kernels.decode.api import IMPLEMENTATIONS

    require(name, IMPLEMENTATIONS, "decode")
    cache = SharedCache(
        prompt_k=abstract(L, P, K, S, H),
        prompt_v=abstract(L, P, K, S, H),
        bounds=abstract(P, 2, dtype=jnp.int32),
        answer_k=abstract(L, B, K, R, H),
        answer_v=abstract(L, B, K, R, H),
        lengths=abstract(B, dtype=jnp.int32),
    )
    attend = functools.partial(decode_attention, implementation=name)
    return attend, (abstract(B, 1, N, H), cache)


CASES = [
    Case(f"decode/{name}/7b", targets, functools.partial(decode, name), plain=name == "xla")
    for name, targets in (("xla", XLA_ON), ("gpu", GPUS))
]
