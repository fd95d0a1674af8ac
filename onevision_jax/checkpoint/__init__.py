"""Checkpoints: what a folder is, and parameters read and written with Orbax."""

from onevision_jax.checkpoint.folders import Checkpoint, HuggingFaceFolder, identify, resolve
from onevision_jax.checkpoint.store import by_path, load_params, save_params

__all__ = [
    "Checkpoint",
    "HuggingFaceFolder",
    "by_path",
    "identify",
    "load_params",
    "resolve",
    "save_params",
]
