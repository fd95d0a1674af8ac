"""The real Qwen vocabulary: our ids are those of transformers on 1,000 strings, and decode back.

The vocabulary is the one Alibaba ships in its `dashscope` package (resources/qwen.tiktoken, 151,643
ranks). The package itself is never imported; without it the test is skipped.
"""

import base64
import importlib.util
import pathlib
import random
import unicodedata

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from onevision_jax.processor import Tokenizer
from onevision_jax.processor.tiny import (
    ADDED_TOKENS,
    SPECIAL_TOKENS,
    qwen_tokenizer,
    write_processor_files,
)

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.parity

NUM_RANKS = 151643
NUM_STRINGS = 1000
SCRIPTS = {
    "ascii": [(32, 127)],
    "latin": [(0x20, 0x7F), (0xC0, 0x250)],
    "greek and cyrillic": [(0x370, 0x400), (0x400, 0x500), (0x20, 0x21)],
    "hebrew and arabic": [(0x5D0, 0x5EB), (0x620, 0x660), (0x20, 0x21)],
    "devanagari and thai": [(0x900, 0x970), (0xE01, 0xE3B), (0x20, 0x21)],
    "chinese": [(0x4E00, 0x9FA6), (0x3001, 0x3003)],
    "japanese and korean": [(0x3041, 0x3097), (0x30A1, 0x30FB), (0xAC00, 0xD7A4)],
    "symbols and emoji": [(0x2190, 0x2300), (0x1F300, 0x1F650), (0x200D, 0x200E), (0xFE0F, 0xFE10)],
    "code": [(9, 11), (13, 14), (32, 65), (91, 97), (123, 127)],
    "combining": [(0x61, 0x7B), (0x300, 0x330)],
    "everything": [(9, 0xD800), (0xE000, 0x11000), (0x20000, 0x2A000)],
}
WORDS = ["the", "triangle", "don't", "I'LL", "they've", "ABC", "x²", "\\boxed{42}", "3.14159"]
WORDS += ["2026", "面积", "是多少", "<think>", "Größe"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    spec = importlib.util.find_spec("dashscope")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("dashscope, which carries the Qwen vocabulary, is not installed")
    root = pathlib.Path(next(iter(spec.submodule_search_locations)))
    ranks = read_ranks(root / "resources" / "qwen.tiktoken")
    assert sorted(ranks.values()) == list(range(NUM_RANKS))
    spell = dict(zip(byte_order(), spellings(), strict=True))
    names = {token: "".join(spell[byte] for byte in token) for token in ranks}
    merges = [(names[left], names[right]) for left, right in rebuild_merges(ranks)]
    assert len(merges) == NUM_RANKS - 256
    path = tmp_path_factory.mktemp("qwen")
    tokenizer = qwen_tokenizer({names[token]: rank for token, rank in ranks.items()}, merges)
    write_processor_files(path, tokenizer)
    return path


@pytest.fixture(scope="module")
def ours(folder):
    return Tokenizer.from_folder(folder)


def test_special_ids_are_the_published_ones(ours):
    names = [*SPECIAL_TOKENS, *ADDED_TOKENS]
    assert [ours.token_id(name) for name in names] == list(range(151643, 151665))
    assert ours.token_id("<|image_pad|>") == 151655
    assert ours.stop_ids == (151645, 151643)
    assert ours.vocab_size == 151665


def test_known_ids(ours):
    """From the documentation of transformers' Qwen2 tokenizer, and from a Qwen2.5 vocabulary."""
    assert ours.encode("Hello world").tolist() == [9707, 1879]
    assert ours.encode(" Hello world").tolist() == [21927, 1879]
    assert ours.encode("<think>").tolist() == [13708, 766, 29]


def test_ids_of_transformers_and_round_trip(ours, folder):
    theirs = transformers.Qwen2TokenizerFast.from_pretrained(folder)
    rng = random.Random(0)
    for index in range(NUM_STRINGS):
        text = make_text(rng, list(SCRIPTS)[index % len(SCRIPTS)])
        ids = ours.encode(text)
        assert ids.tolist() == theirs(text)["input_ids"], text
        assert ours.decode(ids) == theirs.decode(ids) == unicodedata.normalize("NFC", text)
        stream = ours.stream()
        assert "".join([*map(stream.push, ids), stream.flush()]) == ours.decode(ids)


def make_text(rng: random.Random, script: str) -> str:
    """A run of one script's characters, broken up with words, spaces and special tokens."""
    parts = []
    for _ in range(rng.randint(1, 5)):
        ranges = [rng.choice(SCRIPTS[script]) for _ in range(rng.randint(1, 20))]
        parts.append("".join(chr(rng.randrange(*pair)) for pair in ranges))
        if rng.random() < 0.5:
            parts.append(rng.choice([" ", "  ", "\n", "\n\n\t"]) + rng.choice(WORDS))
        if rng.random() < 0.1:
            parts.append(rng.choice([*SPECIAL_TOKENS, *ADDED_TOKENS]))
    return "".join(parts)


def read_ranks(file: pathlib.Path) -> dict[bytes, int]:
    pairs = (line.split() for line in file.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def rebuild_merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The merge that makes each token: what is left of it when only lower ranks may merge."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            left, right = split(token, rank, ranks)
            merges.append((left, right))
    return merges


def split(token: bytes, limit: int, ranks: dict[bytes, int]) -> list[bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while True:
        pairs = [ranks.get(parts[i] + parts[i + 1], limit) for i in range(len(parts) - 1)]
        best = min(pairs, default=limit)
        if best >= limit:
            return parts
        i = pairs.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def byte_order() -> list[int]:
    """Bytes in the order in which byte-level BPE spells them: printable ones as themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return printable + [byte for byte in range(256) if byte not in printable]


def spellings() -> list[str]:
    chars = [chr(byte) for byte in byte_order()[:188]] + [chr(256 + i) for i in range(68)]
    assert sorted(chars) == sorted(ByteLevel.alphabet())
    return chars
