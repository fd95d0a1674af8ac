"""Reading config.json: both forms of the file, defaults of what is missing, refusals.

tests/parity/test_config.py compares the same reader with transformers itself.
"""

import copy
import json

import pytest

from onevision_jax.errors import InputError
from onevision_jax.model import PRESETS, from_folder, from_hf, to_hf
from onevision_jax.model.config import CLIP_MEAN, TextConfig, VisionConfig

ROOT = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")


def nested(flat: dict, **root) -> dict:
    """The same model as newer transformers writes it: the decoder's fields in text_config."""
    keep = {"model_type", "vision_config", "tie_word_embeddings", *ROOT}
    text = {name: value for name, value in flat.items() if name not in keep}
    outside = {name: value for name, value in flat.items() if name in keep}
    return {**outside, "text_config": {**text, "model_type": "qwen2_5_vl_text"}, **root}


def as_transformers_5(flat: dict) -> dict:
    """rope_parameters in place of rope_scaling and rope_theta, nulls and all."""
    fields = nested(flat, transformers_version="5.18.0")
    text = fields["text_config"]
    rope = {**text.pop("rope_scaling"), "rope_type": "default", "rope_theta": 1e6}
    del text["rope_theta"]
    text |= {"rope_parameters": rope, "sliding_window": None, "pad_token_id": None}
    text["layer_types"] = ["full_attention"] * text["num_hidden_layers"]
    fields["vision_config"] = {
        **fields["vision_config"],
        "rope_parameters": {"rope_theta": 10_000.0, "rope_type": "axial"},
    }
    return fields


@pytest.mark.parametrize("name", PRESETS)
def test_every_form_says_the_same(name):
    flat = to_hf(PRESETS[name])
    assert from_hf(flat) == PRESETS[name]
    assert from_hf(nested(flat)) == PRESETS[name]
    assert from_hf(as_transformers_5(flat)) == PRESETS[name]


def test_text_config_wins_over_leftovers_in_the_root():
    """4.52 wrote the decoder's fields twice, the root's not always right."""
    flat = to_hf(PRESETS["debug"])
    both = {**nested(flat), "hidden_size": 123, "num_hidden_layers": 7, "rope_theta": 5.0}
    both["text_config"]["image_token_id"] = None
    assert from_hf(both) == PRESETS["debug"]


@pytest.mark.parametrize(
    ("version", "root", "inner", "tied"),
    [
        ("4.57.6", None, True, True),
        ("4.57.6", False, True, True),
        ("4.57.6", True, False, False),
        ("4.57.6", False, None, False),
        ("5.18.0", True, None, True),
        ("5.18.0", True, False, True),
        ("5.18.0", False, True, True),
        ("5.18.0", False, None, False),
        (None, True, None, True),
        (None, None, True, True),
        (None, None, None, False),
    ],
)
def test_tie(version, root, inner, tied):
    fields = nested(to_hf(PRESETS["debug"]), transformers_version=version)
    fields["tie_word_embeddings"] = root
    fields["text_config"]["tie_word_embeddings"] = inner
    assert from_hf(fields).text.tie_word_embeddings is tied
    flat = {**to_hf(PRESETS["debug"]), "tie_word_embeddings": root, "transformers_version": version}
    assert from_hf(flat).text.tie_word_embeddings is bool(root)


