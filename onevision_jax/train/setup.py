"""What a run builds before its first step: optimizer, shapes and places of the state, the state."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from onevision_jax.convert import load_model
from onevision_jax.model import QwenVL, QwenVLConfig, abstract
from onevision_jax.parallel import ShardingRules
from onevision_jax.train.losses import split_over
from onevision_jax.train.optimizer import make_optimizer, make_schedule, trainable_filter, update
from onevision_jax.train.saving import Checkpoints
from onevision_jax.train.settings import RunConfig
from onevision_jax.train.state import TrainState, create_state, state_shardings


class Setup:
    """The parts of a run that do not depend on what it minimises."""

    def __init__(
        self,
        config: RunConfig,
        model_config: QwenVLConfig,
        rules: ShardingRules,
        updates_per_step: int = 1,
    ):
        """updates_per_step: optimizer steps in each of the run's `num_steps`."""
        self.config = config
        self.rules = rules
        self.schedule = make_schedule(config.optimizer, config.num_steps * updates_per_step)
        self.optimizer = make_optimizer(config.optimizer)
        shapes = abstract(model_config, config.model)
        self.trained = trainable_filter(shapes, config.optimizer.freeze)
        self.graphdef, self.wanted = self.start(shapes)
        self.places = state_shardings(self.wanted, rules)
        self.split = split_over(rules, model_config.text.vocab_size)

    def start(self, model: QwenVL) -> tuple[Any, TrainState]:
        """(graphdef, state at step 0); takes over the model's arrays."""
        return create_state(model, self.trained, self.optimizer, self.rules, self.config.seed)

    def load(self) -> QwenVL:
        """The model the run starts from, on its devices."""
        return load_model(
            self.config.checkpoint,
            options=self.config.model,
            dtype=self.config.model.param_dtype,
            shardings_for=self.rules.params,
        )

    def first_state(
        self, checkpoints: Checkpoints, go_on: Callable[[Any], None], say: Callable[[str], None]
    ) -> TrainState:
        """The newest checkpoint's state, whose data position `go_on` is given; or a fresh one."""
        latest = checkpoints.latest
        if latest is not None:
            state, position = checkpoints.restore(latest, self.wanted)
            go_on(position)
            say(f"going on from {checkpoints.folder / str(latest)}")
            return state
        model = self.load()
        say(f"starting from {self.config.checkpoint}")
        return self.start(model)[1]

    def after(self, state: TrainState, grads: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        """(state one optimizer step later, `grad_norm` and `lr` of the step), to be traced."""
        rate = self.schedule(state.step)
        params, moments, norm = update(
            self.optimizer,
            self.config.optimizer.clip_norm,
            rate,
            state.trainable,
            state.optimizer,
            grads,
        )
        later = dataclasses.replace(state, step=state.step + 1, trainable=params, optimizer=moments)
        return later, {"grad_norm": norm, "lr": rate}
