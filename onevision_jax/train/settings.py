"""What every training run is told, whatever it minimises."""

import dataclasses
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.model import ModelOptions
from onevision_jax.train.optimizer import OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How many devices split the batch (-1 = all that are left) and the matrices."""

    fsdp: int = -1
    tensor: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything about a training run but its data and what it minimises."""

    # What to start from: a Hugging Face folder, a checkpoint or another run's workdir.
    checkpoint: str
    num_steps: int
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    # Steps between checkpoints (the last step is always saved), and how many of them stay.
    save_every: int = 500
    keep: int = 2
    # Steps between lines on the console; metrics.jsonl has every step.
    log_every: int = 10
    seed: int = 0

    def __post_init__(self):
        check_counts(self, ("num_steps", "save_every", "keep", "log_every"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """A run over batches that are given."""

    # Parts a batch is computed in, one after the other; the result does not depend on it.
    accumulation: int = 1

    def __post_init__(self):
        super().__post_init__()
        check_counts(self, ("accumulation",))


def check_counts(settings: Any, names: tuple[str, ...]) -> None:
    """Raises InputError for a setting of these that is below 1."""
    for name in names:
        if getattr(settings, name) < 1:
            raise InputError(f"{name} is {getattr(settings, name)}; give 1 or more")
