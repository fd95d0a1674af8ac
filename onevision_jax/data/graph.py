"""The pipeline as a Grain graph: numbers -> order -> records -> sequences -> packed rows.

Grain maps and runs workers. Packing is ours, because its rows must not depend on the number of
workers and its state must be small.
"""

import collections
import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import grain
import numpy as np
from absl import flags

from onevision_jax.data.encode import TrainingExample
from onevision_jax.data.record import Record
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.data.shards import ShardPacker, ShardState, ShardView
from onevision_jax.data.source import Rejected, Source
from onevision_jax.data.workers import die_with_parent

Item = TypeVar("Item")
_FOREVER = 2**62  # Places in a run without end.


@dataclasses.dataclass(frozen=True)
class ReadAndEncode(Generic[Item]):
    """The number of a record -> its arrays, or why there are none."""

    source: Source
    encode: Callable[[Record], Item]

    def __call__(self, index: int) -> Item | Rejected:
        try:
            return self.encode(self.source[index])
        except Rejected as rejected:
            return rejected


@dataclasses.dataclass(frozen=True)
class Order:
    """A place in the sequence of all epochs -> the number of a record.

    Grain's own shuffle walks cycles of 2^16 and costs 9 ms a record where there are few of them,
    and its epochs repeat under neighbouring seeds (it adds the two).
    """

    num_records: int
    seed: int | None
    """None keeps the order; else each epoch has its own."""

    def __call__(self, place: int) -> int:
        epoch, within = divmod(place, self.num_records)
        if self.seed is None:
            return within
        return int(_permutation(self.num_records, self.seed, epoch)[within])


@functools.lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The same in every version of NumPy: raw bits are promised to stay, shuffles are not."""
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(count)
    return np.argsort(bits, kind="stable")


def ordered(
    num_records: int, *, shuffle: bool, seed: int, num_epochs: int | None
) -> "grain.MapDataset[int]":
    """Numbers of records in the order of all epochs, each epoch shuffled anew."""
    places = grain.MapDataset.range(_FOREVER if num_epochs is None else num_records * num_epochs)
    return places.map(Order(num_records, seed if shuffle else None))


def build(
    step: ReadAndEncode[TrainingExample],
    config: PipelineConfig,
    states: Mapping[int, Mapping[str, Any]],
) -> grain.IterDataset:
    """The graph of one process, whose shards begin at `states`."""
    num_records = len(step.source)
    items = ordered(
        num_records, shuffle=config.shuffle, seed=config.seed, num_epochs=config.num_epochs
    ).map(step)
    graph = PackShards(items, config, num_records, states)
    if config.num_workers == 0:
        return graph
    if not flags.FLAGS.is_parsed():  # Grain's workers read absl flags, which are not ours to parse.
        flags.FLAGS.mark_as_parsed()
    options = grain.multiprocessing.MultiprocessingOptions(
        num_workers=config.num_workers, per_worker_buffer_size=2
    )
    return graph.mp_prefetch(options, worker_init_fn=_start_worker)


def _start_worker(index: int, count: int) -> None:
    """Grain's workers by themselves outlive a process that is killed, for ever."""
    del index, count
    die_with_parent()


class PackShards(grain.IterDataset):
    """Groups of rows, shard after shard in turn; a group without rows is the end of its shard.

    An element is {"shard", "rows", "state", "counts"}: the rows a shard gives to one batch, the
    shard's state after them, and its counts (both JSON text). State travels with data, so neither
    workers nor read-ahead enter into what is saved.
    """

    def __init__(
        self,
        items: grain.MapDataset,
        config: PipelineConfig,
        patience: int,
        states: Mapping[int, Mapping[str, Any]],
    ):
        super().__init__(items)
        self._items = items
        self._config = config
        self._patience = patience
        self._states = list(states.items())

    def set_slice(self, sl: slice, sequential_slice: bool = False) -> None:
        """Grain's way to share work among processes: a worker takes every n-th shard."""
        del sequential_slice
        self._states = self._states[sl]

    def __iter__(self) -> grain.DatasetIterator:
        return _PackIterator(self._items, self._config, self._patience, self._states)


class _PackIterator(grain.DatasetIterator):
    def __init__(
        self,
        items: grain.MapDataset,
        config: PipelineConfig,
        patience: int,
        states: Sequence[tuple[int, Mapping[str, Any]]],
    ):
        super().__init__()
        self._items = items
        self._config = config
        self._patience = patience
        self._turns = collections.deque(states)
        self._packers: dict[int, ShardPacker] = {}

    def __next__(self) -> dict[str, Any]:
        if not self._turns:
            raise StopIteration
        shard, state = self._turns.popleft()
        if shard not in self._packers:
            view = ShardView(self._items, shard, self._config.num_shards)
            self._packers[shard] = ShardPacker(
                view, self._config.packing, ShardState.from_json(state), self._patience
            )
        packer = self._packers[shard]
        per_shard = self._config.rows_per_batch // self._config.num_shards
        rows = list(itertools.islice(packer, per_shard))
        if rows:
            self._turns.append((shard, state))
        else:
            del self._packers[shard]
        counts = {"examples": packer.examples, "dropped": packer.dropped.to_json()}
        return {
            "shard": shard,
            "rows": rows,
            "state": json.dumps(packer.state().to_json()),
            "counts": json.dumps(counts),
        }

    def get_state(self) -> dict[str, Any]:
        """Nothing: the state travels with the elements, and a resumed graph starts from it."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        raise NotImplementedError("start a new graph from the states of the shards")
