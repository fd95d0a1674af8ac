"""Sampling, the decoding loop, and the engine that batches prompts through it."""

from onevision_jax.rollout.engine import Completion, Generator
from onevision_jax.rollout.sampling import Sampling

__all__ = ["Completion", "Generator", "Sampling"]
