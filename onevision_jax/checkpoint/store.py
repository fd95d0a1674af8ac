"""Parameters on disk: an Orbax tree written leaf by leaf and restored straight onto its devices.

Orbax would hold a copy of everything it is given in one call. Here every large parameter is a
partial save of its own, so a writer needs memory for the one in hand; `finalize` then joins the
pieces by reference, without moving their bytes. Readers take one large parameter at a time too.

In memory a set of parameters is a flat mapping by path, "decoder/blocks/attn/q/kernel"; on disk
it is the nested tree of `nnx.state(model, nnx.Param)`, which training checkpoints hold as well.
"""

import contextlib
import ctypes
import dataclasses
import errno
import gc
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from orbax.checkpoint import v1 as ocp

from onevision_jax.checkpoint.folders import MODEL, Checkpoint
from onevision_jax.errors import InputError
from onevision_jax.model import QwenVL, abstract, from_folder

Array = np.ndarray | jax.Array
SMALL_BYTES = 32 * 2**20  # parameters below are saved and restored several at a time
_CHUNK_BYTES = 64 * 2**20  # on disk, so that a device reads little beyond its own part
_FILE_BYTES = 512 * 2**20  # Orbax's default of 2 GiB is gathered in memory first
_MAX_NAMED = 3
_MAX_REASON = 120  # characters of what Orbax says
_SETTLE_SECONDS = 0.2  # after an error, for TensorStore's threads to let go of their tasks


class ParamsWriter:
    """Writes a tree of parameters in pieces; nothing counts until `finish`."""

    def __init__(self, folder: Path):
        """folder: does not exist yet, its parent does."""
        self._folder = folder
        self._pending: dict[str, Array] = {}

    def write(self, path: str, value: Array) -> None:
        """Saves one parameter. Its memory may be reused once it is large or `flush` was called."""
        self._pending[path] = value
        if sum(array.nbytes for array in self._pending.values()) >= SMALL_BYTES:
            self.flush()

    def flush(self) -> None:
        """Saves what waits; raises OSError when the disk refuses."""
        if not self._pending:
            return
        tree = _nest(self._pending)
        with _saving():
            _, failure = _attempt(lambda: ocp.partial.save(str(self._folder.absolute()), tree))
        if failure is not None:
            raise _as_os_error(failure, self._folder)
        self._pending = {}
        release_memory()

    def finish(self) -> None:
        """Joins the pieces: `folder / "model"` then holds the tree."""
        self.flush()
        ocp.partial.finalize(str(self._folder.absolute()))
        # Orbax calls a tree that was saved in pieces "state"; ours has the name it has in training.
        (self._folder / "state").rename(self._folder / MODEL)


def save_params(folder: Path, params: Mapping[str, Array]) -> None:
    """Saves parameters as the checkpoint tree `folder / "model"`; the folder must not exist."""
    writer = ParamsWriter(folder)
    for path, value in params.items():
        writer.write(path, value)
    writer.finish()


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of an `nnx.State` by path; of a model, its parameters."""
    state = nnx.state(tree, nnx.Param) if isinstance(tree, nnx.Module) else tree
    return {
        "/".join(str(part) for part in path): leaf.get_value()
        if isinstance(leaf, nnx.Variable)
        else leaf
        for path, leaf in nnx.to_flat_state(state)
    }


def stored_params(checkpoint: Checkpoint) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of every parameter of a checkpoint, without reading any."""
    try:
        with _loading():
            tree = ocp.metadata(str(checkpoint.path.absolute()), checkpointable_name=MODEL).metadata
        return {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
            for path, leaf in _flatten(tree).items()
        }
    except Exception as error:  # whatever Orbax raises, or hands out that is no tree of arrays
        reason = _first_line(str(error))
        raise InputError(
            f"{checkpoint.path / MODEL} cannot be read, it may be damaged ({reason})"
        ) from error


def check_params(checkpoint: Checkpoint, model: QwenVL) -> dict[str, jax.ShapeDtypeStruct]:
    """`stored_params`, checked against the parameters of a (possibly abstract) model.

    Raises InputError naming parameters that are missing, unexpected or of another shape.
    """
    stored, wanted = stored_params(checkpoint), by_path(model)
    odd = [
        f"{len(names)} {word} ({', '.join(sorted(names)[:_MAX_NAMED])})"
        for word, names in (
            ("missing", wanted.keys() - stored.keys()),
            ("unexpected", stored.keys() - wanted.keys()),
        )
        if names
    ]
    if odd:
        raise InputError(
            f"{checkpoint.path} does not hold the parameters of the model that "
            f"{checkpoint.assets / 'config.json'} describes: {' and '.join(odd)}"
        )
    for path, leaf in stored.items():
        if leaf.shape != wanted[path].shape:
            raise InputError(
                f"{checkpoint.path}: {path} has shape {list(leaf.shape)}, its config.json asks for "
                f"{list(wanted[path].shape)}"
            )
        if not jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating):
            raise InputError(
                f"{checkpoint.path}: {path} has dtype {leaf.dtype}, a floating dtype is expected"
            )
    return stored


