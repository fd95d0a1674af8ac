"""What a training run carries from step to step, where it lives, and how it takes a step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from onevision_jax.axes import constrain
from onevision_jax.errors import InputError
from onevision_jax.model import QwenVL
from onevision_jax.parallel import ShardingRules
from onevision_jax.parallel.rules import BATCH_AXES
from onevision_jax.train.optimizer import as_float32
from onevision_jax.types import Batch

# (model, batch) -> (what is minimised, numbers to report); sums over the batch, see `accumulate`.
Loss = Callable[[QwenVL, Batch], tuple[jax.Array, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainState:
    """All that changes while training, and the frozen parameters."""

    step: jax.Array  # [] int32: optimizer steps taken
    trainable: Any  # nnx.State: parameters the optimizer moves
    frozen: Any  # nnx.State: the others
    optimizer: Any  # optax state over `trainable`, float32
    rng: jax.Array  # key data, uint32: for whatever draws; plain SFT draws nothing


jax.tree_util.register_dataclass(
    TrainState, [field.name for field in dataclasses.fields(TrainState)], []
)


def create_state(
    model: QwenVL,
    trained: Any,
    optimizer: optax.GradientTransformation,
    rules: ShardingRules,
    seed: int,
) -> tuple[Any, TrainState]:
    """(graphdef, state at step 0) of a model; of an abstract one, shapes and places only.

    trained: the filter of `trainable_filter`. Arrays that lie where the rules want them are taken
    over, not copied: once a step has been given the state, the model is no more.
    """
    graphdef, trainable, frozen = nnx.split(model, trained, ...)

    def start(trainable: Any, frozen: Any) -> TrainState:
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            trainable=trainable,
            frozen=frozen,
            optimizer=optimizer.init(as_float32(trainable)),
            rng=jax.random.key_data(jax.random.key(seed)),
        )

    shapes = jax.eval_shape(start, trainable, frozen)
    shardings = state_shardings(shapes, rules)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(trainable)):
        laid_out = jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            shapes,
            shardings,
        )
        return graphdef, laid_out
    # Through jit, parameters would be copied; the optimizer's zeros are made where they live.
    trainable = jax.device_put(trainable, shardings.trainable)
    frozen = jax.device_put(frozen, shardings.frozen)

    def rest(trainable: Any) -> Any:
        fresh = start(trainable, None)
        return fresh.step, fresh.optimizer, fresh.rng

    places = (shardings.step, shardings.optimizer, shardings.rng)
    step, moments, rng = jax.jit(rest, out_shardings=places)(trainable)
    return graphdef, TrainState(
        step=step, trainable=trainable, frozen=frozen, optimizer=moments, rng=rng
    )


def state_shardings(state: TrainState, rules: ShardingRules) -> TrainState:
    """Parameters, and what the optimizer keeps for each, by the rules; the rest on every device."""

    def place(leaf: Any) -> Any:
        if not isinstance(leaf, nnx.Variable):
            return rules.replicated()
        if not jax.tree.leaves(leaf):
            return leaf  # what one half of an optimizer leaves to the other
        return leaf.replace(rules.sharding(leaf.get_metadata()["axes"], leaf.shape))

    return jax.tree.map(place, state, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


def all_params(state: TrainState) -> nnx.State:
    """Trained and frozen parameters in one tree, as the model has them."""
    return nnx.merge_state(state.trainable, state.frozen)


def split_rows(batch: Batch, num_parts: int, rules: ShardingRules) -> Batch:
    """Every field with a leading [num_parts]; row r goes to part r modulo num_parts.

    Taken in turn, not in runs: every device then keeps its own rows. Raises InputError when rows do
    not divide over parts and devices.
    """
    rows, multiple = batch.tokens.shape[0], num_parts * rules.rows_multiple()
    if rows % multiple:
        raise InputError(
            f"a batch of {rows} rows does not divide into {num_parts} parts (accumulation) on "
            f"{rules.rows_multiple()} rows of devices; make it a multiple of {multiple}"
        )

    def cut(name: str, x: jax.Array) -> jax.Array:
        axes = BATCH_AXES.get(name, ("batch", "length"))
        place = axes.index("batch")
        shape = x.shape
        x = x.reshape(*shape[:place], -1, num_parts, *shape[place + 1 :])
        return constrain(jnp.moveaxis(x, place + 1, 0), None, *axes)

    fields: dict[str, Any] = {k: cut(k, x) for k, x in vars(batch).items() if x is not None}
    return Batch(**fields)


def accumulate(
    loss: Loss, graphdef: Any, state: TrainState, parts: Batch, shardings: Any = None
) -> tuple[jax.Array, dict[str, jax.Array], Any]:
    """(loss, numbers, gradients in float32), each summed over the parts of a batch.

    loss must be a sum that is already divided by what belongs to the whole batch; then any cut
    gives the same result. One part is taken directly, without a second set of gradients.
    shardings: of the gradients, as `trainable`.
    """

    def of_part(part: Batch) -> Any:
        def objective(trainable: Any) -> Any:
            return loss(nnx.merge(graphdef, trainable, state.frozen), part)

        (value, numbers), grads = jax.value_and_grad(objective, has_aux=True)(state.trainable)
        grads = as_float32(grads)
        if shardings is not None:
            grads = jax.lax.with_sharding_constraint(grads, shardings)
        return value, numbers, grads

    first = jax.tree.map(lambda x: x[0], parts)
    if parts.tokens.shape[0] == 1:
        return of_part(first)

    def add(total: Any, part: Batch) -> Any:
        return jax.tree.map(jnp.add, total, of_part(part)), None

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(of_part, first))
    return jax.lax.scan(add, zeros, parts)[0]
