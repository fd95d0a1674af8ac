"""Decode attention (`decode_attention`): new tokens against a prompt that many answers share."""

from onevision_kernels.decode.api import choose, decode_attention, implementations
from onevision_kernels.decode.cache import DecodeCall, SharedCache

__all__ = ["DecodeCall", "SharedCache", "choose", "decode_attention", "implementations"]
