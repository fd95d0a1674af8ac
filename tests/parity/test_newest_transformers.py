"""A shorter comparison with transformers 5, whose files and calls differ from the pinned 4.57's.

Its folders nest the decoder's settings, spell rope_scaling `rope_parameters`, keep the tie of the
head in two places and come in two layouts of names; its models ask where the image tokens are.
`make test-transformers5` runs this in an environment of its own.
"""

import itertools
import json
import shutil
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402
from packaging.version import Version  # noqa: E402
from PIL import Image  # noqa: E402

from onevision_jax.convert import from_hf, load_model, to_hf  # noqa: E402
from onevision_jax.convert.source import open_source  # noqa: E402
from onevision_jax.errors import InputError  # noqa: E402
from onevision_jax.model import ModelOptions, QwenVL, presets  # noqa: E402
from onevision_jax.processor import Processor, collate  # noqa: E402
from onevision_jax.rollout import Generator, Sampling  # noqa: E402
from onevision_jax.types import Batch  # noqa: E402

if Version(transformers.__version__) < Version("5"):
    pytest.skip("needs transformers 5 (make test-transformers5)", allow_module_level=True)

pytestmark = pytest.mark.parity

NEW_TOKENS = 32
OPTIONS = ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32)
MODEL = transformers.Qwen2_5_VLForConditionalGeneration
# Texts, and ... where a picture stands; the pictures by number.
CASES = {
    "text": (["What is the angle at B?"], []),
    "one image": ([..., "Read the chart, then answer."], [0]),
    "several images": ([..., ..., "Which bar is taller?", ..., "And here?"], [2, 1, 3]),
}


def examples_and_images(pair, pictures):
    """Every case through our processor, and all images in order."""
    examples, images = [], []
    for content, chosen in CASES.values():
        items = [{"type": "image"} if c is ... else {"type": "text", "text": c} for c in content]
        own = [Image.fromarray(pictures[i]) for i in chosen]
        examples.append(pair.processor([{"role": "user", "content": items}], own))
        images.append(own)
    return examples, images


def their_inputs(pair, examples, images) -> dict[str, Any]:
    """A batch padded on the left. Since 5.3 the model must be told which tokens are an image's."""
    length = max(len(example.tokens) for example in examples)
    ids = np.full((len(examples), length), pair.processor.tokenizer.pad_id, np.int64)
    mask = np.zeros_like(ids)
    for row, example in enumerate(examples):
        ids[row, length - len(example.tokens) :] = example.tokens
        mask[row, length - len(example.tokens) :] = 1
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "mm_token_type_ids": torch.tensor((ids == pair.ours.config.image_token_id).astype(int)),
        **pair.pixels([image for row in images for image in row]),
    }


def our_logits(model: QwenVL, example) -> np.ndarray:
    """[T, V]"""
    arrays = collate(
        [example], pad_to_tokens=len(example.tokens), pad_to_patches=len(example.patches)
    )
    batch = Batch(**{name: jnp.asarray(value) for name, value in arrays.items()})
    return np.asarray(model.logits(model(batch).hidden))[0]


@torch.no_grad()
def their_logits(model, inputs) -> np.ndarray:
    return model(**inputs).logits[0].numpy()


# --- The model --------------------------------------------------------------------------------


def test_logits(pair, pictures):
    for name, example, images in zip(CASES, *examples_and_images(pair, pictures), strict=True):
        want = their_logits(pair.theirs, their_inputs(pair, [example], [images]))
        off = np.abs(our_logits(pair.ours, example) - want).max()
        print(f"logits, {name}: max |difference| {off:.1e}")
        assert off <= 1e-4


def test_greedy_tokens_of_an_unequal_batch(pair, pictures):
    examples, images = examples_and_images(pair, pictures)
    inputs, tokenizer = their_inputs(pair, examples, images), pair.processor.tokenizer
    output = pair.theirs.generate(
        **inputs,
        generation_config=transformers.GenerationConfig(
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=list(tokenizer.stop_ids),
            pad_token_id=tokenizer.pad_id,
            suppress_tokens=list(pair.ours.config.vision_token_ids),
        ),
    )
    rows = output[:, inputs["input_ids"].shape[1] :].tolist()
    stops = set(tokenizer.stop_ids)
    ends = [next((i + 1 for i, t in enumerate(row) if t in stops), len(row)) for row in rows]
    assert any(len(set(row)) > 5 for row in rows), "the answers hardly vary: nothing is tested"
    completions = Generator(pair.ours, stop_ids=tokenizer.stop_ids).generate(
        examples, sampling=Sampling(temperature=0.0), max_new_tokens=NEW_TOKENS
    )
    want = [row[:end] for row, end in zip(rows, ends, strict=True)]
    assert [completion.token_ids for completion in completions] == want


