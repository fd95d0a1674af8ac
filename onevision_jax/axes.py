"""Logical axis names, and the hook through which a mesh gives them meaning.

The model says what an axis is ("embed", "heads"); the `parallel` room says where it lives. The
model never imports `parallel`: it calls `constrain`, which does nothing until `parallel` has
installed a resolver for the current context.

Parameters: layers (stacked), embed, heads, kv_heads, head (width of one head), mlp, vocab,
vision_embed, vision_heads, vision_mlp, merged (the merger's inner width), patch, qkv, frame, norm.
Activations: batch, length, patches, act_embed, act_heads, act_kv_heads, act_mlp, act_vocab.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import jax

Axes = tuple[str | None, ...]
_resolver: ContextVar[Callable[[Axes, tuple[int, ...]], jax.sharding.Sharding] | None] = ContextVar(
    "activation_sharding", default=None
)


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """`x`, asked to be laid out by its logical axes (one name or None per dimension)."""
    sharding = layout(axes, x.shape)
    return x if sharding is None else jax.lax.with_sharding_constraint(x, sharding)


def layout(axes: Axes, shape: tuple[int, ...]) -> jax.sharding.Sharding | None:
    """Where an array with these logical axes lives; None without a mesh."""
    assert len(axes) == len(shape), f"{len(axes)} axis names for {len(shape)} dimensions"
    resolve = _resolver.get()
    return None if resolve is None else resolve(axes, shape)


@contextlib.contextmanager
def activation_sharding(
    resolve: Callable[[Axes, tuple[int, ...]], jax.sharding.Sharding],
) -> Iterator[None]:
    """While tracing inside, `constrain` lays activations out as `resolve(axes, shape)` says."""
    token = _resolver.set(resolve)
    try:
        yield
    finally:
        _resolver.reset(token)
