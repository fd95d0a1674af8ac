"""`onevision data build`: sources become a data set of ArrayRecord shards, with its card."""

from onevision_jax.data.building.build import BuildSummary, build_dataset
from onevision_jax.data.building.settings import KINDS, BuildSettings, SourceSpec, parse_spec

__all__ = [
    "KINDS",
    "BuildSettings",
    "BuildSummary",
    "SourceSpec",
    "build_dataset",
    "parse_spec",
]