# --- Their files, read here -------------------------------------------------------------------


@pytest.mark.parametrize(("original", "layout"), [(True, "hub"), (False, "transformers")])
def test_both_layouts_of_a_save_load(pair, tmp_path, original, layout):
    pair.theirs.save_pretrained(tmp_path, save_original_format=original)
    source = open_source(tmp_path)
    assert source.layout == layout
    assert source.notes == ()  # Nothing left out.
    assert_same_parameters(load_model(tmp_path, options=OPTIONS), pair.ours)


@pytest.mark.parametrize("root", [None, False, True])
@pytest.mark.parametrize("inner", [None, False, True])
def test_tie_in_the_root_or_in_text_config(pair, tmp_path, root, inner):
    """The weights load whenever the spelling (all nine are in test_config.py) fits them."""
    fields = read_json(pair.folder, "config.json")
    for section, value in ((fields, root), (fields["text_config"], inner)):
        section.pop("tie_word_embeddings", None)
        if value is not None:
            section["tie_word_embeddings"] = value
    (tmp_path / "config.json").write_text(json.dumps(fields))
    shutil.copy(f"{pair.folder}/model.safetensors", tmp_path)
    tied = bool(root or inner)
    if tied == pair.ours.config.text.tie_word_embeddings:
        assert_same_parameters(load_model(tmp_path, options=OPTIONS), pair.ours)
    else:
        with pytest.raises(InputError, match=r"lm_head\.weight"):
            load_model(tmp_path, options=OPTIONS)


def test_processor_files_of_a_save(pair, pictures, tmp_path):
    """The image processor's and the tokenizer's own files give the same tokens and patches."""
    shutil.copytree(pair.folder, tmp_path, dirs_exist_ok=True)
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    pair.image_processor.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(pair.folder).save_pretrained(tmp_path)
    ours = Processor.from_folder(tmp_path)
    assert ours.config == pair.processor.config
    items = [
        {"type": "image"},
        {"type": "text", "text": "What is 'ABC', größer? 面积 12 cm²\n"},
    ]
    messages, images = [{"role": "user", "content": items}], [Image.fromarray(pictures[0])]
    want, got = (vars(processor(messages, images)) for processor in (pair.processor, ours))
    for name in want:
        np.testing.assert_array_equal(want[name], got[name], name)


# --- Our files, read there --------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["hub", "transformers"])
@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
def test_our_exports_load_there(pair, pictures, tmp_path, layout, flat):
    """No tensor missing, left over or of another shape, and the logits are the same bits."""
    from_hf(pair.folder, tmp_path / "checkpoint")
    to_hf(tmp_path / "checkpoint", tmp_path / "export", layout=layout)
    if flat:  # As on the Hub, and as we write it for a model that comes from no folder.
        fields = presets.to_hf(pair.ours.config)
        (tmp_path / "export" / "config.json").write_text(json.dumps(fields))
    exported, info = MODEL.from_pretrained(
        tmp_path / "export", dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values()), info
    examples, images = examples_and_images(pair, pictures)
    inputs = their_inputs(pair, examples[-1:], images[-1:])
    np.testing.assert_array_equal(
        their_logits(exported.eval(), inputs), their_logits(pair.theirs, inputs)
    )


def assert_same_parameters(ours: QwenVL, want: QwenVL) -> None:
    assert ours.config.text == want.config.text
    states = [jax.tree.leaves_with_path(nnx.state(m, nnx.Param)) for m in (ours, want)]
    for (path, a), (same, b) in itertools.zip_longest(*states, fillvalue=(None, None)):
        assert path == same
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), str(path))


def read_json(folder: str, name: str) -> dict:
    with open(f"{folder}/{name}", encoding="utf-8") as file:
        return json.load(file)
