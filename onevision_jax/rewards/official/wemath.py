"""We-Math's extraction (evaluation/four_dimensional_metrics.py), bug for bug.

The text behind the last "Answer", or all of it where that word, spelt so, is missing; without
spaces around it and without the signs < > : and full stop; its first character, if that is one of
A to H. So "**Answer**: B", "Answer: (B)" and "<answer>B</answer>" give no answer, and a response
that begins with "Because" answers B.
"""

import re
from collections.abc import Mapping
from typing import Any

from onevision_jax.rewards.grade import Grade
from onevision_jax.rewards.official.protocol import Protocol

DROPPED = re.compile(r"[<>:.]")
LETTERS = "ABCDEFGH"


def extract(response: str) -> str:
    """The letter, "" where none is found."""
    text = DROPPED.sub("", response.rpartition("Answer")[2].strip()).strip()
    return text[0] if text and text[0] in LETTERS else ""


def grade(
    response: str, gold: str, *, choices: tuple[str, ...] = (), facts: Mapping[str, Any]
) -> Grade:
    """One response against the gold's letter."""
    del choices, facts
    letter = extract(response)
    if not letter:
        return Grade("unparsed", None, "what follows the last 'Answer' begins with no letter A-H")
    if letter == gold:
        return Grade("correct", letter, "the gold's letter")
    return Grade("wrong", letter, f"option {letter}, not {gold}")


PROTOCOL = Protocol(
    grade=grade,
    extractor="first letter A-H behind the last 'Answer', case-sensitive, less <>:.",
    equality="the same letter",
    version="wemath-1",
)
