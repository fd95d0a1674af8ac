"""AdamW or Muon with float32 state, warmup and cosine, clipping by global norm, frozen paths."""

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from onevision_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How parameters move."""

    # "muon" orthogonalises the momentum of matrices (Liu et al., arXiv 2502.16982) and leaves
    # tables, norms, biases and the patch embedding to AdamW with Nesterov momentum, undecayed: for
    # training from nothing.
    kind: Literal["adamw", "muon"] = "adamw"
    # Highest learning rate; 1e-5 is what R1-Onevision's SFT used.
    peak_lr: float = 1e-5
    # Steps from 0 to the peak: step s (from 0) of the warmup takes peak * (s + 1) / warmup.
    warmup_steps: int = 0
    # After the warmup: half a cosine down to end_lr_fraction of the peak, or the peak throughout.
    schedule: Literal["cosine", "constant"] = "cosine"
    end_lr_fraction: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    # Decoupled, times the learning rate; never on norms and biases.
    weight_decay: float = 0.0
    # Gradients longer than this are shortened to it; None leaves them.
    clip_norm: float | None = 1.0
    # Parts that stay as they are, by path: "vision", "vision/blocks", "embed", ...
    freeze: tuple[str, ...] = ()

    def __post_init__(self):
        for name in ("peak_lr", "eps"):
            if getattr(self, name) <= 0:
                raise InputError(f"optimizer.{name} is {getattr(self, name)}; give more than 0")
        for name in ("warmup_steps", "weight_decay"):
            if getattr(self, name) < 0:
                raise InputError(f"optimizer.{name} is {getattr(self, name)}; give 0 or more")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"optimizer.{name} is {getattr(self, name)}; give 0 to below 1")
        if not 0 <= self.end_lr_fraction <= 1:
            raise InputError(f"optimizer.end_lr_fraction is {self.end_lr_fraction}; give 0 to 1")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise InputError(f"optimizer.clip_norm is {self.clip_norm}; give more than 0, or none")


def make_schedule(config: OptimizerConfig, num_steps: int) -> Callable[[Any], Any]:
    """Learning rate of step s, counted from 0, in a run of `num_steps`."""
    if config.warmup_steps > num_steps:
        raise InputError(
            f"optimizer.warmup_steps {config.warmup_steps} is more than num_steps {num_steps}; "
            "shorten the warmup"
        )

    def rate(step: Any) -> Any:
        step = jnp.asarray(step, jnp.float32)
        warm = (step + 1) / max(config.warmup_steps, 1)
        if config.schedule == "constant":
            return config.peak_lr * jnp.minimum(warm, 1.0)
        length = max(num_steps - config.warmup_steps, 1)
        done = jnp.clip((step - config.warmup_steps) / length, 0.0, 1.0)
        low = config.end_lr_fraction
        cosine = low + (1 - low) * 0.5 * (1 + jnp.cos(jnp.pi * done))
        return config.peak_lr * jnp.where(step < config.warmup_steps, warm, cosine)

    return rate


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """AdamW as torch defines it, or Muon, before the learning rate; fed float32 trees by `update`.

    Muon's steps have the size of AdamW's (root mean square 0.2), so one learning rate serves both.
    """
    if config.kind == "muon":
        return optax.contrib.muon(
            -1.0,  # the sign and size of a step are left to `update`
            weight_decay=config.weight_decay,
            weight_decay_mask=_decays,
            adam_b1=config.beta1,
            adam_b2=config.beta2,
            eps=config.eps,
            adam_weight_decay=0.0,
            muon_weight_dimension_numbers=_matrices,
            consistent_rms=0.2,
        )
    return optax.chain(
        optax.scale_by_adam(config.beta1, config.beta2, config.eps),
        optax.add_decayed_weights(config.weight_decay, mask=_decays),
    )


def update(
    optimizer: optax.GradientTransformation,
    clip_norm: float | None,
    rate: jax.Array,
    params: Any,
    optimizer_state: Any,
    grads: Any,
) -> tuple[Any, Any, jax.Array]:
    """(parameters, optimizer state, norm of the gradients) after one step of learning rate `rate`.

    Everything is computed in float32 and only the sum is cast to the parameter's own dtype, so
    parameters below float32 lose steps smaller than their spacing. Where the norm is not finite,
    parameters and state stay as they are.
    """
    norm = optax.tree.norm(grads)
    if clip_norm is not None:
        scale = jnp.minimum(1.0, clip_norm / jnp.maximum(norm, 1e-30))
        grads = jax.tree.map(lambda g: g * scale, grads)
    wide = as_float32(params)
    steps, new_state = optimizer.update(grads, optimizer_state, wide)
    new_params = jax.tree.map(lambda p, w, s: (w - rate * s).astype(p.dtype), params, wide, steps)
    fine = jnp.isfinite(norm)

    def keep(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(fine, n, o), new, old)

    return keep(new_params, params), keep(new_state, optimizer_state), norm


def as_float32(tree: Any) -> Any:
    """The same numbers in float32 (float64 stays)."""
    return jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), tree)


def trainable_filter(model: nnx.Module, freeze: Sequence[str]) -> Any:
    """The nnx filter of what is trained; raises InputError for a path that is no part of the model.

    freeze: a path freezes itself and all below it.
    """
    paths = [_join(path) for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param))]
    parts = sorted({"/".join(p.split("/")[:n]) for p in paths for n in range(1, p.count("/") + 2)})
    for name in freeze:
        if name not in parts:
            close = difflib.get_close_matches(name, parts, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(parts[:9])}, …"
            raise InputError(f"optimizer.freeze names {name!r}, which the model has not; {hint}")
    if all(_is_below(path, freeze) for path in paths):
        raise InputError("optimizer.freeze leaves nothing to train; name fewer parts")

    def trained(path: tuple[Any, ...], _: Any) -> bool:
        return not _is_below(_join(path), freeze)

    return trained


def _join(path: Sequence[Any]) -> str:
    return "/".join(str(part) for part in path)


def _is_below(path: str, names: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in names)


def _decays(params: Any) -> Any:
    """True for matrices and tables; norms have a `weight`, biases a `bias`, matrices a `kernel`."""
    flat = nnx.to_flat_state(params)
    return nnx.from_flat_state(
        [(path, leaf.replace(str(path[-1]) not in ("bias", "weight"))) for path, leaf in flat]
    )


def _matrices(params: Any) -> Any:
    """Which axes of a layer's matrix are inputs and which outputs, for Muon; None leaves to AdamW.

    Layers, and the three parts of a joint qkv, are matrices of their own.
    """
    return nnx.from_flat_state(
        [(path, leaf.replace(_as_matrix(path, leaf))) for path, leaf in nnx.to_flat_state(params)]
    )


def _as_matrix(path: tuple[Any, ...], leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
    axes = leaf.get_metadata()["axes"]
    if str(path[-1]) != "kernel" or "patch" in axes:
        return None
    inner = [place for place, name in enumerate(axes) if name not in ("layers", "qkv")]
    split = -1 if str(path[-2]) == "out" else 1
    return optax.contrib.MuonDimensionNumbers(tuple(inner[:split]), tuple(inner[split:]))
