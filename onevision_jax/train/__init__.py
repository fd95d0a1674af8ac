"""Training: optimizer, losses, the state of a run and its checkpoints, supervised fine-tuning."""

from onevision_jax.train.losses import cross_entropy_sum, split_over, token_logprobs
from onevision_jax.train.optimizer import OptimizerConfig
from onevision_jax.train.settings import MeshConfig, TrainConfig
from onevision_jax.train.setup import Setup
from onevision_jax.train.sft import SFTConfig, Trainer, train

__all__ = [
    "MeshConfig",
    "OptimizerConfig",
    "SFTConfig",
    "Setup",
    "TrainConfig",
    "Trainer",
    "cross_entropy_sum",
    "split_over",
    "token_logprobs",
    "train",
]
