"""One table between Hugging Face tensors and our parameters, read in both directions.

An entry pairs a Hub name with one of our paths and says how the axes move: both shapes are written
in the same letters, parentheses mean axes flattened into one. `(N H) D` becoming `D N H` is split,
permute, group, so the way back is the same line read from the right. `{i}` counts layers, which we
stack on a leading axis.

Two layouts of names exist (reference: qwen2_5_vl.md section 2): "hub", the files on the Hub and
what transformers 4.x writes, and "transformers", the state_dict names since 4.52. They differ in
two prefixes. The head is absent from files of tied models.

Letters, vision: C width, Q = 3 (q, k, v), N heads, H head width, I mlp width, F frames, y x pixels,
c colours, J = 4 C, D decoder width. Decoder: D width, N heads, K kv heads, H head width, I mlp
width, V vocabulary.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping

import numpy as np

from onevision_jax.errors import InputError
from onevision_jax.model import QwenVLConfig

LAYOUTS = ("hub", "transformers")
Shape = tuple[int, ...]

_VISION_BLOCK = ("visual.blocks.{i}.", "vision/blocks/")
_DECODER_BLOCK = ("model.layers.{i}.", "decoder/blocks/")
# Hub prefix -> prefix in the layout "transformers".
_RENAMED = (("visual.", "model.visual."), ("model.", "model.language_model."))
# Rotary tables are computed from the config; old exports stored them as buffers.
_INERT = re.compile(r"(^|\.)rotary(_pos)?_emb\.inv_freq$")


def _groups(axes: str) -> list[list[str]]:
    return [group.strip("()").split() for group in re.findall(r"\([^)]*\)|\S+", axes)]


def _atoms(axes: str) -> list[str]:
    return [atom for group in _groups(axes) for atom in group]


def _grouped(axes: str, sizes: Mapping[str, int]) -> Shape:
    return tuple(math.prod(sizes[atom] for atom in group) for group in _groups(axes))


def _move(array: np.ndarray, source: str, target: str, sizes: Mapping[str, int]) -> np.ndarray:
    """Split `source` axes into atoms, permute them, group them into `target` axes."""
    atoms = _atoms(source)
    split = array.reshape([sizes[atom] for atom in atoms])
    turned = split.transpose([atoms.index(atom) for atom in _atoms(target)])
    return turned.reshape(_grouped(target, sizes))


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of the table."""

    hub: str  # name in the Hub layout, {i} for the layer
    path: str  # our path
    theirs: str  # axes of the Hugging Face tensor
    ours: str  # axes of our parameter, without the leading layers

    def __post_init__(self):
        assert sorted(_atoms(self.theirs)) == sorted(_atoms(self.ours)), self

    @property
    def stacked(self) -> bool:
        return "{i}" in self.hub

    def name(self, layout: str, layer: int = 0) -> str:
        """The tensor's name in a layout."""
        assert layout in LAYOUTS, layout
        name = self.hub.replace("{i}", str(layer))
        if layout == "transformers":
            for prefix, renamed in _RENAMED:
                if name.startswith(prefix):
                    return renamed + name[len(prefix) :]
        return name

    def num_layers(self, config: QwenVLConfig) -> int:
        """Tensors this entry stands for; 1 when it is not stacked."""
        if not self.stacked:
            return 1
        return config.vision.depth if self._is_vision else config.text.num_layers

    def hf_shape(self, config: QwenVLConfig) -> Shape:
        """Shape of one Hugging Face tensor."""
        return _grouped(self.theirs, self._sizes(config))

    def layer_shape(self, config: QwenVLConfig) -> Shape:
        """Shape of one layer of our parameter."""
        return _grouped(self.ours, self._sizes(config))

    def shape(self, config: QwenVLConfig) -> Shape:
        """Shape of our parameter, layers first when stacked."""
        stack = (self.num_layers(config),) if self.stacked else ()
        return stack + self.layer_shape(config)

    def to_ours(self, tensor: np.ndarray, config: QwenVLConfig) -> np.ndarray:
        """A Hugging Face tensor as one layer of ours: a view wherever numpy can make one."""
        return _move(tensor, self.theirs, self.ours, self._sizes(config))

    def to_hf(self, layer: np.ndarray, config: QwenVLConfig) -> np.ndarray:
        """One layer of our parameter as the Hugging Face tensor: the inverse of `to_ours`."""
        return _move(layer, self.ours, self.theirs, self._sizes(config))

    @property
    def _is_vision(self) -> bool:
        return self.path.startswith("vision/")

    def _sizes(self, config: QwenVLConfig) -> dict[str, int]:
        vision, text = config.vision, config.text
        if self._is_vision:
            return {
                "C": vision.hidden_size,
                "Q": 3,
                "N": vision.num_heads,
                "H": vision.head_dim,
                "I": vision.intermediate_size,
                "F": vision.temporal_patch_size,
                "y": vision.patch_size,
                "x": vision.patch_size,
                "c": 3,
                "J": vision.hidden_size * vision.merge_unit,
                "K": vision.hidden_size * vision.merge_unit,
                "D": vision.out_hidden_size,
            }
        return {
            "D": text.hidden_size,
            "N": text.num_heads,
            "K": text.num_kv_heads,
            "H": text.head_dim,
            "I": text.intermediate_size,
            "V": text.vocab_size,
        }


def _linear(hub: str, path: str, theirs: str, ours: str, bias: str = "") -> list[Entry]:
    """A torch Linear (out, in) and, when its axes are given, its bias; ours is in-first."""
    out = re.findall(r"\([^)]*\)|\S+", theirs)[0]
    entries = [Entry(f"{hub}.weight", f"{path}/kernel", theirs, ours)]
    return entries + ([Entry(f"{hub}.bias", f"{path}/bias", out, bias)] if bias else [])


