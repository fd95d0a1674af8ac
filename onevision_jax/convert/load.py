"""A model ready to run, from a checkpoint, a workdir or straight from a Hugging Face folder."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from onevision_jax.checkpoint.folders import HuggingFaceFolder, identify
from onevision_jax.checkpoint.store import by_path, load_params
from onevision_jax.convert.moving import as_dtype
from onevision_jax.convert.source import Leaf, open_source
from onevision_jax.model import ModelOptions, QwenVL, abstract, from_folder


def load_model(
    path: str | os.PathLike[str],
    *,
    options: ModelOptions | None = None,
    dtype: Any = None,
    shardings_for: Callable[[nnx.State], nnx.State] | None = None,
) -> QwenVL:
    """The model at a path, its parameters read straight onto their devices.

    options: how to compute; dtype: of the parameters, None keeps the stored one (float64 becomes
    float32 unless jax has x64 on). shardings_for: from the abstract parameters to the same tree of
    shardings, such as `ShardingRules.params`; None puts all on the first device.
    Raises InputError when the path is no model, or a damaged one.
    """
    found = identify(path)
    model = abstract(from_folder(found.assets), options)
    state = nnx.state(model, nnx.Param)
    shardings = None if shardings_for is None else by_path(shardings_for(state))
    if isinstance(found, HuggingFaceFolder):
        params = _from_hugging_face(found.path, shardings, as_dtype(dtype))
    else:
        params = load_params(found, shardings=shardings, dtype=as_dtype(dtype))
    return with_params(model, params)


def with_params(model: QwenVL, params: Mapping[str, jax.Array]) -> QwenVL:
    """A (possibly abstract) model's twin that holds these parameters."""
    graphdef, state = nnx.split(model)
    leaves = [
        (path, variable.replace(params["/".join(str(part) for part in path)]))
        for path, variable in nnx.to_flat_state(state)
    ]
    return nnx.merge(graphdef, nnx.from_flat_state(leaves))


def read_assets_folder(path: str | os.PathLike[str]) -> Path:
    """The folder with config.json, tokenizer and processor files of the model at a path."""
    return identify(path).assets


def _from_hugging_face(
    folder: Path, shardings: Mapping[str, jax.sharding.Sharding] | None, dtype: np.dtype | None
) -> dict[str, jax.Array]:
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    params = {}
    for leaf in open_source(folder, dtype=dtype).leaves:
        sharding = default if shardings is None else shardings[leaf.path]
        possible = jax.dtypes.canonicalize_dtype(leaf.dtype)
        params[leaf.path] = _place(dataclasses.replace(leaf, dtype=possible), sharding)
    return params


def _place(leaf: Leaf, sharding: jax.sharding.Sharding) -> jax.Array:
    """Each device reads its own part; equal parts are read once."""
    read: dict[str, np.ndarray] = {}

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        key = str(index)
        if key not in read:
            read[key] = leaf.read(index)
        return read[key]

    return jax.make_array_from_callback(leaf.shape, sharding, part)
