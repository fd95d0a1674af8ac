"""Responses are cut into their parts; any text is accepted and none gets lost."""

import random
import time

import pytest

from onevision_jax.data.record import Record
from onevision_jax.data.target import TargetConfig, response_text
from onevision_jax.report import split_response


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("", "", "")),
        ("just words", ("", "just words", "")),
        ("```csv\na\n```\nwords", ("", "```csv\na\n```\nwords", "")),
        ("<think>why</think>\n<answer> 4 </answer>", ("", "why", "4")),
        (
            "<think>```csv\na,b\n\n1,2\n```\nwhy</think><answer>4</answer>",
            ("a,b\n\n1,2", "why", "4"),
        ),
        ("<think>\n````\n```\n````\n</think>", ("```", "", "")),
        ("<think>```csv\na,b\n1", ("a,b\n1", "", "")),
        ("<think>why", ("", "why", "")),
        ("```csv\na\n```\nwhy</think><answer>4</answer>", ("a", "why", "4")),
        ("<think>`x` why</think>", ("", "`x` why", "")),
        ("<think>```x``` why\n</think>", ("", "```x``` why", "")),
        ("<think>why</think> so <answer>4</answer> end", ("", "why\nso\nend", "4")),
        ("<answer>4", ("", "", "4")),
        ("<think>a <answer>3</answer> b</think>", ("", "a <answer>3</answer> b", "")),
        ("<answer>3</answer><answer>4</answer>", ("", "<answer>3</answer>", "4")),
        ("<THINK>why</Think><Answer>4</ANSWER>", ("", "why", "4")),
        ("</think></answer>", ("", "</answer>", "")),
        ("<think>```not a language\nx\n```\n</think>", ("", "```not a language\nx\n```", "")),
    ],
)
def test_parts(text, parts):
    assert split_response(text) == parts


def test_what_training_teaches_is_read_back():
    formal = "a,b\n```\n1,2"
    record = Record(
        id="r",
        image=None,
        question="?",
        answer="a",
        formal_text=formal,
        formal_language="csv",
        reasoning="1 < 2.\n\nSo a.",
    )
    assert split_response(response_text(record, TargetConfig())) == (formal, "1 < 2.\n\nSo a.", "a")
    plain = response_text(record, TargetConfig(formal=False))
    assert split_response(plain) == ("", "1 < 2.\n\nSo a.", "a")


def test_no_word_gets_lost():
    rng = random.Random(0)
    pieces = ["<think>", "</think>", "<answer>", "</answer>", "\n", "```\n", "````\n", " "]
    for _ in range(3000):
        words = [f"w{n}" for n in range(6)]
        text = "".join(rng.choice([*pieces, word]) + rng.choice(["", word]) for word in words)
        shown = "\n".join(split_response(text))
        assert all(shown.count(word) == text.count(word) for word in words), text


@pytest.mark.parametrize(
    "text",
    [
        "<" * 5_000_000,
        "<think>" * 700_000,
        "<answer></think>" * 300_000,
        "`" * 5_000_000,
        "<think>" + "`" * 5_000_000,
        "<think>```\n" + "\n```x" * 1_000_000,
        "<think>" + "`" * 2000 + "\n" + ("\n" + "`" * 2000 + "x") * 2500,
        "<think>```csv\n" + " " * 5_000_000,
    ],
    ids=lambda text: text[:12],
)
def test_five_megabytes_are_read_in_two_seconds(text):
    start = time.process_time()
    split_response(text)
    assert time.process_time() - start < 2
