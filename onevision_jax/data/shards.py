"""One virtual shard: its examples in order, packed into rows, with a state that is a few numbers.

The examples of all epochs form one sequence; shard v of V owns places v, v + V, v + 2V, ... of it,
and packs them without looking at other shards. So the rows of a shard depend neither on how many
processes share the work nor on how many workers a process has.

The state holds places, never arrays: the window being emitted is packed again when a run resumes.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from onevision_jax.data.encode import TrainingExample
from onevision_jax.data.packing import Packing, Row, join
from onevision_jax.data.source import Rejected, Tally
from onevision_jax.errors import InputError

Item = TypeVar("Item")

STATE_VERSION = 2  # 1: rows were filled by another rule, so its states name other rows.
_GOLDEN = 0x9E3779B97F4A7C15
_PATIENCE = 1000  # A data set smaller than this is read this often before it is called unusable.


@dataclasses.dataclass(frozen=True)
class ShardState:
    """Where a shard stands."""

    next: int = 0
    """First place, within the shard, that no window has taken."""
    carry: tuple[int, ...] = ()
    """Places taken before and still unused, which go first in the window."""
    rows: int = 0
    """Rows of the window that are already out."""
    examples: int = 0
    """Examples emitted before the window."""
    dropped: Tally = dataclasses.field(default_factory=Tally)
    """Records left out before the window."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {
            "next": self.next,
            "carry": list(self.carry),
            "rows": self.rows,
            "examples": self.examples,
            "dropped": self.dropped.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ShardState":
        """The inverse of `to_json`."""
        return cls(
            next=int(value["next"]),
            carry=tuple(int(place) for place in value["carry"]),
            rows=int(value["rows"]),
            examples=int(value["examples"]),
            dropped=Tally(dict(value["dropped"]["counts"]), dict(value["dropped"]["first"])),
        )


class Items(Protocol):
    """What a view looks into: a list, or a Grain data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Any: ...


@dataclasses.dataclass(frozen=True)
class ShardView(Generic[Item]):
    """The items of one shard: every `num_shards`-th of a random-access sequence."""

    items: Items
    shard: int
    num_shards: int

    def __len__(self) -> int:
        return max(0, -(-(len(self.items) - self.shard) // self.num_shards))

    def __getitem__(self, place: int) -> Item | Rejected:
        return self.items[self.shard + self.num_shards * place]

    def usable(self, place: int, dropped: Tally, patience: int) -> Iterator[tuple[int, Item]]:
        """(place, item) from `place` on; those left out are counted in `dropped`.

        Raises InputError after max(patience, 1000) items in a row of which none is usable.
        """
        failures = 0
        for current in range(place, len(self)):
            item = self[current]
            if not isinstance(item, Rejected):
                failures = 0
                yield current, item
                continue
            dropped.add(item)
            failures += 1
            if failures >= max(patience, _PATIENCE):
                raise InputError(
                    f"the last {failures} records read are all unusable: {dropped}; check the data"
                )


class ShardPacker:
    """Iterates over the rows of one shard."""

    def __init__(
        self,
        view: ShardView[TrainingExample],
        packing: Packing,
        state: ShardState,
        patience: int,
    ):
        """patience: usable records must turn up within so many (one epoch)."""
        self._view = view
        self._packing = packing
        self._patience = patience
        self._start = state
        self._load([(place, self._reread(place)) for place in state.carry])
        if state.rows > len(self._rows):
            raise InputError(
                f"the data state says that {state.rows} rows of a window are out, but it has only "
                f"{len(self._rows)}; the data changed since it was saved: restore them"
            )
        for _ in range(state.rows):
            self._take()

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        while self._emitted == len(self._rows):
            if self._at_end:
                raise StopIteration
            self._start = self.state()
            self._load(self._left)
        return join(self._take())

    def state(self) -> ShardState:
        """The state after the row that came out last."""
        if self._emitted < len(self._rows) or self._at_end:
            return dataclasses.replace(self._start, rows=self._emitted)
        return ShardState(
            next=self._following,
            carry=tuple(place for place, _ in self._left),
            examples=self.examples,
            dropped=self.dropped,
        )

    def _reread(self, place: int) -> TrainingExample:
        item = self._view[place]
        if isinstance(item, Rejected):
            raise InputError(
                f"a record that was usable before is not any more ({item}); the data changed since "
                "this run was saved: restore them or start afresh"
            )
        return item

    def _load(self, carried: list[tuple[int, TrainingExample]]) -> None:
        """Packs the window that begins at `self._start`; it may turn out to fill no row."""
        self.dropped = self._start.dropped.copy()
        self.examples = self._start.examples
        taken = list(carried)
        for item in self._view.usable(self._start.next, self.dropped, self._patience):
            taken.append(item)
            if len(taken) - len(carried) == self._packing.window:
                break
        self._at_end = len(taken) - len(carried) < self._packing.window
        sizes = [(len(example.tokens), len(example.patches)) for _, example in taken]
        rows = self._packing.arrange(sizes, num_first=len(carried))
        last = [] if self._at_end else rows.pop()
        # Packed by size, so in this order batches would run from long examples to short ones.
        rows.sort(key=lambda row: min(taken[i][0] for i in row) * _GOLDEN % 2**64)
        self._rows = [[taken[i][1] for i in row] for row in rows]
        self._emitted = 0
        self._following = taken[-1][0] + 1 if taken else self._start.next
        self._left = [taken[i] for i in last]

    def _take(self) -> list[TrainingExample]:
        examples = self._rows[self._emitted]
        self._rows[self._emitted] = []  # Its arrays are needed no longer.
        self._emitted += 1
        self.examples += len(examples)
        return examples


def own_shards(num_shards: int, process_index: int, process_count: int) -> list[int]:
    """The shards of one process: those congruent to its number.

    Raises InputError when the processes cannot share the shards evenly.
    """
    if process_count < 1 or num_shards % process_count:
        raise InputError(
            f"{num_shards} data shards cannot be shared by {process_count} processes; "
            "make num_shards a multiple of the number of processes"
        )
    if not 0 <= process_index < process_count:
        raise InputError(f"process {process_index} of {process_count} does not exist")
    return list(range(process_index, num_shards, process_count))


def saved_shards(
    state: Mapping[str, Any], settings: Mapping[str, Any], shards: Sequence[int]
) -> dict[int, Any]:
    """What a saved state says of these shards.

    Raises InputError when it was saved with other data or settings, or lacks a shard.
    """
    if not isinstance(state, Mapping) or state.get("version") != STATE_VERSION:
        raise InputError(
            "the data state was not written by this version of the pipeline; start a new workdir"
        )
    ours = json.loads(json.dumps(settings))
    for name in ours:
        if state["settings"].get(name) != ours[name]:
            raise InputError(
                f"the data state was saved with {name} = {state['settings'].get(name)!r}, but now "
                f"it is {ours[name]!r}; set it back, or start a new workdir"
            )
    missing = [shard for shard in shards if str(shard) not in state["shards"]]
    if missing:
        raise InputError(
            f"the data state lacks shards {missing}; merge the states of all processes first"
        )
    return {shard: state["shards"][str(shard)] for shard in shards}


def merge_states(states: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The states of all processes at one moment, as one that any number of processes can use."""
    states = list(states)
    if not states or any(
        (state["settings"], state["batches"]) != (states[0]["settings"], states[0]["batches"])
        for state in states
    ):
        raise InputError("data states of different runs or moments cannot be merged")
    return {**states[0], "shards": {k: v for state in states for k, v in state["shards"].items()}}
