"""The table against the model it describes, and what is said when names do not fit."""

import math

import numpy as np
import pytest

from onevision_jax.checkpoint import by_path
from onevision_jax.convert import keymap
from onevision_jax.errors import InputError
from onevision_jax.model import PRESETS, abstract, preset

# Tensors and parameters of the published files (reference: qwen2_5_vl.md section 1).
PUBLISHED = {
    "3b": (824, 3_754_622_976),
    "7b": (729, 8_292_166_656),
    "32b": (1161, 33_452_718_336),
    "72b": (1353, 73_410_777_344),
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_parameter_has_one_line(name):
    config = preset(name)
    wanted = {path: leaf.shape for path, leaf in by_path(abstract(config)).items()}
    lines = keymap.entries(config)
    assert {line.path: line.shape(config) for line in lines} == wanted
    assert len(lines) == len(wanted)


@pytest.mark.parametrize("layout", keymap.LAYOUTS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name, layout):
    shapes = keymap.hf_shapes(preset(name), layout)
    assert (len(shapes), sum(map(math.prod, shapes.values()))) == PUBLISHED[name]


@pytest.mark.parametrize("entry", keymap.TABLE, ids=lambda entry: entry.path)
def test_layout_changes_are_undone_exactly(entry):
    config = preset("debug")
    size = math.prod(entry.hf_shape(config))
    tensor = np.arange(size, dtype=np.int32).reshape(entry.hf_shape(config))
    ours = entry.to_ours(tensor, config)
    assert ours.shape == entry.layer_shape(config)
    np.testing.assert_array_equal(entry.to_hf(ours, config), tensor)


def test_axes_by_hand():
    """The moves that a transposition alone would get wrong, written out index by index."""
    config = preset("debug")
    lines = {entry.path: entry for entry in keymap.TABLE}

    def moved(path):
        entry = lines[path]
        shape = entry.hf_shape(config)
        tensor = np.arange(math.prod(shape)).reshape(shape)
        return tensor, entry.to_ours(tensor, config)

    theirs, ours = moved("vision/patch_embed/proj/kernel")  # (out, colour, frame, y, x)
    assert ours[1, (3 * 14 + 5) * 3 + 2, 7] == theirs[7, 2, 1, 3, 5]
    theirs, ours = moved("vision/blocks/attn/qkv/kernel")  # rows q | k | v, head by head
    width = config.vision.hidden_size
    assert ours[4, 2, 1, 3] == theirs[2 * width + 1 * config.vision.head_dim + 3, 4]
    theirs, ours = moved("decoder/blocks/attn/k/kernel")
    assert ours[4, 1, 3] == theirs[1 * config.text.head_dim + 3, 4]
    theirs, ours = moved("decoder/blocks/attn/out/kernel")
    assert ours[1, 3, 4] == theirs[4, 1 * config.text.head_dim + 3]


def test_layouts_are_told_apart():
    for layout in keymap.LAYOUTS:
        names = keymap.hf_shapes(preset("debug"), layout)
        assert keymap.detect_layout(names, "here") == layout
    with pytest.raises(InputError, match=r"here mixes two layouts .*visual.x.*model.visual.y"):
        keymap.detect_layout(["visual.x", "model.visual.y"], "here")
    with pytest.raises(InputError, match=r"no Qwen2.5-VL tensor names .*found transformer.h"):
        keymap.detect_layout(["transformer.h"], "here")


def test_odd_names_are_listed_with_counts():
    with pytest.raises(InputError) as caught:
        keymap.check_names("abcdxyz", "abcdefghi", "here")
    assert "5 missing (e, f, g, …) and 3 unexpected (x, y, z)" in str(caught.value)


def test_head_only_when_untied():
    names = keymap.hf_shapes(preset("3b"), "hub")
    assert "lm_head.weight" not in names
    assert keymap.hf_shapes(preset("7b"), "transformers")["lm_head.weight"] == (152_064, 3584)