def _vision_table() -> list[Entry]:
    theirs, ours = _VISION_BLOCK
    table = [
        Entry(
            "visual.patch_embed.proj.weight",
            "vision/patch_embed/proj/kernel",
            "C c F y x",
            "F (y x c) C",
        ),
        Entry(f"{theirs}norm1.weight", f"{ours}attn_norm/weight", "C", "C"),
        Entry(f"{theirs}norm2.weight", f"{ours}mlp_norm/weight", "C", "C"),
    ]
    table += _linear(f"{theirs}attn.qkv", f"{ours}attn/qkv", "(Q N H) C", "C Q N H", "Q N H")
    table += _linear(f"{theirs}attn.proj", f"{ours}attn/out", "C (N H)", "N H C", "C")
    table += _linear(f"{theirs}mlp.gate_proj", f"{ours}mlp/gate", "I C", "C I", "I")
    table += _linear(f"{theirs}mlp.up_proj", f"{ours}mlp/up", "I C", "C I", "I")
    table += _linear(f"{theirs}mlp.down_proj", f"{ours}mlp/down", "C I", "I C", "C")
    table += [Entry("visual.merger.ln_q.weight", "vision/merger/norm/weight", "C", "C")]
    table += _linear("visual.merger.mlp.0", "vision/merger/up", "K J", "J K", "K")
    table += _linear("visual.merger.mlp.2", "vision/merger/down", "D K", "K D", "D")
    return table


def _decoder_table() -> list[Entry]:
    theirs, ours = _DECODER_BLOCK
    table = [
        Entry("model.embed_tokens.weight", "embed", "V D", "V D"),
        Entry(f"{theirs}input_layernorm.weight", f"{ours}attn_norm/weight", "D", "D"),
        Entry(f"{theirs}post_attention_layernorm.weight", f"{ours}mlp_norm/weight", "D", "D"),
    ]
    attn = f"{theirs}self_attn."
    table += _linear(f"{attn}q_proj", f"{ours}attn/q", "(N H) D", "D N H", "N H")
    table += _linear(f"{attn}k_proj", f"{ours}attn/k", "(K H) D", "D K H", "K H")
    table += _linear(f"{attn}v_proj", f"{ours}attn/v", "(K H) D", "D K H", "K H")
    table += _linear(f"{attn}o_proj", f"{ours}attn/out", "D (N H)", "N H D")
    table += _linear(f"{theirs}mlp.gate_proj", f"{ours}mlp/gate", "I D", "D I")
    table += _linear(f"{theirs}mlp.up_proj", f"{ours}mlp/up", "I D", "D I")
    table += _linear(f"{theirs}mlp.down_proj", f"{ours}mlp/down", "D I", "I D")
    table += [Entry("model.norm.weight", "decoder/norm/weight", "D", "D")]
    return table


HEAD = Entry("lm_head.weight", "head", "V D", "D V")
TABLE: tuple[Entry, ...] = (*_vision_table(), *_decoder_table(), HEAD)


def entries(config: QwenVLConfig) -> tuple[Entry, ...]:
    """The lines that hold for a config: all, but the head only when it is not tied."""
    return tuple(e for e in TABLE if not (e is HEAD and config.text.tie_word_embeddings))


def hf_shapes(config: QwenVLConfig, layout: str) -> dict[str, Shape]:
    """Name and shape of every tensor of a Hugging Face folder, layer by layer as transformers."""
    shapes = {}
    # The lines of one stack of layers stand together in the table.
    for _, block in itertools.groupby(entries(config), key=lambda e: e.hub.split("{i}")[0]):
        lines = list(block)
        for layer in range(lines[0].num_layers(config)):
            shapes |= {e.name(layout, layer): e.hf_shape(config) for e in lines}
    return shapes


def detect_layout(names: Iterable[str], source: str) -> str:
    """The layout of a folder, from its tensor names.

    Raises InputError (naming `source`) when names of both layouts or of none are found.
    """
    names = list(names)
    new = [n for n in names if n.startswith(tuple(renamed for _, renamed in _RENAMED))]
    old = [n for n in names if n.startswith(tuple(p for p, _ in _RENAMED)) and n not in set(new)]
    if old and new:
        raise InputError(
            f"{source} mixes two layouts of tensor names, {_some(old)} and {_some(new)}; save the "
            "model again with one version of transformers"
        )
    if not old and not new:
        raise InputError(
            f"{source} holds no Qwen2.5-VL tensor names (visual.*, model.*): found {_some(names)}"
        )
    return "hub" if old else "transformers"


def is_inert(name: str) -> bool:
    """Whether a tensor carries nothing: a rotary table, recomputed from the config."""
    return _INERT.search(name) is not None


def check_names(given: Iterable[str], expected: Iterable[str], source: str) -> None:
    """Raises InputError unless both hold the same names; lists a few odd ones with counts."""
    given, expected = set(given), set(expected)
    missing, unexpected = sorted(expected - given), sorted(given - expected)
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_some(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({_some(unexpected)})")
    if parts:
        raise InputError(
            f"{source} does not hold the tensors its config.json describes: {' and '.join(parts)}"
        )


def check_shapes(given: Mapping[str, Shape], expected: Mapping[str, Shape], source: str) -> None:
    """Raises InputError naming the first tensor whose shape is not the one expected."""
    for name, shape in expected.items():
        if tuple(given[name]) != tuple(shape):
            raise InputError(
                f"{source}: {name} has shape {list(given[name])}, its config.json asks for "
                f"{list(shape)}"
            )


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "") or "nothing"
