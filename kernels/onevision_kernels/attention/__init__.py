"""Range attention (`range_attention`) and the constructors of its masks."""

from onevision_kernels.attention.api import (
    PreparedRanges,
    implementations,
    prepare_ranges,
    range_attention,
)
from onevision_kernels.attention.call import Call
from onevision_kernels.attention.ranges import cache_ranges, segment_bounds, segment_ranges
from onevision_kernels.attention.reference import AttentionOutput

__all__ = [
    "AttentionOutput",
    "Call",
    "PreparedRanges",
    "cache_ranges",
    "implementations",
    "prepare_ranges",
    "range_attention",
    "segment_bounds",
    "segment_ranges",
]
