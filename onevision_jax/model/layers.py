"""Building blocks. Parameters carry logical axis names; a `stack` puts leading axes before them.

A stack of L equal layers is one module whose parameters have a leading [L]; `scan_layers` runs
it layer by layer. Parameters keep their own dtype and are cast to the activations' dtype on use.

Letters: B rows, T tokens or patches, D width, F mlp width, L layers.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from onevision_jax.axes import constrain
from onevision_jax.errors import InputError

Stack = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How to compute, as opposed to what (that is QwenVLConfig)."""

    dtype: Any = jnp.bfloat16  # of the activations
    param_dtype: Any = jnp.float32  # of the parameters when they are initialised here
    remat: str = "none"  # recomputed in the backward pass: "none", "dots" (all but matmuls), "full"
    attention: str | None = None  # implementation by name; None = the best that runs here
    decode: str | None = None  # the same of decode attention (new tokens against a cache)
    init_scale: float = 0.02  # standard deviation of fresh matrices

    def __post_init__(self):
        if self.remat not in ("none", "dots", "full"):
            raise InputError(f"remat is {self.remat!r}, expected 'none', 'dots' or 'full'")


def param(
    shape: tuple[int, ...], axes: tuple[str, ...], *, stack: Stack, init: Callable[[], jax.Array]
) -> nnx.Param:
    """A parameter with its logical axes as metadata (read by `parallel.rules`)."""
    assert len(shape) == len(axes), f"{axes} does not name {shape}"
    return nnx.Param(init(), axes=("layers",) * len(stack) + axes)


class Einsum(nnx.Module):
    """y = einsum(equation, x, kernel) + bias; the kernel's and bias's axes are named."""

    def __init__(
        self,
        equation: str,
        shape: tuple[int, ...],
        axes: tuple[str, ...],
        *,
        bias_dims: int,
        stack: Stack,
        options: ModelOptions,
        rngs: nnx.Rngs,
    ):
        """bias_dims: the bias has the kernel's last so many dimensions; 0 = no bias."""
        self.equation = equation
        dtype, scale = options.param_dtype, options.init_scale
        self.kernel = param(
            shape,
            axes,
            stack=stack,
            init=lambda: jax.random.normal(rngs.params(), stack + shape, dtype) * scale,
        )
        bias_shape, bias_axes = shape[len(shape) - bias_dims :], axes[len(axes) - bias_dims :]
        bias = param(
            bias_shape, bias_axes, stack=stack, init=lambda: jnp.zeros(stack + bias_shape, dtype)
        )
        self.bias = bias if bias_dims else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jnp.einsum(self.equation, x, self.kernel[...].astype(x.dtype))
        if self.bias is not None:
            bias = self.bias[...].astype(x.dtype)
            y = y + bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)
        return y


class RMSNorm(nnx.Module):
    """x / rms(x) * weight: statistics in float32, cast back, then scaled (as transformers does)."""

    def __init__(self, width: int, eps: float, *, stack: Stack, options: ModelOptions):
        self.eps = eps
        self.weight = param(
            (width,),
            ("norm",),
            stack=stack,
            init=lambda: jnp.ones((*stack, width), options.param_dtype),
        )

    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        wide = x_BTD.astype(jnp.promote_types(x_BTD.dtype, jnp.float32))
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        weight = self.weight[...].astype(x_BTD.dtype)
        return wide.astype(x_BTD.dtype) * weight.reshape((1,) * (x_BTD.ndim - 1) + weight.shape)


class SwiGLU(nnx.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(
        self,
        width: int,
        inner: int,
        axes: tuple[str, str],
        *,
        bias: bool,
        stack: Stack,
        options: ModelOptions,
        rngs: nnx.Rngs,
    ):
        """axes: logical names of the width and the inner width."""
        shared = {"stack": stack, "options": options, "rngs": rngs, "bias_dims": int(bias)}
        outer, mlp = axes
        self.gate = Einsum("BTD,DF->BTF", (width, inner), (outer, mlp), **shared)
        self.up = Einsum("BTD,DF->BTF", (width, inner), (outer, mlp), **shared)
        self.down = Einsum("BTF,FD->BTD", (inner, width), (mlp, outer), **shared)

    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        inner_BTF = jax.nn.silu(self.gate(x_BTD)) * self.up(x_BTD)
        return self.down(constrain(inner_BTF, "batch", "length", "act_mlp"))


def rematerialised(body: Callable, options: ModelOptions) -> Callable:
    """A scan body under the remat policy of the options."""
    if options.remat == "none":
        return body
    policy = None
    if options.remat == "dots":
        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return jax.checkpoint(body, policy=policy, prevent_cse=False)


def scan_layers(
    layers: nnx.Module,
    body: Callable[[Any, Any, Any], Any],
    carry: Any,
    per_layer: Any,
    options: ModelOptions,
) -> Any:
    """carry = body(layer, carry, x) over a stack of layers; `per_layer` has a leading [L]."""
    graphdef, state = nnx.split(layers)

    def step(carry, inputs):
        layer_state, x = inputs
        return body(nnx.merge(graphdef, layer_state), carry, x), None

    return jax.lax.scan(rematerialised(step, options), carry, (state, per_layer))[0]


def num_parameters(model: nnx.Module) -> int:
    """Parameters of a model, concrete or abstract (`nnx.eval_shape`)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
