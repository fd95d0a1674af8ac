"""We-Math's extraction, bug for bug, against the published pandas chain."""

import random
import re

import pytest

from onevision_jax.rewards.official.wemath import extract, grade


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        # From output/qwen2vl-base.json of SnowNation101/We-Math.
        ("Thought process: The fourth column.\nAnswer:B. Fourth column.", "B"),
        ("Thought process: It is Point D.\nAnswer:<<C>>.", "C"),
        ("Thought process: ...\nAnswer:<<C. ③>>.", "C"),
        ("<Thought process>: <<because>> <Answer>: <<D>>", "D"),
        ("Answer: A\nAnswer: H", "H"),
        ("Answer: I", ""),
        ("Answer: (B)", ""),
        ("**Answer**: B", ""),
        ("<answer>B</answer>", ""),
        ("answer: B", ""),
        ("B", "B"),
        ("Because the circle is larger", "B"),
        ("Answer", ""),
        ("", ""),
        ("<think>So it is A.</think> Answer: . : A", "A"),
    ],
)
def test_extraction(response, letter):
    assert extract(response) == letter


def test_against_the_published_chain():
    """`str.split('Answer').str[-1].str.strip().str.replace(...)`, on random texts."""
    rng = random.Random(0)
    pieces = ["Answer", "answer", "A", "B", "H", "I", "<", ">", ":", ".", " ", "\n", "(", "*", "x"]
    found = 0
    for _ in range(20_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(9)))
        published = re.sub(r"[>><<:.]", "", text.split("Answer")[-1].strip()).strip()
        letter = published[0] if published and published[0] in "ABCDEFGH" else ""
        assert extract(text) == letter, text
        found += bool(letter)
    assert 2000 < found < 18_000


def test_grades():
    assert grade("Answer: B", "B", facts={}).verdict == "correct"
    assert grade("Answer: A", "B", facts={}).verdict == "wrong"
    assert grade("Answer: (B)", "B", facts={}).verdict == "unparsed"
