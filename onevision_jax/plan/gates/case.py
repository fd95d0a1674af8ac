"""One program that the gates compile: an implementation of an op at real shapes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

TPUS = ("v5e", "v5p", "v6e")
GPUS = ("h200",)
EVERY_TARGET = GPUS + TPUS
# Plain XLA compiles slowly and its bytes differ little between the TPUs: one stands for all.
XLA_ON = (*GPUS, "v6e")


class NotRegistered(Exception):
    """The op or the implementation that a case is about does not exist (yet)."""


class Case(NamedTuple):
    """name: "op/implementation/shape/pass"; targets: kinds it is compiled for.

    build() -> (function, abstract arguments). Raises NotRegistered. It is called where the target
    is already set, so the function may choose by it.
    plain: XLA alone, no kernel whose dump is read; writing dumps would double its time on TPU.
    """

    name: str
    targets: tuple[str, ...]
    build: Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]
    plain: bool = False


def abstract(*shape: int, dtype: Any = jnp.bfloat16) -> Any:
    """An array that is not there."""
    return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))


def require(name: str, registered: Any, op: str) -> None:
    """Raises NotRegistered unless `name` is among the implementations."""
    if name not in registered:
        raise NotRegistered(f"{op} has no implementation {name!r}")


def with_gradients(function: Callable[..., Any], num_differentiated: int) -> Callable[..., Any]:
    """A function of (arguments, cotangents of all its outputs) -> gradients.

    The first `num_differentiated` arguments are differentiated; the cotangents come last, as one
    tuple with the structure of the outputs.
    """

    def gradients(*arguments):
        *inputs, cotangents = arguments
        fixed = inputs[num_differentiated:]
        _, pull = jax.vjp(lambda *x: function(*x, *fixed), *inputs[:num_differentiated])
        return pull(cotangents)

    return gradients
