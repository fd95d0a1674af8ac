"""Moving bytes between layouts: contiguous copies of transposed views, and changes of dtype."""

from typing import Any

import jax
import numpy as np

from onevision_jax.errors import InputError

_WORDS = {2: np.dtype(np.uint16), 4: np.dtype(np.uint32)}


def contiguous(view: np.ndarray) -> np.ndarray:
    """The view's numbers in C order; may share memory with it when it is in that order already.

    XLA's transposition is two to three times as fast as numpy's (800 against 280 MB/s for bfloat16
    on one core of the machine this was written on), so the bytes go through its CPU device as
    integers of the same width. Where there is none (JAX_PLATFORMS=cuda), numpy does it.
    """
    words = _WORDS.get(view.dtype.itemsize)
    if words is None or view.flags.c_contiguous:
        return np.ascontiguousarray(view)
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return np.ascontiguousarray(view)
    return np.asarray(jax.device_put(view.view(words), device)).view(view.dtype)


def cast(array: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """The array in another dtype; raises InputError when a finite number becomes infinite."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        cast_array = array.astype(dtype)
    if dtype.itemsize <= array.dtype.itemsize:
        lost = np.isfinite(array) & ~np.isfinite(cast_array)
        if lost.any():
            raise InputError(
                f"{name} holds {float(array[lost][0]):g}, beyond the range of {dtype}; choose "
                "bfloat16 or float32"
            )
    return cast_array


def as_dtype(dtype: Any) -> np.dtype | None:
    """A dtype from its name or type; None stays None. Raises InputError for others."""
    if dtype is None:
        return None
    named = jax.numpy.dtype(dtype)
    if not jax.numpy.issubdtype(named, jax.numpy.floating) or named.itemsize < 2:
        raise InputError(f"dtype {dtype} is not float32, bfloat16 or float16")
    return named
