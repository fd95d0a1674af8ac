"""The policy in training: the sampler that shares its parameters, gradients, updates.

A step's micro-batches all have one shape, so one program computes the gradients of however many
there are; they are added up in float32 and given to the optimizer once.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from onevision_jax.errors import InputError
from onevision_jax.model import QwenVL
from onevision_jax.parallel import on_mesh
from onevision_jax.processor import Processor
from onevision_jax.rollout import Generator, Sampling
from onevision_jax.train.losses import token_logprobs
from onevision_jax.train.optimizer import as_float32
from onevision_jax.train.policy_loss import PolicyLossConfig, policy_loss
from onevision_jax.train.setup import Setup
from onevision_jax.train.state import TrainState
from onevision_jax.types import Batch

MEANS = ("entropy", "kl", "clipped", "difference", "weight")


class Policy:
    """The compiled parts of a GRPO step."""

    def __init__(
        self, setup: Setup, loss: PolicyLossConfig, sampling: Sampling, processor: Processor
    ):
        if sampling.top_k or sampling.top_p < 1:
            raise InputError(
                "sampling.top_k and top_p cut the distribution that GRPO differentiates; leave "
                "them at 0 and 1"
            )
        self.rules = setup.rules
        self.num_compiles = 0  # how often the gradients were traced
        self._setup, self._loss, self._temperature = setup, loss, sampling.temperature
        self._tokenizer = processor.tokenizer
        self._generator: Generator | None = None
        self._reference = setup.load() if loss.kl_weight > 0 else None
        grads = setup.places.trainable
        numbers = setup.rules.replicated()
        self._gradients = self._jit(self.gradients, out=(grads, numbers))
        self._add = jax.jit(
            lambda total, more: jax.tree.map(jnp.add, total, more), donate_argnums=0
        )
        self._after = self._jit(setup.after, out=(setup.places, numbers), donate=(0,))
        self._logprobs = self._jit(self._old_logprobs)
        self._cast = jax.jit(
            lambda tree: jax.tree.map(lambda x: x.astype(setup.config.model.dtype), tree)
        )

    def sampler(self, state: TrainState) -> Generator:
        """Draws from the policy as it is now; a new state needs a new call."""
        model = self._model(state)
        config = self._setup.config.model
        if jnp.dtype(config.dtype) != jnp.dtype(config.param_dtype):
            # What the model does on every use, once: decoding reads half the bytes.
            graphdef, params = nnx.split(model)
            model = nnx.merge(graphdef, self._cast(params))
        if self._generator is None:
            self._generator = Generator(
                model,
                stop_ids=self._tokenizer.stop_ids,
                banned_ids=self._tokenizer.ids_of("<|vision_pad|>"),
                pad_id=self._tokenizer.pad_id,
                rules=self.rules,
            )
        self._generator.use(model)
        return self._generator

    def update(
        self, state: TrainState, parts: Sequence[Batch], iterations: int
    ) -> tuple[TrainState, dict[str, Any]]:
        """(state after `iterations` optimizer steps, numbers of the first); the old state is gone.

        Without parts (every group is of one mind) the optimizer sees gradients of 0.
        """
        if iterations > 1:
            parts = [self._with_old(state, part) for part in parts]
        numbers: dict[str, Any] = {}
        for turn in range(iterations):
            found = [None] * len(parts)
            total: Any = None
            for place, part in enumerate(parts):
                grads, found[place] = self._gradients(state, self._reference_state(), part)
                total = grads if total is None else self._add(total, grads)
            if total is None:
                total = jax.tree.map(jnp.zeros_like, as_float32(state.trainable))
            state, more = self._after(state, total)
            last = {**_together(jax.device_get(found)), **_plain(jax.device_get(more))}
            numbers = numbers or last
            if turn:
                numbers["clip_fraction"] = last["clip_fraction"]  # 0 by definition at first
        return state, numbers

    def gradients(
        self, state: TrainState, reference: Any, batch: Batch
    ) -> tuple[Any, dict[str, jax.Array]]:
        """(gradients in float32, sums of the numbers to report) of a micro-batch."""
        self.num_compiles += 1

        def objective(trainable: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
            model = nnx.merge(self._setup.graphdef, trainable, state.frozen)
            found = self._token_logprobs(model, batch)
            other = None
            if reference is not None:
                frozen = nnx.merge(self._setup.graphdef, *reference)
                other = self._token_logprobs(frozen, batch).logprob
            terms = policy_loss(found.logprob, batch, self._loss, other)
            assert batch.loss_weights is not None
            counts = batch.loss_weights != 0
            loss = (batch.loss_weights * terms["loss"]).sum()
            terms["entropy"] = jnp.where(counts, found.entropy, 0.0)
            numbers = {name: terms[name].sum() for name in MEANS}
            numbers |= {"loss": loss, "tokens": counts.sum()}
            numbers["difference_max"] = terms["difference"].max()
            return loss, numbers

        (_, numbers), grads = jax.value_and_grad(objective, has_aux=True)(state.trainable)
        grads = jax.lax.with_sharding_constraint(as_float32(grads), self._setup.places.trainable)
        return grads, numbers

    def _token_logprobs(self, model: QwenVL, batch: Batch) -> Any:
        """Under the distribution that is sampled from: tempered, without vision tokens."""
        size = model.config.text.vocab_size
        banned = {*model.config.vision_token_ids, *self._tokenizer.ids_of("<|vision_pad|>")}
        mask = np.zeros(size, bool)
        mask[[i for i in sorted(banned) if i < size]] = True
        return token_logprobs(
            model,
            batch,
            split=self._setup.split,
            temperature=self._temperature,
            banned_V=jnp.asarray(mask),
        )

    def _old_logprobs(self, state: TrainState, batch: Batch) -> jax.Array:
        found = self._token_logprobs(self._model(state), batch).logprob
        return jnp.where(batch.loss_weights != 0, found, 0.0)

    def _with_old(self, state: TrainState, part: Batch) -> Batch:
        return dataclasses.replace(part, old_logprobs=self._logprobs(state, part))

    def _model(self, state: TrainState) -> QwenVL:
        return nnx.merge(self._setup.graphdef, state.trainable, state.frozen)

    def _reference_state(self) -> Any:
        if self._reference is None:
            return None
        return nnx.split(self._reference, self._setup.trained, ...)[1:]

    def _jit(self, function: Callable, *, out: Any = None, donate: tuple[int, ...] = ()) -> Any:
        wrapped = on_mesh(self.rules, function)
        if out is None:
            return jax.jit(wrapped, donate_argnums=donate)
        return jax.jit(wrapped, donate_argnums=donate, out_shardings=out)


def _together(found: Sequence[Any]) -> dict[str, float]:
    """Means over the tokens of all micro-batches, under the names of metrics.jsonl."""
    tokens = max(sum(float(part["tokens"]) for part in found), 1.0)
    mean = {name: sum(float(part[name]) for part in found) / tokens for name in MEANS}
    return {
        "loss": sum(float(part["loss"]) for part in found),
        "entropy": mean["entropy"],
        "kl": mean["kl"],
        "clip_fraction": mean["clipped"],
        "logprob_difference_mean": mean["difference"],
        "logprob_difference_max": max((float(part["difference_max"]) for part in found), default=0),
        "importance_weight": mean["weight"],
    }


def _plain(numbers: Any) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items()}