def load_params(
    checkpoint: Checkpoint,
    *,
    shardings: Mapping[str, jax.sharding.Sharding] | None = None,
    dtype: Any = None,
) -> dict[str, jax.Array]:
    """Every parameter by path, read straight onto the devices its sharding names.

    shardings: by path; None puts all on the first device. dtype: None keeps the stored one.
    Raises InputError when checkpoint and config.json do not agree.
    """
    stored = check_params(checkpoint, abstract(from_folder(checkpoint.assets)))
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {
        path: jax.ShapeDtypeStruct(
            leaf.shape,
            jax.dtypes.canonicalize_dtype(dtype or leaf.dtype),
            sharding=default if shardings is None else shardings[path],
        )
        for path, leaf in stored.items()
    }
    loaded: dict[str, jax.Array] = {}
    for group in in_groups(wanted):
        loaded |= _load(checkpoint, {path: wanted[path] for path in group})
        gc.collect()  # Orbax's reader holds its arrays in reference cycles.
    return loaded


def load_arrays(checkpoint: Checkpoint, paths: Iterable[str]) -> dict[str, np.ndarray]:
    """Some parameters as numpy arrays in their stored dtypes."""
    return _load(checkpoint, dict.fromkeys(paths, np.ndarray))


def in_groups(leaves: Mapping[str, Any]) -> Iterator[list[str]]:
    """The paths, small leaves together, each large one alone."""
    group: list[str] = []
    size = 0
    for path, leaf in leaves.items():
        group.append(path)
        size += math.prod(leaf.shape) * leaf.dtype.itemsize
        if size >= SMALL_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def release_memory() -> None:
    """Hands freed memory back to the system.

    TensorStore's buffers are freed into glibc's arenas, which keep them: without this, writing n
    parameters one after the other needs nearly the memory of writing them together.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _load(checkpoint: Checkpoint, wanted: Mapping[str, Any]) -> dict[str, Any]:
    # Names were checked before: Orbax fills a name that is not there with zeros.
    path, tree = str(checkpoint.path.absolute()), _nest(wanted)
    with _loading():
        loaded, failure = _attempt(lambda: ocp.load(path, tree, checkpointable_name=MODEL))
    if failure is not None:
        raise InputError(
            f"{checkpoint.path / MODEL} cannot be read, it may be damaged ({_first_line(failure)})"
        )
    return _flatten(loaded)


def _attempt(call: Callable[[], Any]) -> tuple[Any, str | None]:
    """What the call returns, or else what Orbax said.

    After an error the other arrays' tasks complain when they are collected. That happens here, so
    the error must not be held: no exception is raised inside its handler.
    """
    try:
        return call(), None
    except (ValueError, OSError, KeyError) as error:
        failure = str(error)
    time.sleep(_SETTLE_SECONDS)
    gc.collect()
    return None, failure


def _as_os_error(failure: str, folder: Path) -> OSError:
    """The system's error that TensorStore quotes."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
        if os.strerror(number) in failure:
            return OSError(number, os.strerror(number), str(folder))
    return OSError(errno.EIO, _first_line(failure), str(folder))


@dataclasses.dataclass(frozen=True)
class _LateReports:
    """An unraisable hook that drops what TensorStore's threads tell a loop closed by a failure.

    Orbax raises the first error and closes its event loop; every other array of the call would
    then print a traceback of its own. Everything else goes on to the hook before.
    """

    previous: Callable[[Any], Any]

    def __call__(self, unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            self.previous(unraisable)

    @classmethod
    def drop(cls) -> None:
        if not isinstance(sys.unraisablehook, cls):
            sys.unraisablehook = cls(sys.unraisablehook)


def _saving() -> ocp.Context:
    _LateReports.drop()
    context = ocp.Context()
    context.memory.deepcopy_host_arrays = False  # The caller waits, so nothing changes meanwhile.
    context.array.saving.use_compression = False  # Weights do not compress; zstd takes the time.
    context.array.saving.ocdbt_target_data_file_size = _FILE_BYTES
    context.array.saving.storage_options.chunk_byte_size = _CHUNK_BYTES
    return context


def _loading() -> ocp.Context:
    _LateReports.drop()
    context = ocp.Context()
    context.pytree.loading.partial_load = True
    # Says what `model` is, which the metadata of a tree saved in pieces does not.
    registry = ocp.handlers.local_registry(include_global_registry=True)
    registry.add(ocp.handlers.PyTreeHandler, checkpointable_name=MODEL)
    context.checkpointables.registry = registry
    return context


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = leaf
    return tree


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _first_line(text: str) -> str:
    line = text.strip().split("\n")[0] or "no reason given"
    return line if len(line) <= _MAX_REASON else line[: _MAX_REASON - 1] + "…"
