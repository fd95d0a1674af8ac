"""Records -> packed batches: source, order, encode, pack, batch, as one printable value.

Letters: B rows of a batch over all processes, V virtual shards.

Row r of a batch comes from shard r mod V, and process p of n owns the shards and rows congruent to
p modulo n. Shards never look at each other, so every n that divides V sees the same batches:
`rows[p::n]` of the one-process batch are process p's. Only the padding of patches may differ, since
each process pads to its own fullest row; `parallel.prefetch` makes processes agree.

The state is that of the batches handed out, a few numbers for each shard: it may be saved at any
moment, and a run that starts from it yields the same batches byte for byte.
"""

import collections
import contextlib
import dataclasses
import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onevision_jax.data.encode import Encode
from onevision_jax.data.graph import ReadAndEncode, build
from onevision_jax.data.packing import Row, stack
from onevision_jax.data.prompts import PromptConfig, PromptIterator
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.data.shards import STATE_VERSION, ShardState, own_shards, saved_shards
from onevision_jax.data.source import Source, Tally
from onevision_jax.errors import InputError
from onevision_jax.processor import Processor

NUM_CHANNELS = 3
Batch = dict[str, np.ndarray]
"""Arrays named as the fields of `onevision_jax.types.Batch`, targets and loss_weights included."""


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """The steps from records to batches."""

    source: Source
    processor: Processor = dataclasses.field(repr=False)
    config: PipelineConfig = dataclasses.field(default_factory=PipelineConfig)

    def __post_init__(self) -> None:
        if len(self.source) == 0:
            raise InputError(f"{self.source} has no records; give a data set that is not empty")

    def batches(
        self,
        *,
        process_index: int = 0,
        process_count: int = 1,
        state: Mapping[str, Any] | None = None,
    ) -> "BatchIterator":
        """This process's rows of every batch; from `state` on, if given."""
        return BatchIterator(self, process_index, process_count, state)

    def prompts(
        self,
        *,
        shuffle: bool = False,
        num_epochs: int | None = 1,
        process_index: int = 0,
        process_count: int = 1,
        state: Mapping[str, Any] | None = None,
    ) -> PromptIterator:
        """The same records as questions without answers, one at a time: for RL and evaluation."""
        config = PromptConfig(
            target=self.config.target,
            max_tokens=self.config.packing.tokens_per_row,
            max_patches=self.config.packing.patches_per_row,
            num_shards=self.config.num_shards,
            shuffle=shuffle,
            seed=self.config.seed,
            num_epochs=num_epochs,
        )
        return PromptIterator(
            self.source,
            self.processor,
            config,
            process_index=process_index,
            process_count=process_count,
            state=state,
        )

    @property
    def encode(self) -> Encode:
        """The step from a record to a sequence."""
        packing = self.config.packing
        return Encode(
            processor=self.processor,
            target=self.config.target,
            max_tokens=packing.tokens_per_row,
            max_patches=packing.patches_per_row,
        )

    def shapes(self) -> list[tuple[int, int, int]]:
        """(rows, tokens, patches) of every batch there can be: what a step compiles at most."""
        config = self.config
        return [
            (config.rows_per_batch, config.packing.tokens_per_row, patches)
            for patches in config.packing.patch_budgets
        ]

    def settings(self) -> dict[str, Any]:
        """What decides which example lies where; a state fits only the same settings."""
        config, image = self.config, self.processor.config
        return {
            "source": dict(self.source.fingerprint()),
            "target": dataclasses.asdict(config.target),
            "pixels": [image.min_pixels, image.max_pixels],
            "tokens_per_row": config.packing.tokens_per_row,
            "patches_per_row": config.packing.patches_per_row,
            "window": config.packing.window,
            "rows_per_batch": config.rows_per_batch,
            "num_shards": config.num_shards,
            "shuffle": config.shuffle,
            "seed": config.seed,
            "num_epochs": config.num_epochs,
        }

    def __str__(self) -> str:
        config, packing = self.config, self.config.packing
        epochs = "for ever" if config.num_epochs is None else f"{config.num_epochs} times"
        order = f"shuffled (seed {config.seed})" if config.shuffle else "in order"
        steps = [
            f"source  {self.source}: {len(self.source)} records",
            f"order   {order}, {epochs}, {config.num_shards} shards",
            f"encode  {self.encode}",
            f"pack    {packing}",
            f"batch   {config.rows_per_batch} rows, shapes {self.shapes()}",
        ]
        return "\n".join(steps)


