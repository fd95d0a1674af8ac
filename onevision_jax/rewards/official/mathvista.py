"""MathVista's rules: evaluation/extract_answer.py with --quick_extract, then calculate_score.py.

Extraction: "" for an empty response; the response itself where it is a choice; an integer or float
that is the whole response; what stands in 'The answer is "...".'. Where these fail, the published
script asks an LLM with five examples. This one asks nobody: it takes what the response's answer
tags hold, or a response of one short line as it stands, which is also how stored extractions are
regraded; any other is `unparsed`.

Normalisation, as today's script has it: for a choice the first letter in round brackets, or a
letter, gives the option; anything else gives the option at the smallest Levenshtein distance, so
that a multiple-choice answer is never missing: a free guess, kept because published numbers hold
it. An integer is int(float(x)) (score files of 2023 used int(x)); a float is rounded to `precision`
places; a list is compared as text.
"""

import re
from collections.abc import Mapping
from typing import Any

from onevision_jax.rewards.extract import find_tags
from onevision_jax.rewards.grade import Grade
from onevision_jax.rewards.official.protocol import Protocol

QUICK_START, QUICK_END = 'The answer is "', '".'
LETTER = re.compile(r"\(([a-zA-Z])\)")
LINE_LIMIT = 120  # characters of a response that is its own extraction
SPAN_LIMIT = 2000  # Levenshtein distance takes time by the product of lengths


def extract(response: str, choices: tuple[str, ...], facts: Mapping[str, Any]) -> str | None:
    """The extracted text; None where the published protocol would ask an LLM."""
    if response == "" or (facts["question_type"] == "multi_choice" and response in choices):
        return response
    try:
        if facts["answer_type"] == "integer":
            return str(int(response))
        if facts["answer_type"] == "float":
            return str(float(response))
    except ValueError:
        pass
    quick = quick_extract(response)
    if quick is not None:
        return quick
    tags = find_tags(response)
    if tags.answer_end >= 0:
        return response[tags.answer_start : tags.answer_end].strip()
    line = response.strip()
    return line if line and len(line) <= LINE_LIMIT and "\n" not in line else None


def quick_extract(response: str) -> str | None:
    r"""The group of `The answer is "(.*)"\.`, in linear time; None without a match."""
    for line in response.split("\n"):
        start = line.find(QUICK_START)
        if start < 0:
            continue
        start += len(QUICK_START)
        end = line.rfind(QUICK_END, start)
        if end >= 0:
            return line[start:end]
    return None


def normalise(extraction: str, choices: tuple[str, ...], facts: Mapping[str, Any]) -> str | None:
    """What is compared with the gold; None where the text is no such number."""
    if facts["question_type"] == "multi_choice":
        text = extraction.strip()
        letters = LETTER.findall(text)
        text = letters[0].upper() if letters else text
        place = ord(text) - ord("A") if len(text) == 1 else -1
        return choices[place] if 0 <= place < len(choices) else most_similar(text, choices)
    try:
        if facts["answer_type"] == "integer":
            return str(int(float(extraction)))
        if facts["answer_type"] == "float":
            return str(round(float(extraction), facts["precision"]))
    except (ValueError, OverflowError):
        return None
    return extraction


def most_similar(text: str, choices: tuple[str, ...]) -> str:
    """The first choice at the smallest edit distance."""
    return min(choices, key=lambda choice: levenshtein(text, choice))


def levenshtein(left: str, right: str) -> int:
    """Insertions, deletions and substitutions from one text to the other."""
    row = list(range(len(right) + 1))
    for i, sign in enumerate(left, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (sign != other))
    return row[-1]


def grade(
    response: str, gold: str, *, choices: tuple[str, ...] = (), facts: Mapping[str, Any]
) -> Grade:
    """One response against the gold's text.

    facts: question_type, answer_type, precision; `answer`, the gold's text, where the gold is the
    label of an option.
    """
    extraction = extract(response, choices, facts)
    if extraction is None:
        return Grade("unparsed", None, "the quick rules find nothing; published: an LLM is asked")
    if len(extraction) > SPAN_LIMIT:
        return Grade("unparsed", extraction[:200], f"longer than {SPAN_LIMIT} characters")
    prediction = normalise(extraction, choices, facts)
    if prediction is None:
        return Grade("unparsed", extraction, f"no {facts['answer_type']}")
    right = prediction == facts.get("answer", gold)
    return Grade("correct" if right else "wrong", extraction, f"read as {prediction!r}")


PROTOCOL = Protocol(
    grade=grade,
    extractor="quick rules of extract_answer.py, else the answer tags or a response of one short "
    "line; the published protocol asks an LLM where the quick rules fail, this one does not",
    equality="calculate_score.py: nearest choice by edit distance (a free guess), int(float(x)), "
    "rounding to precision, then the same text",
    version="mathvista-1",
)
