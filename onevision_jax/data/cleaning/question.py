"""The human turn of a published row: placeholders, wrappers and lettered options taken off."""

import re
from typing import NamedTuple

from onevision_jax.data.source import Rejected
from onevision_jax.data.target import MAX_CHOICES

# What R1-Onevision's rows put around questions.
PREFIXES = (
    (
        "Hint: Please answer the question and provide the correct option letter, "
        "e.g., A, B, C, D, at the end."
    ),
    "Hint: Please answer the question and provide the final answer at the end.",
    "Based on the image, directly select the correct answer for the following question:",
    (
        "First perform reasoning, then finally select the question from the choices in the "
        "following format: Answer: xxx."
    ),
)
SUFFIXES = (
    "Answer with the given options directly.",
    "Answer with the option's letter from the given choices directly.",
    "Answer the question using a single word or phrase.",
    "Answer the question with a short phrase.",
    "Answer the question by selecting only one option from the given options.",
    "Answer the question with Yes or No.",
)
PLACEHOLDER = "<image>"


def _any_of(sentences: tuple[str, ...]) -> str:
    return "|".join(r"\s+".join(map(re.escape, text.split())) for text in sentences)


_PREFIX = re.compile(rf"\s*(?:{_any_of(PREFIXES)})\s*", re.IGNORECASE)
_SUFFIX = re.compile(rf"(?:{_any_of(SUFFIXES)})\s*\Z", re.IGNORECASE)
_LABEL = re.compile(r"\s*question\s*:\s*", re.IGNORECASE)
_HEADER = re.compile(r"(?:choices|options)\s*:?", re.IGNORECASE)
_TRAILING_HEADER = re.compile(r"(?<!\w)(?:choices|options)\s*:\s*\Z", re.IGNORECASE)
_OPTION_LINE = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[.):])\s*(\S.*?)\s*")
_OPTION_MARK = re.compile(r"(?:^|(?<=\s))\(([A-Z])\)\s*")


class Question(NamedTuple):
    """A question by itself."""

    text: str
    choices: tuple[str, ...]
    repairs: tuple[str, ...]


def clean_question(turn: str, has_image: bool) -> Question:
    """The question of a turn; raises `Rejected` when it speaks of another number of images."""
    count = turn.count(PLACEHOLDER)
    if count and not has_image:
        raise Rejected("images", f"the question has {PLACEHOLDER}, but the row has no image")
    repairs = []
    if has_image and count != 1:
        repairs.append("<image> missing" if count == 0 else "<image> doubled")
    # The image always stands before the question: no placeholder is kept.
    text = re.sub(rf"[ \t]*{PLACEHOLDER}[ \t]*", " ", turn).strip()
    text, unwrapped = unwrap(text)
    text, choices = split_choices(text)
    if not text:
        raise Rejected("no question", "nothing is left of the question without its wrappers")
    repairs += unwrapped
    if choices:
        repairs.append("choices parsed")
    return Question(text, choices, tuple(repairs))


def unwrap(text: str) -> tuple[str, list[str]]:
    """The text without the published prefixes and suffixes, and a repair for each taken off."""
    repairs = []
    while found := _PREFIX.match(text):
        text = text[found.end() :]
        repairs.append("question prefix")
    if repairs:
        label = _LABEL.match(text)
        text = text[label.end() :] if label else text
    while True:
        # Looked for in the end alone: a search through megabytes of text would take long.
        start = max(0, len(text) - 400)
        found = _SUFFIX.search(text, start)
        if not found:
            return text.strip(), repairs
        text = text[: found.start()].rstrip()
        repairs.append("question suffix")


def split_choices(text: str) -> tuple[str, tuple[str, ...]]:
    """The text before lettered options at its end, and these; all of it and () without any.

    Options stand on lines of their own (`A. x`, `(A) x`, `A: x`, `A) x`), or as `(A) x (B) y` in
    the last line; their letters count up from A, and there are two or more.
    """
    head, _, last = text.rpartition("\n")
    inline = _split_inline(last)
    if inline:
        before, choices = inline
        return _without_header(f"{head}\n{before}".strip()), choices
    lines = text.split("\n")
    options: list[str] = []
    while lines and len(options) <= MAX_CHOICES:
        found = _OPTION_LINE.fullmatch(lines[-1])
        if not found:
            break
        options.append(f"{found[1] or found[2]}{found[3]}")
        lines.pop()
    options.reverse()
    if not _counts_up([option[0] for option in options]):
        return text, ()
    return _without_header("\n".join(lines).rstrip()), tuple(option[1:] for option in options)


def _split_inline(line: str) -> tuple[str, tuple[str, ...]] | None:
    marks = list(_OPTION_MARK.finditer(line))
    first = next((i for i, mark in enumerate(marks) if mark[1] == "A"), None)
    if first is None or not _counts_up([mark[1] for mark in marks[first:]]):
        return None
    marks = marks[first:]
    ends = [*(mark.start() for mark in marks[1:]), len(line)]
    choices = [line[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    return (line[: marks[0].start()], tuple(choices)) if all(choices) else None


def _counts_up(letters: list[str]) -> bool:
    wanted = [chr(ord("A") + i) for i in range(len(letters))]
    return len(letters) > 1 and letters == wanted


def _without_header(text: str) -> str:
    head, _, last = text.rpartition("\n")
    if _HEADER.fullmatch(last.strip()):
        return head.rstrip()
    return (text[:-40] + _TRAILING_HEADER.sub("", text[-40:])).rstrip()