class BatchIterator(Iterator[Batch]):
    """Batches of one process, with the state of what it handed out."""

    def __init__(
        self,
        pipeline: Pipeline,
        process_index: int,
        process_count: int,
        state: Mapping[str, Any] | None,
    ):
        config = pipeline.config
        self._shards = own_shards(config.num_shards, process_index, process_count)
        self._pipeline = pipeline
        if config.num_workers and len(self._shards) % config.num_workers:
            raise InputError(
                f"num_workers {config.num_workers} does not divide the {len(self._shards)} data "
                "shards of a process; change one of them"
            )
        self._groups: Any = None
        self._reset({shard: ShardState().to_json() for shard in self._shards}, 0)
        if state is not None:
            self.set_state(state)

    def __iter__(self) -> "BatchIterator":
        return self

    def __next__(self) -> Batch:
        taken = {shard: self._take(shard) for shard in self._shards}
        if all(group is None for group in taken.values()):
            if self.num_examples == 0 and len(self._shards) == self._pipeline.config.num_shards:
                raise InputError(f"no record can be used: {self.dropped}; check the data")
            raise StopIteration
        for shard, group in taken.items():
            if group is not None:
                self._states[shard] = json.loads(group["state"])
                self._counts[shard] = json.loads(group["counts"])
        self.num_batches += 1
        per_shard = self._pipeline.config.rows_per_batch // self._pipeline.config.num_shards
        rows: list[Row | None] = []
        for place in range(per_shard):
            for group in taken.values():
                found = [] if group is None else group["rows"]
                rows.append(found[place] if place < len(found) else None)
        return self._stack(rows)

    def empty(self) -> Batch:
        """A batch of empty rows, for a process that is done while others are not; it counts."""
        self.num_batches += 1
        config = self._pipeline.config
        return self._stack(
            [None] * (len(self._shards) * config.rows_per_batch // config.num_shards)
        )

    @property
    def dropped(self) -> Tally:
        """Records this process has left out so far, and why (the window being packed included)."""
        return Tally.sum(
            Tally(count["dropped"]["counts"], count["dropped"]["first"])
            for count in self._counts.values()
        )

    @property
    def num_examples(self) -> int:
        """Examples in the batches handed out."""
        return sum(count["examples"] for count in self._counts.values())

    def get_state(self) -> dict[str, Any]:
        """Plain JSON: where each of this process's shards stands after the last batch."""
        return {
            "version": STATE_VERSION,
            "settings": self._pipeline.settings(),
            "batches": self.num_batches,
            "shards": {str(shard): state for shard, state in self._states.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on behind the last batch of a state, which must hold all shards of this process.

        States of several processes are joined by `merge_states`. Raises InputError when the state
        belongs to other data or settings.
        """
        shards = saved_shards(state, self._pipeline.settings(), self._shards)
        self._reset(shards, int(state["batches"]))

    def close(self) -> None:
        """Ends the worker processes."""
        if self._groups is not None:
            groups, self._groups = self._groups, None
            # Grain also waits for a worker that the system refused to start (no memory, no files
            # left); "can only join a started process" would then hide what the system said.
            with contextlib.suppress(AssertionError):
                groups.close()
            del groups
            # Grain's worker handles lie in cycles. Collected at some later moment, their semaphores
            # may be given back in the middle of starting others, about which Python 3.12 warns.
            gc.collect()

    def __enter__(self) -> "BatchIterator":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _reset(self, states: dict[int, dict[str, Any]], num_batches: int) -> None:
        self.close()
        self.num_batches = num_batches
        self._states = states
        self._counts: dict[int, dict[str, Any]] = {
            shard: {"examples": state["examples"], "dropped": state["dropped"]}
            for shard, state in states.items()
        }
        self._ended: set[int] = set()
        self._waiting = {shard: collections.deque[dict[str, Any]]() for shard in self._shards}

    def _take(self, shard: int) -> dict[str, Any] | None:
        """The next group of a shard, None after its last. Others that come first wait."""
        if self._groups is None:
            step = ReadAndEncode(self._pipeline.source, self._pipeline.encode.train)
            self._groups = iter(build(step, self._pipeline.config, self._states))
        while not self._waiting[shard] and shard not in self._ended:
            group = next(self._groups)
            if group["rows"]:
                self._waiting[group["shard"]].append(group)
            else:
                self._ended.add(group["shard"])
                self._counts[group["shard"]] = json.loads(group["counts"])
        return self._waiting[shard].popleft() if self._waiting[shard] else None

    def _stack(self, rows: Sequence[Row | None]) -> Batch:
        processor = self._pipeline.processor
        return stack(
            rows,
            self._pipeline.config.packing,
            pad_id=processor.tokenizer.pad_id,
            patch_bytes=processor.config.patch_size**2 * NUM_CHANNELS,
        )
