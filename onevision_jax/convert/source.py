"""A Hugging Face folder matched with the key map: for each of our parameters, where its layers lie.

Everything is checked here, from headers alone, before a byte of data is read: names (each exactly
once), shapes, dtypes.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onevision_jax.convert import keymap
from onevision_jax.convert.moving import cast, contiguous
from onevision_jax.convert.tensors import Tensor, open_tensors
from onevision_jax.errors import InputError
from onevision_jax.model import QwenVLConfig, from_folder


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One of our parameters and the tensors it is made of, layer by layer."""

    entry: keymap.Entry
    config: QwenVLConfig
    tensors: Sequence[Tensor]
    dtype: np.dtype

    @property
    def path(self) -> str:
        return self.entry.path

    @property
    def shape(self) -> tuple[int, ...]:
        return self.entry.shape(self.config)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read_into(self, out: np.ndarray, index: tuple[slice, ...] | None = None) -> None:
        """Fills `out` with the parameter, or with the part of it that `index` cuts out."""
        index = index or tuple(slice(None) for _ in self.shape)
        if not self.entry.stacked:
            out[...] = self._layer(self.tensors[0], index)
            return
        for row, tensor in zip(out, self.tensors[index[0]], strict=True):
            row[...] = self._layer(tensor, index[1:])

    def read(self, index: tuple[slice, ...] | None = None) -> np.ndarray:
        """The parameter, or a part of it, in memory of its own."""
        cut = (
            self.shape
            if index is None
            else tuple(
                len(range(*piece.indices(size)))
                for piece, size in zip(index, self.shape, strict=True)
            )
        )
        out = np.empty(cut, self.dtype)
        self.read_into(out, index)
        return out

    def _layer(self, tensor: Tensor, index: tuple[slice, ...]) -> np.ndarray:
        view = self.entry.to_ours(tensor.view(), self.config)[index]
        return cast(contiguous(view), self.dtype, tensor.name)


@dataclasses.dataclass(frozen=True)
class Source:
    """A checked Hugging Face folder."""

    folder: Path
    config: QwenVLConfig
    layout: str
    leaves: tuple[Leaf, ...]
    notes: tuple[str, ...]  # sentences on what was left out, and why that is right

    @property
    def tensors(self) -> list[Tensor]:
        return [tensor for leaf in self.leaves for tensor in leaf.tensors]


def open_source(folder: str | os.PathLike[str], *, dtype: np.dtype | None = None) -> Source:
    """Reads headers and config. dtype: of the parameters; None keeps what is stored.

    Raises InputError when config.json and tensors do not agree, naming the odd ones.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a Hugging Face folder on this machine")
    config = from_folder(folder)
    tensors = open_tensors(folder)
    layout = keymap.detect_layout(tensors, str(folder))
    notes = _drop_inert(tensors) + _drop_tied_head(tensors, config, layout, folder)
    expected = keymap.hf_shapes(config, layout)
    keymap.check_names(tensors, expected, str(folder))
    keymap.check_shapes({n: t.shape for n, t in tensors.items()}, expected, str(folder))
    leaves = []
    for entry in keymap.entries(config):
        parts = [tensors[entry.name(layout, i)] for i in range(entry.num_layers(config))]
        leaves.append(Leaf(entry, config, parts, _dtype(parts, dtype)))
    return Source(folder, config, layout, tuple(leaves), tuple(notes))


def _dtype(tensors: Sequence[Tensor], asked: np.dtype | None) -> np.dtype:
    """The dtype of a parameter; its layers must agree unless one is asked for."""
    first = tensors[0]
    for tensor in tensors:
        if tensor.dtype != first.dtype and asked is None:
            raise InputError(
                f"{tensor.file}: {tensor.name} is {tensor.dtype_name} while {first.name} is "
                f"{first.dtype_name}; choose one dtype for all with --dtype"
            )
    return first.dtype if asked is None else asked


def _drop_inert(tensors: dict[str, Tensor]) -> list[str]:
    inert = [name for name in tensors if keymap.is_inert(name)]
    for name in inert:
        del tensors[name]
    if not inert:
        return []
    return [f"{len(inert)} rotary tables left out ({inert[0]}): they follow from config.json"]


def _drop_tied_head(
    tensors: dict[str, Tensor], config: QwenVLConfig, layout: str, folder: Path
) -> list[str]:
    """A tied model's head may be stored again, if it is the embedding to the last bit."""
    embed = tensors.get("model.embed_tokens.weight" if layout == "hub" else _EMBED_B)
    head = tensors.get(keymap.HEAD.hub)
    if not config.text.tie_word_embeddings or head is None or embed is None:
        return []
    same = head.dtype == embed.dtype and head.shape == embed.shape
    if not same or not _equal(head, embed):
        raise InputError(
            f"{folder} holds lm_head.weight, different from the embedding, but its config.json "
            "says tie_word_embeddings; set that to false if the head is meant"
        )
    del tensors[keymap.HEAD.hub]
    return ["lm_head.weight left out: the model is tied and it equals the embedding"]


_EMBED_B = "model.language_model.embed_tokens.weight"


def _equal(first: Tensor, second: Tensor, rows: int = 4096) -> bool:
    """Equal to the last bit, compared some rows at a time."""
    a, b = (t.view().view(np.uint8).reshape(t.shape[0], -1) for t in (first, second))
    return all(np.array_equal(a[i : i + rows], b[i : i + rows]) for i in range(0, len(a), rows))
