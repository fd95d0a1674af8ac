"""Which option of a multiple-choice question a span of text names.

A label (B, (B), **B**, B., option B, 选B), the option's own text, a label followed by its own text.
Two labels, a label beside another option's text, or a value that several options share name
nothing: a guess hedged over options is wrong, never part of a point.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from onevision_jax.errors import InputError
from onevision_jax.rewards.compare import same
from onevision_jax.rewards.exact import Unreadable
from onevision_jax.rewards.forms import Form, read
from onevision_jax.rewards.spelling import COMMAND, fold, tidy

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_SPAN = 2000

PREFIX = (
    r"(?:(?:the |my )?(?:correct |right |best |final )?(?:option|choice|answer)(?: is)?"
    r"|选项?|应?选择?|故选|答案[是为]?)\s*:?\s*"
)
LABEL = re.compile(rf"(?:{PREFIX})?[(\[{{]?\s*([A-Za-z])\s*[)\]}}]?\s*[.):,]*", re.I)
LABEL_THEN = re.compile(
    rf"(?:{PREFIX})?(?:[(\[]\s*([A-Z])\s*[)\]]\s*[:.,]?|([A-Z])\s*[.):,])\s*(.*)", re.S
)
LABEL_SPACE = re.compile(r"([A-Z])\s+(.*)", re.S)
LONE_LETTER = re.compile(r"(?<![\w'\\])([A-Z])(?![\w'])")
SEVERAL = re.compile(r"[A-Z](?:\s*(?:,|;|/|&|and|or|和|或|\s)\s*[A-Z])+")


@dataclass(frozen=True)
class Pick:
    """`letter` is "" where no single option is named; `read`: whether the text was understood."""

    letter: str
    reason: str
    read: bool = True


def letters_of(choices: tuple[str, ...]) -> str:
    """The labels in use: as many as there are choices, all where none are given."""
    if len(choices) > len(LETTERS):
        raise InputError(
            f"{len(choices)} choices were given, and labels go from A to Z: split them."
        )
    return LETTERS[: len(choices)] if choices else LETTERS


def pick(span: str, choices: tuple[str, ...]) -> Pick:
    """The option that the span names."""
    if len(span) > MAX_SPAN:
        return Pick("", f"{len(span)} characters are no option", read=False)
    first, _, rest = span.strip().partition("\n")
    if rest and LABEL.fullmatch(tidy(first)):
        return with_rest(tidy(first).strip("()[].: ").upper()[-1:], rest, choices)
    text = COMMAND.sub(r"\1", tidy(span)).strip()
    text = re.sub(r"^\{(.*)\}$", r"\1", text).strip()
    label = LABEL.fullmatch(text)
    if label and label[1] in letters_of(choices):
        return within_range(label[1], choices)
    by_text = [i for i, option in enumerate(folded(choices)) if option and option == fold(span)]
    if len(by_text) == 1:
        return Pick(LETTERS[by_text[0]], "the option's text")
    if label:
        return within_range(label[1].upper(), choices)
    if by_text:
        return Pick("", "the text of several options")
    run = text.isupper() and len(text) > 1 and set(text) <= set(letters_of(choices))
    if SEVERAL.fullmatch(text) or (choices and run):
        return Pick("", "more than one option")
    labelled = LABEL_THEN.fullmatch(text)
    if labelled:
        return with_rest(labelled[1] or labelled[2], labelled[3], choices)
    spaced = LABEL_SPACE.fullmatch(text)
    if spaced and by_value(spaced[2], choices).letter == spaced[1]:
        return within_range(spaced[1], choices)
    return by_value(span, choices)


def within_range(letter: str, choices: tuple[str, ...]) -> Pick:
    """The letter, if it labels an option."""
    if letter in letters_of(choices):
        return Pick(letter, "the option's letter")
    return Pick("", f"{letter} labels none of the {len(choices)} options")


def with_rest(letter: str, rest: str, choices: tuple[str, ...]) -> Pick:
    """A label and more text: the text must not name another option."""
    if letter not in letters_of(choices):
        return within_range(letter, choices)
    options = folded(choices)
    if fold(rest) == (options[LETTERS.index(letter)] if choices else None):
        return Pick(letter, "the option's letter and text")
    others = {found for found in LONE_LETTER.findall(rest) if found in letters_of(choices)}
    if re.fullmatch(r"\W*[A-Za-z](?:\W+[A-Za-z])*\W*", rest):  # A, b, c
        others |= set(re.findall("[A-Z]", rest.upper()))
    if others - {letter}:
        return Pick("", "more than one option")
    named = by_value(rest, choices)
    if named.letter not in ("", letter):
        return Pick("", f"the letter {letter} beside the text of option {named.letter}")
    return Pick(letter, "the option's letter")


def by_value(span: str, choices: tuple[str, ...]) -> Pick:
    """The option with the same text, or the only one with the same value."""
    wanted = fold(span)
    texts = [i for i, option in enumerate(folded(choices)) if option and option == wanted]
    if len(texts) == 1:
        return Pick(LETTERS[texts[0]], "the option's text")
    for letters in (False, True):
        form = form_of(span, letters)
        options = [form_of(choice, letters) for choice in choices]
        hits = [
            i for i, o in enumerate(options) if form is not None and o is not None and same(o, form)
        ]
        if len(hits) == 1:
            return Pick(LETTERS[hits[0]], "the option's value")
        if hits:
            return Pick("", "the value of several options")
        if form is not None and any(option is not None for option in options) and not letters:
            return Pick("", "the value of no option")
    return Pick("", "names no option", read=False)


@lru_cache(maxsize=1024)
def folded(choices: tuple[str, ...]) -> tuple[str, ...]:
    """The options as comparable words."""
    return tuple(fold(choice) for choice in choices)


@lru_cache(maxsize=4096)
def form_of(text: str, letters: bool) -> Form | None:
    """The mathematical form of a text, None if it has none."""
    try:
        return read(text, letters)
    except Unreadable:
        return None
