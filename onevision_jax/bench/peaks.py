"""What the makers say their devices do: the floors that benchmarks are held against."""

from typing import NamedTuple


class Peak(NamedTuple):
    """flops: dense bf16 operations per second; bytes: of device memory per second."""

    flops: float
    bytes: float


# By part of jax's device_kind; the first that fits.
PEAKS = {
    "H100": Peak(989e12, 3.35e12),
    "H200": Peak(989e12, 4.8e12),
    "TPU v5 lite": Peak(197e12, 0.82e12),
    "TPU v5e": Peak(197e12, 0.82e12),
    "TPU v5": Peak(459e12, 2.765e12),
    "TPU v6": Peak(918e12, 1.64e12),
}


def peak_of(device_kind: str) -> Peak | None:
    """None for a device whose peak is not known here."""
    return next((peak for name, peak in PEAKS.items() if name in device_kind), None)


def floor_seconds(flops: float, num_bytes: float, peak: Peak) -> float:
    """The least time the device can take for this much work."""
    return max(flops / peak.flops, num_bytes / peak.bytes)
