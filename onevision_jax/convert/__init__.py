"""Weights between Hugging Face folders and checkpoints, in both directions."""

from onevision_jax.convert.exporting import to_hf
from onevision_jax.convert.importing import from_hf
from onevision_jax.convert.load import load_model, read_assets_folder, with_params

__all__ = ["from_hf", "load_model", "read_assets_folder", "to_hf", "with_params"]