def test_missing_fields_take_transformers_defaults():
    """They describe no published model: vision width 3584 (published: 1280), 80 layers."""
    text = {"hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4}
    config = from_hf({"model_type": "qwen2_5_vl", **text})
    assert config.vision == VisionConfig(hidden_size=3584)
    assert config.text == TextConfig(hidden_size=3584, num_heads=28, num_kv_heads=4)
    assert (config.text.vocab_size, config.text.num_layers) == (152_064, 80)
    assert (config.text.intermediate_size, config.text.norm_eps) == (29_568, 1e-5)
    assert (config.text.rope_theta, config.text.mrope_section) == (1e6, (16, 24, 24))
    assert not config.text.tie_word_embeddings
    assert [getattr(config, name) for name in ROOT] == [151_655, 151_656, 151_652, 151_653]
    assert config.vision.full_attention_layers == (7, 15, 23, 31)


def test_null_kv_heads_means_one_for_each_head():
    fields = to_hf(PRESETS["debug"]) | {"num_key_value_heads": None}
    assert from_hf(fields).text.num_kv_heads == 4


def test_vision_rope_theta_is_read():
    fields = as_transformers_5(to_hf(PRESETS["debug"]))
    fields["vision_config"]["rope_parameters"]["rope_theta"] = 500.0
    assert from_hf(fields).vision.rope_theta == 500.0


# Where, what is written there, and what the one sentence must say.
REFUSED = {
    "model type": ("model_type", "qwen2_vl", "model_type is 'qwen2_vl', expected 'qwen2_5_vl'"),
    "no model type": ("model_type", None, "model_type is None"),
    "yarn": ("rope_scaling.type", "yarn", "rope_scaling.type is 'yarn', only 'default' or 'mrope'"),
    "yarn in 5.x": ("rope_scaling.rope_type", "yarn", "rope_scaling.rope_type is 'yarn', only"),
    "quantised": ("quantization_config", {"bits": 4}, "quantization_config is set"),
    "sliding window": ("use_sliding_window", True, "use_sliding_window is True, only False"),
    "sliding layers": (
        "layer_types",
        ["full_attention", "sliding_attention"],
        "layer_types is ['full_attention', 'sliding_attention'], only",
    ),
    "activation": ("hidden_act", "gelu", "hidden_act is 'gelu', only 'silu' is supported"),
    "channels": ("vision_config.in_channels", 4, "vision_config.in_channels is 4, only 3"),
    "heads": ("num_attention_heads", 5, "num_attention_heads 5"),
    "no heads": ("num_attention_heads", 0, "num_attention_heads is 0, expected a whole number"),
    "kv heads": ("num_key_value_heads", 3, "num_key_value_heads 3"),
    "head width": ("head_dim", 32, "head_dim is 32, only 16 is supported"),
    "sections": ("rope_scaling.mrope_section", [2, 3, 4], "mrope_section [2, 3, 4] must add up"),
    "two sections": ("rope_scaling.mrope_section", [4, 4], "[4, 4], expected three whole numbers"),
    "vision heads": ("vision_config.num_heads", 3, "vision_config.hidden_size 32 over num_heads 3"),
    "vision head width": ("vision_config.num_heads", 16, "num_heads 16 must be a whole multiple"),
    "window": (
        "vision_config.window_size",
        100,
        "window_size 100 must be a multiple",
    ),
    "widths": ("vision_config.out_hidden_size", 60, "vision_config.out_hidden_size 60 must equal"),
    "full layers": (
        "vision_config.fullatt_block_indexes",
        7,
        "fullatt_block_indexes is 7, expected",
    ),
    "text": ("hidden_size", "64", "hidden_size is '64', expected a whole number of 1 or more"),
    "fraction": ("vocab_size", 512.5, "vocab_size is 512.5, expected a whole number"),
    "true": ("num_hidden_layers", True, "num_hidden_layers is True, expected a whole number"),
    "infinite": ("rope_theta", float("inf"), "rope_theta is inf, expected a number above 0"),
    "epsilon": ("rms_norm_eps", -1e-6, "rms_norm_eps is -1e-06, expected a number above 0"),
    "negative id": ("image_token_id", -1, "image_token_id is -1, expected a whole number of 0"),
    "tie": ("tie_word_embeddings", "yes", "tie_word_embeddings is 'yes', expected true or false"),
    "no object": ("vision_config", [1], "vision_config is [1], expected a JSON object"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("form", ["flat", "nested"])
def test_refusals_name_file_and_field(tmp_path, name, form):
    place, value, says = REFUSED[name]
    fields = copy.deepcopy(to_hf(PRESETS["debug"]))
    inner = fields
    *sections, last = place.split(".")
    for section in sections:
        inner = inner[section]
    inner[last] = value
    if form == "nested":
        fields = nested(fields)
    (tmp_path / "config.json").write_text(json.dumps(fields))
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / 'config.json'}: ")
    assert says in message
    assert "\n" not in message
    assert len(message) < len(str(tmp_path)) + 250


def test_a_long_value_is_cut_in_the_message(tmp_path):
    for name in ("hidden_size", "model_type"):
        fields = {**to_hf(PRESETS["debug"]), name: "9" * 100_000}
        (tmp_path / "config.json").write_text(json.dumps(fields))
        assert len(refusal(tmp_path)) < len(str(tmp_path)) + 250


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist; give a folder with a config.json"),
        (b"{", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[1]", "must hold a JSON object, not a list"),
    ],
)
def test_damaged_files(tmp_path, content, says):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    message = refusal(tmp_path)
    assert message.startswith(str(tmp_path / "config.json"))
    assert says in message


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_pixel_statistics_come_from_the_image_processor(tmp_path, name):
    (tmp_path / "config.json").write_text(json.dumps(to_hf(PRESETS["debug"])))
    assert from_folder(tmp_path).vision.image_mean == CLIP_MEAN
    settings = {"image_mean": [0.5, 0.25, 0.125], "image_std": 0.5}
    nests = name == "processor_config.json"
    content = {"image_processor": settings} if nests else settings
    (tmp_path / name).write_text(json.dumps(content))
    vision = from_folder(tmp_path).vision
    assert vision.image_mean == (0.5, 0.25, 0.125)
    assert vision.image_std == (0.5, 0.5, 0.5)
    for field, value, says in (
        ("image_mean", [0.5, 0.5], "image_mean is [0.5, 0.5], expected 3 numbers"),
        ("image_std", [1.0, 0.0, 1.0], "image_std is [1.0, 0.0, 1.0], expected numbers above 0"),
    ):
        (tmp_path / name).write_text(json.dumps({**settings, field: value}))
        message = refusal(tmp_path)
        assert message == f"{tmp_path / name}: {says}"


def refusal(folder) -> str:
    with pytest.raises(InputError) as raised:
        from_folder(folder)
    return str(raised.value)
