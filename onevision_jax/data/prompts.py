"""Records as questions, one at a time and unpacked: for RL and evaluation.

The iterator keeps the order of the files unless told to shuffle, leaves out what cannot be used,
counts it, and has a small state like that of the batches. Process p of n sees the records congruent
to p modulo n.
"""

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from onevision_jax.data.encode import Encode, Prompt
from onevision_jax.data.graph import ReadAndEncode, ordered
from onevision_jax.data.shards import (
    STATE_VERSION,
    ShardState,
    ShardView,
    own_shards,
    saved_shards,
)
from onevision_jax.data.source import Source, Tally
from onevision_jax.data.target import TargetConfig
from onevision_jax.errors import InputError
from onevision_jax.processor import Processor


@dataclasses.dataclass(frozen=True)
class PromptConfig:
    """Which prompts, and in which order."""

    target: TargetConfig = dataclasses.field(default_factory=TargetConfig)
    max_tokens: int = 2048
    """Of a prompt; an image is made smaller to fit, text is not."""
    max_patches: int = 4096
    num_shards: int = 1
    """The numbers of processes that can share the prompts are its divisors."""
    shuffle: bool = False
    seed: int = 0
    num_epochs: int | None = 1
    """None goes on for ever."""


class PromptIterator(Iterator[Prompt]):
    """Prompts of one process, with the state of what it handed out."""

    def __init__(
        self,
        source: Source,
        processor: Processor,
        config: PromptConfig | None = None,
        *,
        process_index: int = 0,
        process_count: int = 1,
        state: Mapping[str, Any] | None = None,
    ):
        self._config = config = config or PromptConfig()
        if len(source) == 0:
            raise InputError(f"{source} has no records; give a data set that is not empty")
        self._source = source
        self._processor = processor
        encode = Encode(processor, config.target, config.max_tokens, config.max_patches)
        self._items = ordered(
            len(source), shuffle=config.shuffle, seed=config.seed, num_epochs=config.num_epochs
        ).map(ReadAndEncode(source, encode.prompt))
        shards = own_shards(config.num_shards, process_index, process_count)
        self._reset(dict.fromkeys(shards, ShardState().to_json()), 0)
        if state is not None:
            self.set_state(state)

    def __iter__(self) -> "PromptIterator":
        return self

    def __next__(self) -> Prompt:
        while self._turns:
            shard = self._turns[0]
            place, prompt = next(self._streams[shard], (0, None))
            if prompt is None:
                self._turns.popleft()
                continue
            self._turns.rotate(-1)
            state = self._states[shard]
            self._states[shard] = dataclasses.replace(
                state, next=place + 1, examples=state.examples + 1
            )
            self.num_prompts += 1
            return prompt
        if self.num_prompts == 0 and len(self._states) == self._config.num_shards:
            raise InputError(f"no record can be used: {self.dropped}; check the data")
        raise StopIteration

    @property
    def dropped(self) -> Tally:
        """Records left out so far, and why."""
        return Tally.sum(state.dropped for state in self._states.values())

    def get_state(self) -> dict[str, Any]:
        """Plain JSON: where each of this process's shards stands after the last prompt."""
        return {
            "version": STATE_VERSION,
            "settings": self._settings(),
            "batches": self.num_prompts,
            "shards": {str(shard): state.to_json() for shard, state in self._states.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on behind the last prompt of a state; raises InputError as `BatchIterator`."""
        shards = saved_shards(state, self._settings(), list(self._states))
        self._reset(shards, int(state["batches"]))

    def _settings(self) -> dict[str, Any]:
        image = self._processor.config
        return {
            "source": dict(self._source.fingerprint()),
            "pixels": [image.min_pixels, image.max_pixels],
            **dataclasses.asdict(self._config),
        }

    def _reset(self, states: dict[int, Any], num_prompts: int) -> None:
        self.num_prompts = num_prompts
        # The streams write into these tallies.
        self._states = {shard: ShardState.from_json(state) for shard, state in states.items()}
        # Whoever has given less is next, by number among equals: the state need not say so.
        order = sorted(self._states, key=lambda shard: (self._states[shard].examples, shard))
        self._turns = collections.deque(order)
        self._streams = {
            shard: ShardView[Prompt](self._items, shard, self._config.num_shards).usable(
                state.next, state.dropped, len(self._source)
            )
            for shard, state in self._states.items()
        }
