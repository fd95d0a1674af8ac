"""Writing safetensors files whose tensors arrive in any order.

All names, dtypes and shapes are known beforehand, so the headers are written first and each tensor
then goes to its place in its file. Shards fill up in the order given, as in transformers.

File: 8 bytes of header length (little-endian), the header (JSON, padded with spaces to a multiple
of 8), the data. Source: the safetensors format description.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from onevision_jax.checkpoint.publish import reserve
from onevision_jax.convert.tensors import DTYPE_NAMES, INDEX, SINGLE


@dataclasses.dataclass(frozen=True)
class Spec:
    """A tensor to come."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.parameters * self.dtype.itemsize


class ShardWriter:
    """The files of one folder. Use as a context manager, then every tensor has to be written."""

    def __init__(self, folder: Path, specs: Mapping[str, Spec], max_shard_bytes: int):
        self._folder = folder
        self._specs = specs
        self._shards = split(specs, max_shard_bytes)
        self._places: dict[str, tuple[int, int]] = {}  # file handle, offset
        self._handles: list[int] = []
        self._written: set[str] = set()

    def __enter__(self) -> "ShardWriter":
        names = shard_names(len(self._shards))
        try:
            for file, shard in zip(names, self._shards, strict=True):
                self._begin(self._folder / file, shard)
            if len(self._shards) > 1:
                self._write_index(names)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self._close()
        assert kind or self._written == self._specs.keys(), "a tensor was not written"

    def write(self, name: str, array: np.ndarray) -> None:
        """Writes one tensor; C order, shape and dtype as announced."""
        spec = self._specs[name]
        assert (array.shape, array.dtype) == (spec.shape, spec.dtype), name
        assert array.flags.c_contiguous, name
        assert name not in self._written, name
        handle, offset = self._places[name]
        rest = array.reshape(-1).view(np.uint8).data
        while rest:
            written = os.pwrite(handle, rest, offset)
            rest, offset = rest[written:], offset + written
        self._written.add(name)

    def _close(self) -> None:
        for handle in self._handles:
            os.close(handle)

    def _begin(self, path: Path, shard: list[str]) -> None:
        # Wide dtypes first keeps every tensor aligned to its own width.
        shard = sorted(shard, key=lambda name: -self._specs[name].dtype.itemsize)
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        ends = np.cumsum([0] + [self._specs[name].nbytes for name in shard]).tolist()
        for name, start, end in zip(shard, ends[:-1], ends[1:], strict=True):
            spec = self._specs[name]
            header[name] = {
                "dtype": DTYPE_NAMES[spec.dtype],
                "shape": list(spec.shape),
                "data_offsets": [start, end],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._handles.append(handle)
        data = 8 + len(text)
        reserve(handle, data + ends[-1])  # a full disk shows now, not at the end
        os.pwrite(handle, len(text).to_bytes(8, "little") + text, 0)
        for name, start in zip(shard, ends[:-1], strict=True):
            self._places[name] = (handle, data + start)

    def _write_index(self, names: list[str]) -> None:
        total = {
            "total_parameters": sum(spec.parameters for spec in self._specs.values()),
            "total_size": sum(spec.nbytes for spec in self._specs.values()),
        }
        where = {name: names[i] for i, shard in enumerate(self._shards) for name in shard}
        index = {"metadata": total, "weight_map": dict(sorted(where.items()))}
        (self._folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def split(specs: Mapping[str, Spec], max_shard_bytes: int) -> list[list[str]]:
    """Names per shard: a shard is full when the next tensor would take it over the limit."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, spec in specs.items():
        if shards[-1] and size + spec.nbytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += spec.nbytes
    return shards


def shard_names(count: int) -> list[str]:
    """File names as transformers gives them."""
    if count == 1:
        return [SINGLE]
    return [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
