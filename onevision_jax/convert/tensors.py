"""The tensors of a Hugging Face folder: found, checked and memory-mapped, never unpickled.

safetensors validates each file's header against the file's size; the data is then read through a
memory map, tensor by tensor, so what is not used is not read. A folder has `model.safetensors` or,
for several shards, `model.safetensors.index.json`; when it has both the single file counts, as in
transformers.
"""

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from onevision_jax.errors import InputError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

DTYPES: dict[str, np.dtype] = {
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """Where one tensor lies."""

    name: str
    file: Path
    dtype_name: str  # as safetensors writes it: "BF16"
    shape: tuple[int, ...]
    raw: np.ndarray = dataclasses.field(repr=False)  # its bytes, memory-mapped

    @property
    def dtype(self) -> np.dtype:
        """Raises InputError when the tensor holds no floating-point numbers this project reads."""
        if self.dtype_name not in DTYPES:
            raise InputError(
                f"{self.file}: {self.name} has dtype {self.dtype_name}, expected one of "
                f"{', '.join(DTYPES)}; quantised weights cannot be converted"
            )
        return DTYPES[self.dtype_name]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def view(self) -> np.ndarray:
        """The tensor, read-only and memory-mapped."""
        return self.raw.view(self.dtype).reshape(self.shape)


def open_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a Hugging Face folder by name.

    Raises InputError naming the file at fault: missing, truncated, in contradiction with the index.
    """
    if (folder / SINGLE).is_file():
        return {tensor.name: tensor for tensor in _read_header(folder / SINGLE)}
    if not (folder / INDEX).is_file():
        raise InputError(_nothing_found(folder))
    index = _read_index(folder / INDEX)
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(index.values())):
        if not (folder / file).is_file():
            raise InputError(f"{folder / INDEX} names the shard {file}, which is not in the folder")
        for tensor in _read_header(folder / file):
            if tensor.name in tensors:
                raise InputError(
                    f"{folder}: {tensor.name} is in two shards, {tensors[tensor.name].file.name} "
                    f"and {file}; fetch the folder again"
                )
            tensors[tensor.name] = tensor
    _check_against_index(tensors, index, folder)
    return tensors


def shard_bytes(tensors: Iterable[Tensor]) -> dict[Path, int]:
    """Bytes of tensors per file."""
    sizes: dict[Path, int] = {}
    for tensor in tensors:
        sizes[tensor.file] = sizes.get(tensor.file, 0) + tensor.nbytes
    return sizes


def _check_against_index(tensors: dict[str, Tensor], index: dict[str, str], folder: Path) -> None:
    for name, file in index.items():
        if name not in tensors or tensors[name].file.name != file:
            raise InputError(
                f"{folder / INDEX} places {name} in {file}, which does not hold it; fetch the "
                "folder again"
            )
    unlisted = sorted(tensors.keys() - index.keys())
    if unlisted:
        name = unlisted[0]
        raise InputError(
            f"{tensors[name].file} holds {name}, which {INDEX} does not list "
            f"({len(unlisted)} such tensors); fetch the folder again"
        )


def _read_index(path: Path) -> dict[str, str]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_repeats)
        weight_map = fields["weight_map"]
        entries = [(str(name), str(file)) for name, file in weight_map.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is no index of shards: a JSON object with a weight_map is expected ({error})"
        ) from None
    for name, file in entries:
        if not file.endswith(".safetensors") or Path(file).name != file or "\\" in file:
            raise InputError(
                f"{path} places {name} in {file!r}; a plain file name ending in .safetensors is "
                "expected"
            )
    return dict(entries)


def _read_header(path: Path) -> list[Tensor]:
    """The tensors of one file; safetensors has checked sizes and offsets before they are used."""
    try:
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length), object_pairs_hook=_no_repeats)
    except (SafetensorError, ValueError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise InputError(
            f"{path} is truncated or no safetensors file ({reason}); fetch it again"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    header.pop("__metadata__", None)
    data = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)[8 + length :]
    return [
        Tensor(name, path, f["dtype"], tuple(f["shape"]), data[slice(*f["data_offsets"])])
        for name, f in header.items()
    ]


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated} appears twice")
    return fields


def _nothing_found(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    pickled = [name for name in names if name.endswith(PICKLED)]
    stray = [name for name in names if name.endswith(".safetensors")]
    if stray:
        return (
            f"{folder} has {stray[0]} but neither {SINGLE} nor {INDEX}; fetch the index too, or "
            f"rename a single file to {SINGLE}"
        )
    if pickled:
        return (
            f"{folder} has only pickled weights ({pickled[0]}), which can run code when read; save "
            "the model again with safe_serialization=True to get safetensors"
        )
    return f"{folder} has no weights: neither {SINGLE} nor {INDEX} is in it"
