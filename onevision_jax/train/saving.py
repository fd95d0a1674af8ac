"""Training checkpoints: `checkpoints/STEP/{model, optimizer, progress, data}`, whole or not at all.

`model` is the tree that `checkpoint.store` reads, so `generate` and `convert` take a workdir.
`optimizer` and `progress` (step, RNG) are flat trees by path; `data` is what the input said about
its position, as JSON.
"""

import contextlib
import errno
import fcntl
import gc
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from orbax.checkpoint import v1 as ocp

from onevision_jax.checkpoint.folders import ASSETS, MODEL, STEPS, identify
from onevision_jax.checkpoint.publish import explained, new_folder
from onevision_jax.convert.assets import copy_assets
from onevision_jax.errors import InputError
from onevision_jax.parallel.processes import is_first, wait_for_all
from onevision_jax.train.state import TrainState, all_params

OPTIMIZER, PROGRESS, DATA = "optimizer", "progress", "data"
# A failed save is gone when nothing of it has come back for so long; looked at so often.
_QUIET_SECONDS, _LOOK_SECONDS, _GIVE_UP_SECONDS = 1.0, 0.05, 20.0


class Checkpoints:
    """The checkpoints of one workdir; the newest `keep` stay.

    With several processes all must call everything here, and see the same folder.
    """

    def __init__(self, workdir: Path, keep: int):
        self.folder = workdir / STEPS
        self._saving: tuple[int, Any] | None = None
        self._has_failed = False
        newest: Any = ocp.training.preservation_policies.LatestN(keep)
        with explained(self.folder):
            self._orbax = ocp.training.Checkpointer(
                str(self.folder.absolute()),
                context=_context(),
                preservation_policy=newest,
                cleanup_tmp_directories=True,
            )

    @property
    def latest(self) -> int | None:
        """Step of the newest finished checkpoint."""
        newest = self._orbax.latest
        return None if newest is None else newest.step

    def save(self, step: int, state: TrainState, data: Any) -> None:
        """Starts to save; the state may be given away at once, the disk is written behind.

        data: the position of the input, JSON. Raises InputError when this or the previous save
        finds the disk full or forbidden; finished checkpoints are untouched.
        """
        self.wait()
        trees = {
            MODEL: nnx.to_pure_dict(all_params(state)),
            OPTIMIZER: flatten(state.optimizer),
            PROGRESS: {"step": state.step, "rng": state.rng},
            DATA: {"position": data},
        }
        with self._undone_on_failure(step):
            self._saving = (step, self._orbax.save_checkpointables_async(step, trees))

    def wait(self) -> None:
        """Returns when what is being saved is on disk; raises as `save` does."""
        if self._saving is None:
            return
        (step, response), self._saving = self._saving, None
        with self._undone_on_failure(step):
            response.result()

    def restore(self, step: int, wanted: TrainState) -> tuple[TrainState, Any]:
        """(state, position of the input); wanted: shapes and places, as `create_state` gives them.

        Raises InputError when the checkpoint belongs to another model or other trained parts.
        """
        trees = {
            MODEL: nnx.to_pure_dict(all_params(wanted)),
            OPTIMIZER: flatten(wanted.optimizer),
            PROGRESS: {"step": wanted.step, "rng": wanted.rng},
        }
        path = self.folder / str(step)
        stored = self._orbax.checkpointables_metadata(step).metadata
        for name, what in (
            (MODEL, "another model"),
            (OPTIMIZER, "another optimizer or other frozen parts"),
        ):
            odd = _difference(flatten(stored[name]), flatten(trees[name]))
            if odd:
                raise InputError(
                    f"{path} was written for {what} ({odd}); go on with the settings it was "
                    "written with, or give a new --workdir"
                )
        loaded = self._orbax.load_checkpointables(step, {**trees, DATA: None})
        params = nnx.to_flat_state(all_params(wanted))
        arrays = flatten(loaded[MODEL])
        full = {p: v.replace(arrays["/".join(map(str, p))]) for p, v in params}

        def part(like: Any) -> Any:
            return nnx.from_flat_state([(p, full[p]) for p, _ in nnx.to_flat_state(like)])

        state = TrainState(
            step=loaded[PROGRESS]["step"],
            rng=loaded[PROGRESS]["rng"],
            trainable=part(wanted.trainable),
            frozen=part(wanted.frozen),
            optimizer=jax.tree.unflatten(
                jax.tree.structure(wanted.optimizer), list(_in_order(wanted, loaded))
            ),
        )
        return state, loaded[DATA]["position"]

    def close(self) -> None:
        """Finishes what is being saved."""
        try:
            self.wait()
        finally:
            # After a failed save Orbax raises the same again; it has been said.
            with contextlib.suppress(*((ValueError, OSError) if self._has_failed else ())):
                self._orbax.close()

    @contextlib.contextmanager
    def _undone_on_failure(self, step: int) -> Iterator[None]:
        """Removes what a failed save left, and says in one sentence why it failed."""
        failure = None
        try:
            yield
        except (ValueError, OSError) as error:
            failure = str(error)
        if failure is None:
            return
        # Not raised inside the handler: the error holds arrays whose writers complain when they go.
        self._has_failed = True
        gc.collect()
        remove_for_good(self.folder, f"{step}.orbax-checkpoint-tmp*")
        known = (n for n in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if os.strerror(n) in failure)
        number = next(known, None)
        reason = "the disk is full or its quota used up" if number else failure.split("\n")[0][:200]
        raise InputError(
            f"{self.folder / str(step)} cannot be written: {reason}; the checkpoints before it are "
            "untouched, and the same command goes on from the newest"
        )


