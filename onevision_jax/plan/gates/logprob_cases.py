"""Log-probabilities of 16,384 tokens of the 7B model: its head is [152064, 3584], untied.

Letters: T tokens, D width, V vocabulary.
"""

import functools
from typing import Any

import jax.numpy as jnp

from onevision_jax.plan.gates.case import (
    GPUS,
    TPUS,
    XLA_ON,
    Case,
    abstract,
    require,
    with_gradients,
)

T, D, V = 16_384, 3584, 152_064


def logprob(name: str, *, backward: bool) -> tuple[Any, tuple[Any, ...]]:
    """`linear_logprob` by the implementation of that name."""
    from onevision_kernels.logprob import LogProbs, linear_logprob
    from onevision_kernels.logprob.api import IMPLEMENTATIONS

    require(name, IMPLEMENTATIONS, "logprob")

    def of_tokens(hidden_BTD, head_DV, targets_BT):
        return linear_logprob(
            hidden_BTD, head_DV, targets_BT, vocab_first=False, implementation=name
        )

    arguments = (abstract(1, T, D), abstract(D, V), abstract(1, T, dtype=jnp.int32))
    if not backward:
        return of_tokens, arguments
    each = abstract(1, T, dtype=jnp.float32)
    return with_gradients(of_tokens, 2), (*arguments, LogProbs(*[each] * len(LogProbs._fields)))


# The gradient takes v6e's compiler more than two minutes after the kernel, 20 s without.
SLOW = ("logprob/tpu/7b/backward", "v6e")

CASES = [
    Case(
        f"logprob/{name}/7b/{word}",
        tuple(kind for kind in targets if (f"logprob/{name}/7b/{word}", kind) != SLOW),
        functools.partial(logprob, name, backward=backward),
        plain=name == "xla",
    )
    for word, backward in (("forward", False), ("backward", True))
    for name, targets in (("xla", XLA_ON), ("tpu", TPUS), ("gpu", GPUS))
]
