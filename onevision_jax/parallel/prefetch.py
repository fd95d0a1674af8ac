"""Batches from the host to the devices, a few ahead, with the data state of the one in use.

The transfer of the next batches is started before the step that needs them, so it runs while the
devices compute. What is saved is the state after the batch handed out last, not after those already
fetched: a run that resumes from it skips nothing.

With several processes each brings its own rows, and all must bring the same shape: they agree on
the patch budget of every batch, and one whose shards are done brings empty rows until all are.
"""

import collections
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils

from onevision_jax.data.packing import pad_patches
from onevision_jax.errors import InputError
from onevision_jax.parallel.rules import BATCH_AXES, ShardingRules
from onevision_jax.types import Batch


class HostBatches(Protocol):
    """What is read from: `onevision_jax.data.pipeline.BatchIterator`."""

    def __iter__(self) -> Any: ...

    def __next__(self) -> Mapping[str, np.ndarray]: ...

    def empty(self) -> Mapping[str, np.ndarray]: ...

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: Mapping[str, Any], /) -> None: ...


class Prefetch:
    """Iterates over batches on the mesh."""

    def __init__(self, batches: HostBatches, rules: ShardingRules, *, depth: int = 2):
        """depth: batches on the devices besides the one in use (each takes their memory)."""
        if depth < 1:
            raise InputError(f"prefetch depth is {depth}; give 1 or more")
        self._batches = batches
        self._rules = rules
        self._depth = depth
        self._queue: collections.deque[tuple[Batch, dict[str, Any]]] = collections.deque()
        self._state = batches.get_state()
        self._at_end = False

    def __iter__(self) -> "Prefetch":
        return self

    def __next__(self) -> Batch:
        if not self._queue:
            self._fetch()
        if not self._queue:
            raise StopIteration
        batch, self._state = self._queue.popleft()
        while len(self._queue) < self._depth and not self._at_end:
            self._fetch()
        return batch

    def get_state(self) -> dict[str, Any]:
        """The data state after the batch handed out last."""
        return self._state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on behind the batch of a state; what was fetched ahead is thrown away."""
        self._queue.clear()
        self._batches.set_state(state)
        self._state = self._batches.get_state()
        self._at_end = False

    def _fetch(self) -> None:
        arrays = next(self._batches, None)
        arrays, self._at_end = agree(arrays, self._batches)
        if not self._at_end:
            self._queue.append((to_devices(arrays, self._rules), self._batches.get_state()))


def agree(
    arrays: Mapping[str, np.ndarray] | None, batches: HostBatches
) -> tuple[Mapping[str, np.ndarray], bool]:
    """The batch of this process in the shape that all processes use, and whether all are done.

    A collective when there is more than one process: all must call it equally often.
    """
    if jax.process_count() == 1:
        return arrays or {}, arrays is None
    mine = -1 if arrays is None else arrays["patches"].shape[1]
    most = int(np.max(multihost_utils.process_allgather(np.int32(mine))))
    if most < 0:
        return {}, True
    return pad_patches(batches.empty() if arrays is None else arrays, most), False


def gather_states(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The data states of all processes, on each of them; `merge_states` makes them one to save.

    A collective when there is more than one process.
    """
    if jax.process_count() == 1:
        return [dict(state)]
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(text)))
    padded = np.zeros(int(np.max(lengths)), np.uint8)
    padded[: len(text)] = text
    texts = np.asarray(multihost_utils.process_allgather(padded))
    return [json.loads(bytes(row[:length])) for row, length in zip(texts, lengths, strict=True)]


def to_devices(arrays: Mapping[str, np.ndarray], rules: ShardingRules) -> Batch:
    """A batch on the mesh, from the rows that each process holds of it.

    Raises InputError when the rows do not divide over the mesh.
    """
    _, count = data_process(rules)
    whole: dict[str, Any] = {
        name: jax.ShapeDtypeStruct(_whole(name, array.shape, count), array.dtype)
        for name, array in arrays.items()
    }
    shardings = vars(rules.batch(Batch(**whole)))
    return Batch(
        **{
            name: jax.make_array_from_process_local_data(shardings[name], array, whole[name].shape)
            for name, array in arrays.items()
        }
    )


def data_process(rules: ShardingRules, process: int | None = None) -> tuple[int, int]:
    """(index, count) of this process among those that read different rows.

    Usually (jax.process_index(), jax.process_count()); processes whose devices differ only along
    axes that do not split rows read the same ones. Pass it to `Pipeline.batches`.

    Raises InputError when the rows of processes overlap in part.
    """
    process = jax.process_index() if process is None else process
    rows = rules.rows_multiple()
    places = rules.sharding(("batch",), (rows,)).devices_indices_map((rows,))
    rows_of: dict[int, set[int]] = {}
    for device, (here,) in places.items():
        rows_of.setdefault(device.process_index, set()).update(range(*here.indices(rows)))
    groups = sorted({tuple(sorted(held)) for held in rows_of.values()})
    if sum(len(group) for group in groups) != rows:
        raise InputError(
            "the mesh gives processes batch rows that overlap in part; order its devices so that "
            "each process holds whole blocks of the fsdp axis"
        )
    return groups.index(tuple(sorted(rows_of[process]))), len(groups)


def _whole(name: str, shape: Sequence[int], count: int) -> tuple[int, ...]:
    """The shape over all processes."""
    axis = BATCH_AXES.get(name, ("batch",)).index("batch")
    return (*shape[:axis], shape[axis] * count, *shape[axis + 1 :])
