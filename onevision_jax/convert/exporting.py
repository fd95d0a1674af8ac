"""Checkpoint -> Hugging Face folder, one parameter at a time.

Each parameter is read alone, turned layer by layer and written to its places in the shards, so
memory holds one parameter and one layer. Tensors stand in the files in transformers' order.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from onevision_jax.checkpoint.folders import Checkpoint, resolve
from onevision_jax.checkpoint.publish import check_space, new_folder
from onevision_jax.checkpoint.store import check_params, in_groups, load_arrays, release_memory
from onevision_jax.convert import keymap
from onevision_jax.convert.assets import copy_assets
from onevision_jax.convert.moving import as_dtype, cast, contiguous
from onevision_jax.convert.progress import Progress, Report, silent
from onevision_jax.convert.shards import ShardWriter, Spec
from onevision_jax.errors import InputError
from onevision_jax.model import QwenVLConfig, abstract, from_folder

MAX_SHARD_BYTES = 5 * 10**9  # what transformers 4.57 writes


def to_hf(
    checkpoint: str | os.PathLike[str],
    hf_dir: str | os.PathLike[str],
    *,
    layout: str = "hub",
    dtype: Any = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    force: bool = False,
    progress: Progress = silent,
) -> Report:
    """Writes a folder that transformers loads: weights and the files beside them.

    checkpoint: a checkpoint or a workdir. layout: of the names, "hub" or "transformers". dtype: of
    the weights, None keeps the stored ones. A tied head is left out. force: replace a Hugging Face
    folder that is there. Raises InputError when the checkpoint is damaged or the target refused.
    """
    start = time.monotonic()
    if layout not in keymap.LAYOUTS:
        raise InputError(f"layout is {layout!r}, expected one of {', '.join(keymap.LAYOUTS)}")
    if max_shard_bytes < 1:
        raise InputError(f"max_shard_bytes is {max_shard_bytes}, expected a positive number")
    source = resolve(checkpoint)
    config = from_folder(source.assets)
    stored = check_params(source, abstract(config))
    specs = _specs(config, layout, as_dtype(dtype), stored)
    total = sum(spec.nbytes for spec in specs.values())
    target = Path(hf_dir)
    with new_folder(target, replaceable=_is_hugging_face if force else None) as new:
        check_space(target, total)
        with ShardWriter(new, specs, max_shard_bytes) as writer:
            done = 0
            for name, values in _tensors(source, config, layout, stored):
                writer.write(name, cast(values, specs[name].dtype, name))
                done += specs[name].nbytes
                progress(done, total, name)
        copy_assets(source.assets, new)  # last: without config.json the folder is no model
    return Report(
        tensors=len(specs),
        parameters=sum(spec.parameters for spec in specs.values()),
        bytes=total,
        seconds=time.monotonic() - start,
    )


def _specs(
    config: QwenVLConfig,
    layout: str,
    dtype: np.dtype | None,
    stored: Mapping[str, jax.ShapeDtypeStruct],
) -> dict[str, Spec]:
    """Every tensor to write, in transformers' order."""
    dtypes = {
        entry.name(layout, layer): dtype or stored[entry.path].dtype
        for entry in keymap.entries(config)
        for layer in range(entry.num_layers(config))
    }
    shapes = keymap.hf_shapes(config, layout)
    return {name: Spec(shape, dtypes[name]) for name, shape in shapes.items()}


def _tensors(
    source: Checkpoint,
    config: QwenVLConfig,
    layout: str,
    stored: Mapping[str, jax.ShapeDtypeStruct],
) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor by name, parameter after parameter; only one large parameter is held."""
    entries = {entry.path: entry for entry in keymap.entries(config)}
    for group in in_groups(stored):
        yield from _turned(source, [entries[path] for path in group], config, layout)
        release_memory()  # the group's arrays went with the call


def _turned(
    source: Checkpoint, entries: Sequence[keymap.Entry], config: QwenVLConfig, layout: str
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of some parameters, read together."""
    arrays = load_arrays(source, [entry.path for entry in entries])
    for entry in entries:
        for layer in range(entry.num_layers(config)):
            values = arrays[entry.path][layer] if entry.stacked else arrays[entry.path]
            yield entry.name(layout, layer), contiguous(entry.to_hf(values, config))


def _is_hugging_face(path: Path) -> bool:
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))
