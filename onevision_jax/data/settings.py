"""How records become batches: the settings of a pipeline."""

import dataclasses

from onevision_jax.data.packing import Packing
from onevision_jax.data.target import TargetConfig
from onevision_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """How records become batches."""

    target: TargetConfig = dataclasses.field(default_factory=TargetConfig)
    packing: Packing = dataclasses.field(default_factory=Packing)
    rows_per_batch: int = 8
    """Over all processes; a multiple of num_shards."""
    num_shards: int = 8
    """Virtual shards. The numbers of processes that see the same batches are its divisors."""
    shuffle: bool = True
    """A new order in every epoch; False keeps that of the files."""
    seed: int = 0
    num_epochs: int | None = None
    """None goes on for ever. The last batches of a finite run have empty rows."""
    num_workers: int = 0
    """Processes that read and pack ahead, a divisor of the shards of one process; 0 = none."""

    def __post_init__(self) -> None:
        for name, least in (("rows_per_batch", 1), ("num_shards", 1), ("num_workers", 0)):
            if getattr(self, name) < least:
                raise InputError(f"data setting {name} is {getattr(self, name)}; give {least}+")
        if self.num_epochs is not None and self.num_epochs < 1:
            raise InputError(f"num_epochs is {self.num_epochs}; give 1 or more, or None")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"data seed is {self.seed}; give a number below 2**32")
        if self.rows_per_batch % self.num_shards:
            raise InputError(
                f"rows_per_batch {self.rows_per_batch} is no multiple of num_shards "
                f"{self.num_shards}; change one of them"
            )
