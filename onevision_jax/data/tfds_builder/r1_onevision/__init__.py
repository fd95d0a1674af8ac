"""The data set r1_onevision, as `tfds build` finds it."""

from onevision_jax.data.tfds_builder.r1_onevision.r1_onevision_dataset_builder import Builder

__all__ = ["Builder"]
