"""Options written into running text, and what kind of answer a free-form gold is."""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from onevision_jax.rewards import AnswerKind

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_TEXT = 50_000
# "A. x", "(A) x", "A: x", behind a line's start, a space or a semicolon.
MARK = r"(?:^|[\s;,])[(（]?{letter}\s?[.):：、．）]\s*"
MARKS = [re.compile(MARK.format(letter=letter)) for letter in LETTERS]
HEADING = re.compile(r"(?:choices|options)\s*[:：]", re.I)
# H_2O, SO_4^{2-}: formulas of chemistry, which are no products of variables.
FORMULA = re.compile(r"\d*(?:[A-Z][a-z]?(?:_?\{?\d+\}?)?)+(?:\^?\{?\d*[+-]\}?)?")


def parse_options(text: str) -> tuple[str, ...]:
    """The options in text: a JSON or Python list, "A. x\\nB. y", "A. x; B. y", or bare lines.

    () where the text is none of these. Nothing is evaluated: a list may hold literals only.
    """
    text = text.strip()
    if not text or len(text) > MAX_TEXT:
        return ()
    if text[0] in "[({":
        items = literal_items(text)
        if items:
            return items
    lettered = lettered_options(text)
    if lettered:
        return lettered
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return tuple(lines) if 2 <= len(lines) <= len(LETTERS) else ()


def literal_items(text: str) -> tuple[str, ...]:
    """The items of a list literal, or the values of one from A, B, ...; () if it is neither."""
    value: Any = None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "\\p" is an odd escape, and LaTeX all the same.
                value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return ()
    if isinstance(value, dict):
        value = list(value.values()) if LETTERS.startswith("".join(map(str, value))) else None
    if not isinstance(value, list | tuple) or len(value) > len(LETTERS):
        return ()
    if not all(isinstance(item, str | int | float) for item in value):
        return ()
    items = tuple(str(item) for item in value)
    labelled = lettered_options("\n".join(items))
    return labelled if len(labelled) == len(items) else items


def lettered_options(text: str) -> tuple[str, ...]:
    """What follows A, B, ... in order; () with fewer than two or when A is not first."""
    spans: list[tuple[int, int]] = []
    place = 0
    for mark in MARKS:
        found = mark.search(text, place)
        if found is None or (not spans and found.start() > 0):
            break
        spans.append(found.span())
        place = found.end()
    ends = [start for start, _ in spans[1:]] + [len(text)]
    options = [
        text[begin:end].strip(" \t\r\n;") for (_, begin), end in zip(spans, ends, strict=False)
    ]
    return tuple(options) if len(options) > 1 and all(options) else ()


def options_in_question(question: str) -> tuple[str, ...]:
    """The options behind the last "Choices:" of a question."""
    headings = list(HEADING.finditer(question))
    return lettered_options(question[headings[-1].end() :].strip()) if headings else ()


def holds_options(question: str, choices: Iterable[str]) -> bool:
    """Whether the question shows its choices already: under a heading, or behind their labels."""
    if HEADING.search(question):
        return True
    marks = [MARK.format(letter=letter) for letter in LETTERS]
    labelled = [mark + re.escape(choice) for mark, choice in zip(marks, choices, strict=False)]
    return bool(labelled) and all(re.search(pattern, question) for pattern in labelled)


def is_label(text: str, choices: Sequence[str] = ()) -> bool:
    """Whether a gold is the label of an option: of one of the choices, where they are known."""
    return len(text) == 1 and text in LETTERS[: len(choices) or len(LETTERS)]


def free_kind(gold: str) -> AnswerKind:
    """`text` for words and chemical formulas, else `number`, which reads variables as well."""
    plain = gold.strip()
    if FORMULA.fullmatch(plain) or not re.search(r"[\d=^\\]", plain):
        return "text"
    return "number"