def remove_for_good(folder: Path, pattern: str) -> None:
    """Removes what matches, again and again until nothing comes back.

    Orbax reports the first write that fails; its other threads still end their own, and make the
    folder anew for it.
    """
    give_up_at = time.monotonic() + _GIVE_UP_SECONDS
    quiet_until = time.monotonic() + _QUIET_SECONDS
    while time.monotonic() < min(quiet_until, give_up_at):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
            quiet_until = time.monotonic() + _QUIET_SECONDS
        time.sleep(_LOOK_SECONDS)


def flatten(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by path: keys, fields and indices joined by `/`."""
    leaves = jax.tree_util.tree_flatten_with_path(
        jax.tree.map(
            lambda x: x.get_value() if isinstance(x, nnx.Variable) else x,
            tree,
            is_leaf=lambda x: isinstance(x, nnx.Variable),
        )
    )[0]
    return {"/".join(_word(key) for key in path): leaf for path, leaf in leaves}


def prepare_workdir(workdir: Path, initial: str | os.PathLike[str]) -> Path:
    """`workdir/assets`, copied once, by process 0, from the checkpoint that training starts from.

    Raises InputError when the workdir belongs to another model, or is not one for all processes.
    """
    source = identify(initial).assets
    target = workdir / ASSETS
    if is_first() and not target.is_dir():
        with new_folder(target) as new:
            copy_assets(source, new)
    wait_for_all("the assets are there")
    if not target.is_dir():
        raise InputError(
            f"process {jax.process_index()} does not see {target}, which process 0 has made; give "
            "a --workdir on a file system that all processes share"
        )
    if _read(target / "config.json") != _read(source / "config.json"):
        raise InputError(
            f"{target / 'config.json'} describes another model than {source / 'config.json'}; "
            "give a new --workdir, or the checkpoint this one was started from"
        )
    return target


@contextlib.contextmanager
def owned(workdir: Path) -> Iterator[None]:
    """The workdir, made if need be, for this run alone; the lock dies with the process.

    Of several processes the first holds it for all, and the others wait until it does.
    """
    if not is_first():
        wait_for_all("the workdir is ours")
        yield
        return
    with explained(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    handle = os.open(workdir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(f"{workdir} is in use by another run; give another --workdir") from None
    try:
        wait_for_all("the workdir is ours")
        yield
    finally:
        os.close(handle)


def _in_order(wanted: TrainState, loaded: Mapping[str, Any]) -> Iterator[Any]:
    arrays = flatten(loaded[OPTIMIZER])
    for path in flatten(wanted.optimizer):
        yield arrays[path]


def _difference(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first thing that differs between two sets of arrays, or nothing."""
    for word, names in (
        ("missing", wanted.keys() - stored.keys()),
        ("unexpected", stored.keys() - wanted.keys()),
    ):
        if names:
            return f"{len(names)} arrays {word}, such as {min(names)}"
    for name, leaf in wanted.items():
        if tuple(stored[name].shape) != tuple(leaf.shape):
            return f"{name} has shape {list(stored[name].shape)}, expected {list(leaf.shape)}"
    return ""


def _word(key: Any) -> str:
    return str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error})") from None


def _context() -> ocp.Context:
    context = ocp.Context()
    context.array.saving.use_compression = False  # Weights do not compress; zstd takes the time.
    registry = ocp.handlers.local_registry(include_global_registry=True)
    for name in (MODEL, OPTIMIZER, PROGRESS):
        registry.add(ocp.handlers.PyTreeHandler, checkpointable_name=name)
    registry.add(ocp.handlers.JsonHandler, checkpointable_name=DATA)
    context.checkpointables.registry = registry
    return context
