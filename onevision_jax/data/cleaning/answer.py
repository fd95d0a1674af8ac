"""Final answers: the styles they are stated in, the choice they mean, and their kind."""

import re
from typing import NamedTuple

from onevision_jax.data.record import AnswerKind
from onevision_jax.data.source import Rejected

_LABEL = r"(?:the\s+)?(?:final\s+|correct\s+)?(?:answer|option|choice)"
# A line "Answer: x", bold or not; x may stand in the line below.
_LINE = re.compile(
    rf"^[ \t>#*_-]*{_LABEL}[ \t*]*[:\uff1a][ \t*]*\n?[ \t*]*(\S[^\n]*)$", re.IGNORECASE | re.M
)
# A sentence "... the answer is x."; the stop of "A. x" does not end it.
_SENTENCE = re.compile(
    r"\bthe[ \t]+(?:final[ \t]+|correct[ \t]+)?(?:answer|option|choice)[ \t]+is[ \t]*:?"
    r"[ \t]*(\(?[A-Z][.)][ \t]+\S[^\n]*?|\S[^\n]*?)(?:\.(?=\s)|$)",
    re.IGNORECASE | re.M,
)
_STYLE = re.compile(rf"{_LABEL}\s*(?:\bis\b\s*:?|:|\uff1a)\s*", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_BOXED = re.compile(r"\\boxed\s*\{")
_CHOICE = re.compile(r"\(?([A-Z])\)?(?:[.:)]\s*|\s+|\Z)(.*)", re.DOTALL)
_LETTER_STOP = re.compile(r"\(?([A-Z])[.)]\s+")
_NUMBER = re.compile(
    r"[-+\u2212]?\s?[$\u20ac\u00a3]?\s?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?"
    r"\s?(?:%|\u00b0|cm|mm|km|m|kg|g|degrees|feet|ft|inches|in|miles|meters|units?)?(?:\^?[23])?",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"\\[a-zA-Z]+|[\^\u221a\u03c0=]|\d\s*/\s*\d")


class Statement(NamedTuple):
    """A final answer stated in a text, at [start, end)."""

    start: int
    end: int
    answer: str


def find_statements(text: str, choices: tuple[str, ...] = ()) -> list[Statement]:
    """Everything that says by its form that it is the final answer, in order, none twice."""
    found = [
        Statement(match.start(), match.end(), strip_style(match[1]))
        for match in _LINE.finditer(text)
    ]
    found += [_said(match, choices) for match in _SENTENCE.finditer(text)]
    found += _boxes(text)
    kept: list[Statement] = []
    # The one that starts first is the widest: a box in an "Answer:" line is part of it.
    for statement in sorted(found):
        if statement.answer and not (kept and statement.start < kept[-1].end):
            kept.append(statement)
    return kept


def _said(match: re.Match[str], choices: tuple[str, ...]) -> Statement:
    """The answer of a sentence; of "B. As we saw" the letter, unless that is choice B."""
    letter = _LETTER_STOP.match(match[1])
    if letter and choices and _plain(match[1][letter.end() :]) not in map(_plain, choices):
        return Statement(match.start(), match.start(1) + letter.end(), letter[1])
    return Statement(match.start(), match.end(), strip_style(match[1]))


def _boxes(text: str) -> list[Statement]:
    """The contents of each \\boxed{...}; a `$` around it is part of the statement."""
    boxes = []
    for match in _BOXED.finditer(text):
        end = _closing(text, match.end())
        if end is None:
            continue
        start, after = match.start(), end + 1
        while start and after < len(text) and text[start - 1] == text[after] == "$":
            start, after = start - 1, after + 1
        boxes.append(Statement(start, after, strip_style(text[match.end() : end])))
    return boxes


def _closing(text: str, start: int) -> int | None:
    """Where the brace closes that opened before `start`; an answer is no longer than 2,000."""
    depth = 1
    for place in range(start, min(len(text), start + 2000)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return place
    return None


def strip_style(text: str) -> str:
    """The answer itself: without bold, `Answer:`, \\boxed, `$`, and the full stop at the end."""
    before = None
    text = text.strip()
    while text != before:
        before = text
        text = _BOLD.sub(r"\1", text) if len(text) < 2000 else text
        text = text.strip().strip("`").strip()
        if label := _STYLE.match(text):
            text = text[label.end() :]
        box = _BOXED.match(text)
        if box and _closing(text, box.end()) in (len(text) - 1, len(text) - 2):
            text = text[box.end() : _closing(text, box.end())]
        if len(text) > 2 and text[0] == text[-1] == "$" and "$" not in text[1:-1]:
            text = text[1:-1]
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1]
        text = text.strip().removeprefix("**").removesuffix("**").strip()
    return text


def choose(answer: str, choices: tuple[str, ...]) -> tuple[str, list[str]]:
    """The letter an answer means, and the repairs; raises `Rejected` when it means none.

    A letter with the text of another choice means none: one of the two is wrong.
    """
    texts = [_plain(choice) for choice in choices]
    same = [place for place, text in enumerate(texts) if text == _plain(answer)]
    found = _CHOICE.fullmatch(answer)
    place = ord(found[1]) - ord("A") if found else len(choices)
    if place < len(choices) and found and _plain(found[2]) in ("", texts[place]):
        if len(same) == 1 and same[0] != place:
            raise Rejected("unclear answer", f"the answer {answer[:60]!r} is a letter and a choice")
        return found[1], ["answer to letter"] if found[2] else []
    if len(same) == 1:
        return chr(ord("A") + same[0]), ["answer to letter"]
    raise Rejected("not a choice", f"the answer {answer[:60]!r} is none of the choices")


def kind_of(answer: str) -> AnswerKind:
    """How a free answer is graded: as a number (with a unit perhaps), an expression, or text."""
    if len(answer) <= 40 and _NUMBER.fullmatch(answer):
        return "number"
    return "expression" if len(answer) <= 200 and _FORMULA.search(answer) else "text"


def _plain(text: str) -> str:
    return " ".join(strip_style(text).casefold().split())
