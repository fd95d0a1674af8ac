"""Makes the processor files of a small checkpoint from nothing: tokenizer, template, sizes.

For checkpoints that are trained here (quickstart, tests): a byte-level BPE learnt from given texts,
with Qwen's splitting rule and special tokens, behaves as the published tokenizer does with fewer
merges. Everything is written in the files a published checkpoint has.
"""

import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

# What Qwen2.5-VL's pixels are normalised with.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen's: words with one leading sign, single digits, runs of signs, newlines, spaces."""

PLAIN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}{2,}|\p{L}|[ ,]?\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""For small models that read tables and lists: a letter that stands alone is one token whatever
stands before it, and a digit takes the space or comma before it along. "K,4" and "row K 4" then
share their K, and the value is the token behind it: looking it up is one step of attention."""

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen2.5's special tokens in the order of their ids, directly behind the BPE vocabulary."""

ADDED_TOKENS = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
"""Behind the special ones: single tokens that decoding keeps."""

DEFAULT_SYSTEM = """\
{%- if not messages or messages[0].role != "system" -%}
    {{- "<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n" -}}
{%- endif -%}
"""
"""The part of the template that adds Qwen's system prompt where there is none."""

CHAT_TEMPLATE = """\
{%- macro picture(number) -%}
    {{- "Picture %d: " % number if add_vision_id else "" -}}
    {{- "<|vision_start|><|image_pad|><|vision_end|>" -}}
{%- endmacro -%}
{%- set seen = namespace(images=0) -%}
{%- if not messages or messages[0].role != "system" -%}
    {{- "<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n" -}}
{%- endif -%}
{%- for message in messages -%}
    {{- "<|im_start|>" ~ message.role ~ "\\n" -}}
    {%- if message.content is string -%}
        {{- message.content -}}
    {%- else -%}
        {%- for item in message.content -%}
            {%- if item.type == "image" or "image" in item or "image_url" in item -%}
                {%- set seen.images = seen.images + 1 -%}
                {{- picture(seen.images) -}}
            {%- elif "text" in item -%}
                {{- item.text -}}
            {%- else -%}
                {{- raise_exception("a content item has neither text nor image") -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{- "<|im_end|>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|im_start|>assistant\\n" -}}
{%- endif -%}
"""
"""ChatML with vision placeholders: renders as Qwen2.5-VL's own template does (no videos)."""


def qwen_tokenizer(
    vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], pattern: str = SPLIT_PATTERN
) -> tokenizers.Tokenizer:
    """Qwen2.5's tokenizer around a byte-level BPE; added tokens are numbered from len(vocab) on."""
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=dict(vocab), merges=list(merges)))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    _add_tokens(tokenizer)
    return tokenizer


def train_tokenizer(
    texts: Iterable[str], *, num_merges: int, pattern: str = SPLIT_PATTERN
) -> tokenizers.Tokenizer:
    """Learns up to `num_merges` merges on top of the 256 bytes; deterministic."""
    tokenizer = qwen_tokenizer({}, [], pattern)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + num_merges, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return qwen_tokenizer(model["vocab"], [tuple(pair) for pair in model["merges"]], pattern)


def write_processor_files(
    path: str | pathlib.Path,
    tokenizer: tokenizers.Tokenizer,
    *,
    min_pixels: int = 56 * 56,
    max_pixels: int = 28 * 28 * 1280,
    image_mean: Sequence[float] = CLIP_MEAN,
    image_std: Sequence[float] = CLIP_STD,
    default_system: bool = True,
) -> dict[str, int]:
    """Writes tokenizer, chat template, preprocessor and generation files into a folder.

    default_system: whether a conversation without a system prompt gets Qwen's.

    Returns the ids that the model's config.json has to name (image_token_id, eos_token_id, ...);
    config.json itself is the model's and is not written.
    """
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    ids = {
        "image_token_id": tokenizer.token_to_id("<|image_pad|>"),
        "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
        "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
        "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
        "bos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
    }
    tokenizer.save(str(path / "tokenizer.json"))
    template = CHAT_TEMPLATE if default_system else CHAT_TEMPLATE.replace(DEFAULT_SYSTEM, "")
    (path / "chat_template.jinja").write_text(template, encoding="utf-8")
    _write_json(
        path / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "clean_up_tokenization_spaces": False,
        },
    )
    _write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
            "min_pixels": min_pixels,
            "max_pixels": max_pixels,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": list(image_mean),
            "image_std": list(image_std),
        },
    )
    stop = [ids["eos_token_id"], ids["bos_token_id"]]
    _write_json(
        path / "generation_config.json",
        {"bos_token_id": ids["bos_token_id"], "pad_token_id": stop[1], "eos_token_id": stop},
    )
    return ids


def _add_tokens(tokenizer: tokenizers.Tokenizer) -> None:
    for special, names in ((True, SPECIAL_TOKENS), (False, ADDED_TOKENS)):
        tokens = [tokenizers.AddedToken(n, special=special, normalized=False) for n in names]
        if special:
            tokenizer.add_special_tokens(tokens)
        else:
            tokenizer.add_tokens(tokens)


def _write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
