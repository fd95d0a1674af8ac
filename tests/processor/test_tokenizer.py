"""The tokenizer of a folder: ids, text, streaming, and damaged files."""

import json
import random

import numpy as np
import pytest

from onevision_jax.errors import InputError
from onevision_jax.processor import Tokenizer

STRINGS = [
    "Hello, world!",
    "你好，世界！𠮷野家",
    "😀🚀👩‍👩‍👧‍👦 family",
    "مرحبا Привет naïve",
    " \n\n\t x",
    "a<|im_end|>b<tool_call>c",
    "\N{REPLACEMENT CHARACTER} in the text \N{REPLACEMENT CHARACTER}",
    "",
]


def streamed(tokenizer, ids, **options) -> list[str]:
    stream = tokenizer.stream(**options)
    return [*(stream.push(i) for i in ids), stream.flush()]


@pytest.mark.parametrize("text", STRINGS)
def test_decode_gives_the_text_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert tokenizer.decode(ids) == text


def test_special_tokens_in_text_are_parsed_and_can_be_skipped(tokenizer):
    ids = tokenizer.encode("a<|im_end|>b")
    assert ids.tolist()[1] == tokenizer.token_id("<|im_end|>")
    assert len(ids) == 3
    assert tokenizer.decode(ids, skip_special=True) == "ab"
    kept = tokenizer.encode("<tool_call>")  # Added, but not special.
    assert len(kept) == 1
    assert tokenizer.decode(kept, skip_special=True) == "<tool_call>"


@pytest.mark.parametrize("skip_special", [False, True])
@pytest.mark.parametrize("text", STRINGS)
def test_streamed_pieces_are_the_text_and_whole_characters(tokenizer, text, skip_special):
    ids = tokenizer.encode(text)
    pieces = streamed(tokenizer, ids, skip_special=skip_special)
    assert "".join(pieces) == tokenizer.decode(ids, skip_special=skip_special)
    # Only a U+FFFD of the text itself may be shown: never one for half a character.
    assert "".join(pieces).count("\N{REPLACEMENT CHARACTER}") == text.count(
        "\N{REPLACEMENT CHARACTER}"
    )


def test_streaming_holds_back_the_bytes_of_an_emoji(tokenizer):
    ids = tokenizer.encode("x🦖面y")  # Not learnt as a whole: several tokens each.
    pieces = [piece for piece in streamed(tokenizer, ids) if piece]
    assert len(ids) > 4
    assert pieces == ["x", "🦖", "面", "y"]


def test_streaming_of_random_ids_equals_decode(tokenizer):
    """Random bytes are mostly broken UTF-8; the pieces still make up decode's text."""
    rng = random.Random(0)
    for _ in range(200):
        ids = [rng.randrange(tokenizer.vocab_size + 10) for _ in range(rng.randrange(40))]
        for skip_special in (False, True):
            pieces = streamed(tokenizer, ids, skip_special=skip_special)
            assert "".join(pieces) == tokenizer.decode(ids, skip_special=skip_special)


def test_streaming_a_long_answer_stays_linear(tokenizer):
    ids = tokenizer.encode("In triangle ABC, find 面积 😀. " * 500)
    assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids)


def test_stop_and_pad_ids(tokenizer, model_folder):
    end, text_end = tokenizer.token_id("<|im_end|>"), tokenizer.token_id("<|endoftext|>")
    assert tokenizer.stop_ids == (end, text_end)
    assert tokenizer.pad_id == text_end
    (model_folder / "generation_config.json").unlink()
    assert Tokenizer.from_folder(model_folder).stop_ids == (end,)
    (model_folder / "generation_config.json").write_text('{"eos_token_id": "x"}')
    with pytest.raises(InputError, match="eos_token_id 'x'"):
        Tokenizer.from_folder(model_folder)


def test_truncation_and_padding_of_the_file_are_off(model_folder):
    file = model_folder / "tokenizer.json"
    settings = json.loads(file.read_text())
    settings["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    file.write_text(json.dumps(settings))
    assert len(Tokenizer.from_folder(model_folder).encode("a b c d e f g h i j")) > 4


def test_missing_and_damaged_files(tmp_path, model_folder):
    with pytest.raises(InputError, match="does not exist"):
        Tokenizer.from_folder(tmp_path / "nowhere")
    file = model_folder / "tokenizer.json"
    text = file.read_text()
    for damaged in (text[: len(text) // 2], "", "[]", "{}", '{"model": {"type": "BPE"}}', "\0"):
        file.write_text(damaged)
        with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer file"):
            Tokenizer.from_folder(model_folder)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        Tokenizer.from_folder(model_folder)
    file.unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json does not exist"):
        Tokenizer.from_folder(model_folder)


def test_unknown_token_and_lone_surrogate(tokenizer):
    with pytest.raises(InputError, match="no token '<nothing>'"):
        tokenizer.token_id("<nothing>")
    with pytest.raises(InputError, match="lone surrogate"):
        tokenizer.encode("\ud800")
