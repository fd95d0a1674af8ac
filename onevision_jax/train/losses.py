"""Losses over tokens. Each returns a SUM; whoever calls divides by the weights of the whole batch.

Dividing once, by a number that does not depend on how the batch was cut, is what makes gradients
equal for every cut.

Letters: B rows, T tokens, V vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from onevision_jax.axes import constrain
from onevision_jax.errors import InputError
from onevision_jax.model import QwenVL
from onevision_jax.parallel import ShardingRules
from onevision_jax.types import Batch
from onevision_kernels.logprob import LogProbs, linear_logprob


class Split(NamedTuple):
    """How the devices share the vocabulary and the work; changes no result."""

    vocab_shards: int = 1
    num_shards: int = 1


WHOLE = Split()


def split_over(rules: ShardingRules, vocab_size: int) -> Split:
    """What the rules make of a vocabulary of this size."""
    spec = rules.spec(("act_vocab",), (vocab_size,))
    axis = spec[0] if len(spec) else None
    return Split(rules.mesh.shape[axis] if axis else 1, rules.mesh.size)


def token_logprobs(
    model: QwenVL,
    batch: Batch,
    *,
    split: Split = WHOLE,
    temperature: float = 1.0,
    banned_V: jax.Array | None = None,
) -> LogProbs:
    """Log-prob of `batch.targets`, log-sum-exp and entropy, each [B, T]; logits never exist."""
    if batch.targets is None:
        raise InputError("the batch has no targets; training needs the next ids")
    hidden_BTD = model(batch).hidden
    tied = model.head is None
    table = model.embed if model.head is None else model.head
    # Whole along the width while it is used: a loop over pieces would fetch it in every turn.
    axes = ("act_vocab", None) if tied else (None, "act_vocab")
    return linear_logprob(
        hidden_BTD,
        constrain(table[...], *axes),
        batch.targets,
        vocab_first=tied,
        temperature=temperature,
        banned_V=banned_V,
        vocab_shards=split.vocab_shards,
        num_shards=split.num_shards,
    )


def cross_entropy_sum(model: QwenVL, batch: Batch, split: Split = WHOLE) -> jax.Array:
    """Weighted sum of -log p(target), in nats; positions of weight 0 add exactly nothing."""
    if batch.loss_weights is None:
        raise InputError("the batch has no loss_weights; training needs them")
    logprob_BT = token_logprobs(model, batch, split=split).logprob
    weights_BT = batch.loss_weights
    return -jnp.where(weights_BT != 0, weights_BT * logprob_BT, 0.0).sum()
