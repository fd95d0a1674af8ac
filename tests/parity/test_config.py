"""The config reader against transformers' own, whichever version is installed (4.57 or 5)."""

import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from onevision_jax.model import from_folder, from_hf  # noqa: E402
from onevision_jax.model.config import QwenVLConfig, TextConfig, VisionConfig  # noqa: E402

pytestmark = pytest.mark.parity

TEXT = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
    "rope_theta": 5e5,
    "rms_norm_eps": 1e-6,
}
VISION = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "out_hidden_size": 32,
    "fullatt_block_indexes": [0],
}
# 4.57 spells it rope_scaling and rope_theta, 5 puts both into rope_parameters.
MAJOR = int(transformers.__version__.split(".")[0])


def as_held(theirs) -> QwenVLConfig:
    """The settings as transformers' config object holds them, in our classes."""
    text, vision = theirs.text_config, theirs.vision_config
    rope = text.rope_scaling if MAJOR == 4 else text.rope_parameters
    return QwenVLConfig(
        text=TextConfig(
            vocab_size=text.vocab_size,
            hidden_size=text.hidden_size,
            intermediate_size=text.intermediate_size,
            num_layers=text.num_hidden_layers,
            num_heads=text.num_attention_heads,
            num_kv_heads=text.num_key_value_heads,
            rope_theta=text.rope_theta if MAJOR == 4 else rope["rope_theta"],
            mrope_section=tuple((rope or {}).get("mrope_section", (16, 24, 24))),
            norm_eps=text.rms_norm_eps,
            tie_word_embeddings=is_tied(theirs),
        ),
        vision=VisionConfig(
            depth=vision.depth,
            hidden_size=vision.hidden_size,
            intermediate_size=vision.intermediate_size,
            num_heads=vision.num_heads,
            out_hidden_size=vision.out_hidden_size,
            patch_size=vision.patch_size,
            temporal_patch_size=vision.temporal_patch_size,
            spatial_merge_size=vision.spatial_merge_size,
            window_size=vision.window_size,
            full_attention_layers=tuple(vision.fullatt_block_indexes),
            rope_theta=1e4 if MAJOR == 4 else vision.rope_parameters["rope_theta"],
        ),
        image_token_id=theirs.image_token_id,
        video_token_id=theirs.video_token_id,
        vision_start_token_id=theirs.vision_start_token_id,
        vision_end_token_id=theirs.vision_end_token_id,
    )


def is_tied(config) -> bool:
    """What the model does, not what a field says."""
    with torch.device("meta"):
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    model.tie_weights()
    return model.lm_head.weight is model.model.language_model.embed_tokens.weight


def read_and_save(fields, folder):
    """transformers reads a config.json and writes it again in its own form."""
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl", **fields}))
    theirs = transformers.Qwen2_5_VLConfig.from_pretrained(folder)
    theirs.save_pretrained(folder / "saved")
    return theirs


@pytest.mark.parametrize("form", ["flat", "nested"])
def test_what_is_said(tmp_path, form):
    text = TEXT if form == "flat" else {"text_config": TEXT}
    ids = {"image_token_id": 31, "video_token_id": 32, "vision_start_token_id": 33}
    theirs = read_and_save({**text, **ids, "vision_config": VISION}, tmp_path)
    want = as_held(theirs)
    assert want.text.rope_theta == 5e5
    assert from_folder(tmp_path) == want
    assert from_folder(tmp_path / "saved") == want


def test_what_is_not_said(tmp_path):
    """The defaults that are traps (vision width 3584, vocabulary 152064, 80 layers)."""
    vision = {"depth": 1, "out_hidden_size": 8192}  # Their default, 3584, fits no default decoder.
    fields = {"vision_config": vision, "text_config": {"num_hidden_layers": 1}}
    theirs = read_and_save(fields, tmp_path)
    want = as_held(theirs)
    assert from_folder(tmp_path) == want
    assert from_folder(tmp_path / "saved") == want
    assert theirs.text_config.num_hidden_layers == 1
    bare = transformers.Qwen2_5_VLConfig()
    ours = from_hf({"model_type": "qwen2_5_vl", "vision_config": {"out_hidden_size": 8192}})
    assert ours.text.num_layers == bare.text_config.num_hidden_layers
    assert ours.vision.depth == bare.vision_config.depth


@pytest.mark.parametrize("root", [None, False, True])
@pytest.mark.parametrize("inner", [None, False, True])
@pytest.mark.parametrize("form", ["flat", "nested"])
def test_tied_head(tmp_path, form, inner, root):
    """Every way to spell it in a file of this version, and what this version makes of it."""
    text = TEXT if inner is None else {**TEXT, "tie_word_embeddings": inner}
    fields = {"transformers_version": transformers.__version__, "vision_config": VISION}
    fields |= text if form == "flat" else {"text_config": text}
    if root is not None:
        fields["tie_word_embeddings"] = root
    theirs = read_and_save(fields, tmp_path)
    assert from_folder(tmp_path).text.tie_word_embeddings == is_tied(theirs)
    saved = transformers.Qwen2_5_VLConfig.from_pretrained(tmp_path / "saved")
    assert from_folder(tmp_path / "saved").text.tie_word_embeddings == is_tied(saved)
