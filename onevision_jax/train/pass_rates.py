"""How often each prompt of a GRPO run was answered rightly, kept over all epochs.

Groups that are all right or all wrong have no advantage: a prompt that is always one of the two
costs a rollout and teaches nothing. `PassRateConfig` passes over such prompts, wholly or in part.

The counts are part of a checkpoint, so a run that goes on chooses as one that was never stopped.
They are written to `pass_rates.jsonl` of the workdir whenever a checkpoint is.
"""

import collections
import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onevision_jax.data.record import Record
from onevision_jax.errors import InputError
from onevision_jax.train.rollouts import Sample

FILE = "pass_rates.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassRateConfig:
    """Which prompts are asked again."""

    # A prompt of pass rate 0 or 1 after so many samples is settled; None asks all prompts alike.
    settled_after: int | None = None
    # In this share of its turns a settled prompt is asked all the same, evenly spread; 0 = never.
    settled_share: float = 0.0

    def __post_init__(self):
        if self.settled_after is not None and self.settled_after < 1:
            raise InputError(
                f"pass_rates.settled_after is {self.settled_after}; give 1 or more, or none"
            )
        if not 0 <= self.settled_share < 1:
            raise InputError(
                f"pass_rates.settled_share is {self.settled_share}; give 0 or more, below 1"
            )

    @property
    def longest_wait(self) -> int:
        """Epochs in which every prompt that can be asked is asked."""
        return math.ceil(1 / self.settled_share) if self.settled_share else 1


@dataclasses.dataclass
class Standing:
    """What is known of one prompt."""

    attempts: int = 0  # samples that were graded; masked ones tell nothing
    correct: int = 0
    last_step: int = 0  # that sampled it
    turns: int = 0  # since it was settled
    skipped: int = 0  # turns in which it was passed over
    # The record's own words on how hard it is; "" = not said.
    tier: str = ""
    difficulty: int | float | str = ""

    @property
    def pass_rate(self) -> float | None:
        """From 0 to 1; None before the first sample that was graded."""
        return self.correct / self.attempts if self.attempts else None

    def is_settled(self, after: int) -> bool:
        """Whether `after` samples or more were all right or all wrong."""
        return self.attempts >= after and self.correct in (0, self.attempts)


class PassRates:
    """The standing of every prompt asked so far, by the id of its record.

    A prompt answered both ways never settles again. Records of several sources that share an id
    share a standing; `onevision data build` makes ids unique.
    """

    def __init__(self, config: PassRateConfig | None = None):
        self._config = config or PassRateConfig()
        self._standings: dict[str, Standing] = {}

    def __getitem__(self, id: str) -> Standing:
        return self._standings[id]

    def __len__(self) -> int:
        return len(self._standings)

    def admits(self, record: Record) -> bool:
        """Whether to ask this prompt in this turn of its; counts the turn."""
        after, share = self._config.settled_after, self._config.settled_share
        standing = self._standings.get(record.id)
        if after is None or standing is None or not standing.is_settled(after):
            return True
        standing.turns += 1
        # The k-th turn is taken where k * share passes a whole number.
        if math.floor(standing.turns * share) > math.floor((standing.turns - 1) * share):
            return True
        standing.skipped += 1
        return False

    def add(self, samples: Iterable[Sample], step: int) -> None:
        """Counts the graded samples of a step."""
        for sample in samples:
            record = sample.prompt.record
            standing = self._standings.setdefault(
                record.id,
                Standing(tier=record.tier, difficulty=record.provenance.get("difficulty", "")),
            )
            standing.last_step = step
            if not sample.reward.masked:
                standing.attempts += 1
                standing.correct += sample.reward.grade.verdict == "correct"

    @property
    def skipped(self) -> int:
        """Turns in which prompts were passed over, in all."""
        return sum(standing.skipped for standing in self._standings.values())

    def get_state(self) -> dict[str, list[Any]]:
        """Plain JSON: the fields of each standing, by id."""
        return {id: list(dataclasses.astuple(one)) for id, one in self._standings.items()}

    def set_state(self, state: Mapping[str, list[Any]]) -> None:
        """Takes the place of what was counted."""
        self._standings = {id: Standing(*values) for id, values in state.items()}

    def write(self, folder: Path) -> None:
        """One JSON object a prompt to `pass_rates.jsonl`, sorted by id; whole or not at all."""
        partial = folder / f".{FILE}.incomplete"
        with partial.open("w", encoding="utf-8") as file:
            for id, one in sorted(self._standings.items()):
                row = {"id": id, "pass_rate": one.pass_rate, **dataclasses.asdict(one)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        partial.replace(folder / FILE)

    def __str__(self) -> str:
        counts = collections.Counter(map(_kind, self._standings.values()))
        kinds = ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind])
        said = f"pass rates of {len(self):,} prompts: {kinds or 'none'}"
        return f"{said}; {self.skipped:,} turns passed over" if self.skipped else said


KINDS = ("never right", "always right", "sometimes right", "not graded")


def _kind(standing: Standing) -> str:
    if not standing.attempts:
        return "not graded"
    if not standing.correct:
        return "never right"
    return "always right" if standing.correct == standing.attempts else "sometimes right"
