"""Hugging Face folder -> checkpoint, one parameter at a time.

Source tensors are memory-mapped; a stacked parameter is assembled layer by layer in a scratch file
that is memory-mapped too, and Orbax saves it from there. Anonymous memory is what Orbax buffers for
one parameter, about its size. The scratch file has no name, so nothing of it outlives the process.
"""

import mmap
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from onevision_jax.checkpoint.folders import ASSETS, MODEL, is_tree
from onevision_jax.checkpoint.publish import check_space, new_folder, reserve
from onevision_jax.checkpoint.store import SMALL_BYTES, ParamsWriter
from onevision_jax.convert.assets import copy_assets
from onevision_jax.convert.moving import as_dtype
from onevision_jax.convert.progress import Progress, Report, silent
from onevision_jax.convert.source import Leaf, open_source


def from_hf(
    hf_dir: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    *,
    dtype: Any = None,
    force: bool = False,
    progress: Progress = silent,
) -> Report:
    """Writes `checkpoint/model` and `checkpoint/assets`, whole or not at all.

    dtype: of the parameters, None keeps the stored ones. force: replace a checkpoint that is there.
    Raises InputError when the folder cannot be read as a Qwen2.5-VL or the target not written.
    """
    start = time.monotonic()
    source = open_source(hf_dir, dtype=as_dtype(dtype))
    target = Path(checkpoint)
    total = sum(leaf.nbytes for leaf in source.leaves)
    largest = max(leaf.nbytes for leaf in source.leaves)
    with new_folder(target, replaceable=_is_checkpoint if force else None) as new:
        check_space(target, total + largest)
        done = 0
        writer = ParamsWriter(new.parent / "params")
        with tempfile.TemporaryFile(dir=new.parent) as scratch:
            for leaf in source.leaves:
                writer.write(leaf.path, _assemble(leaf, scratch.fileno()))
                done += leaf.nbytes
                progress(done, total, leaf.path)
            writer.finish()
        new.rmdir()
        (new.parent / "params").rename(new)
        copy_assets(source.folder, new / ASSETS)
    return Report(
        tensors=len(source.tensors),
        parameters=sum(int(np.prod(leaf.shape)) for leaf in source.leaves),
        bytes=total,
        seconds=time.monotonic() - start,
        notes=source.notes,
    )


def _assemble(leaf: Leaf, scratch: int) -> np.ndarray:
    """The parameter: small ones in memory, large ones in the scratch file."""
    if leaf.nbytes < SMALL_BYTES:
        return leaf.read()
    os.ftruncate(scratch, 0)
    reserve(scratch, leaf.nbytes)
    raw = np.frombuffer(mmap.mmap(scratch, leaf.nbytes), np.uint8)
    array = raw.view(leaf.dtype).reshape(leaf.shape)
    leaf.read_into(array)
    return array


def _is_checkpoint(path: Path) -> bool:
    return is_tree(path / MODEL) and (path / ASSETS).is_dir()
