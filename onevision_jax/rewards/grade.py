"""The strict grader: one response, one gold, one verdict with its reason.

The same call scores a benchmark and rewards a rollout. It runs on the standard library, evaluates
no text as code, bounds every size before it works, and never gives part of a point.

Verdicts: `correct`, `wrong`, `unparsed` (the response ended without an answer that can be read as
its kind), `truncated` (cut before it answered), `grader_failed` (the gold cannot be used, or the
grader itself broke: no statement about the response, so callers mask the sample).
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from onevision_jax.errors import InputError
from onevision_jax.rewards.choices import LETTERS, letters_of, pick
from onevision_jax.rewards.compare import same
from onevision_jax.rewards.exact import TooBig, Unreadable
from onevision_jax.rewards.extract import SPAN_LIMIT, extract
from onevision_jax.rewards.forms import Form, Quantity, read
from onevision_jax.rewards.spelling import fold, tidy

VERSION = "strict-1"  # raise it with every change that can move a verdict

Verdict = Literal["correct", "wrong", "unparsed", "truncated", "grader_failed"]
AnswerKind = Literal["number", "choice", "text", "expression"]
KINDS = get_args(AnswerKind)
MAX_GOLD = 1600


@dataclass(frozen=True)
class Grade:
    """`extracted` is the span that was judged, None where there was none."""

    verdict: Verdict
    extracted: str | None
    reason: str


def grade(
    response: str,
    gold: str,
    *,
    answer_kind: AnswerKind,
    choices: Items[str] = (),
    finish_reason: str | None = None,
) -> Grade:
    """Grades one response.

    Args:
        response: everything the model generated, thinking included.
        gold: the reference answer; for kind `choice` a letter or the text of an option.
        answer_kind: `number` reads no variables, `expression` does, `text` compares words (and
            values where the gold is one), `choice` wants one option.
        choices: the options' texts in order, the first being A.
        finish_reason: `length` where generation was cut.

    Raises:
        InputError: an unknown answer kind, or more than 26 choices.
    """
    if answer_kind not in KINDS:
        raise InputError(f"answer_kind {answer_kind!r} is unknown: use one of {', '.join(KINDS)}.")
    letters_of(tuple(choices))
    try:
        return _grade(response, gold, answer_kind, tuple(choices), finish_reason)
    except Exception as error:  # Not hidden: it becomes a verdict of its own, with its cause.
        return Grade("grader_failed", None, f"{type(error).__name__}: {error}"[:300])


def _grade(
    response: str, gold: str, kind: AnswerKind, choices: tuple[str, ...], finish_reason: str | None
) -> Grade:
    if not gold.strip() or len(gold) > MAX_GOLD:
        return Grade("grader_failed", None, "the gold answer is empty or too long")
    found = extract(response, finish_reason)
    if found.span is None:
        return Grade("truncated" if found.truncated else "unparsed", None, found.source)
    if len(found.span) >= SPAN_LIMIT:
        shown = found.span[:200]
        return Grade("unparsed", shown, f"the answer is longer than {SPAN_LIMIT} characters")
    judge = judge_choice if kind == "choice" else judge_value
    verdict, reason = judge(found.span, gold, kind, choices)
    return Grade(verdict, found.span, f"{reason} ({found.source})")


def judge_choice(
    span: str, gold: str, kind: AnswerKind, choices: tuple[str, ...]
) -> tuple[Verdict, str]:
    """One option against the gold's."""
    wanted = gold_letter(gold, choices)
    if not wanted:
        if choices:
            return "grader_failed", f"the gold {gold[:40]!r} is none of the {len(choices)} choices"
        return judge_value(span, gold, "text", choices)
    answer = pick(span, choices)
    if answer.letter == wanted:
        return "correct", answer.reason
    if answer.letter:
        return "wrong", f"option {answer.letter}, not {wanted}"
    return ("wrong" if answer.read else "unparsed"), answer.reason


@lru_cache(maxsize=1024)
def gold_letter(gold: str, choices: tuple[str, ...]) -> str:
    """The gold's label: the letter itself if it is one, else that of the option it spells."""
    text = gold.strip()
    if len(text) == 1 and text in letters_of(choices):
        return text
    letter = pick(gold, choices).letter
    return letter if letter in LETTERS else ""


def judge_value(
    span: str, gold: str, kind: AnswerKind, choices: tuple[str, ...]
) -> tuple[Verdict, str]:
    """Numbers, expressions, lists, dates and words against the gold."""
    if tidy(span) == tidy(gold):
        return "correct", "the same text"
    if kind == "text" and fold(span) == fold(gold):
        return "correct", "the same words"
    golds = gold_readings(gold, kind)
    if not golds:
        return judge_words(span, gold)
    problem = ""
    understood = False
    for letters, form in golds:
        try:
            answer = read(span, letters)
        except Unreadable as error:
            problem = problem or str(error)
            understood = understood or (kind == "text" and not isinstance(error, TooBig))
            continue
        if not is_fair(answer, kind, letters):
            continue
        understood = True
        if same(form, answer) and labels_fit(form, answer, kind):
            return "correct", "the same value"
    if understood:
        return "wrong", "another value"
    return "unparsed", problem or "the answer is no value of this kind"


def judge_words(span: str, gold: str) -> tuple[Verdict, str]:
    """Words against words."""
    if fold(span) == fold(gold):
        return "correct", "the same words"
    return "wrong", "other words"


@lru_cache(maxsize=2048)
def gold_readings(gold: str, kind: AnswerKind) -> tuple[tuple[bool, Form], ...]:
    """The gold without and with variables, as far as its kind allows; empty for plain words."""
    readings: list[tuple[bool, Form]] = []
    for letters in (False, True):
        if letters and (kind == "text" or (kind == "number" and readings)):
            break
        try:
            form = read(gold, letters)
        except Unreadable:
            continue
        if is_fair(form, kind, letters):
            readings.append((letters, form))
    return tuple(readings)


def is_fair(form: Form, kind: AnswerKind, letters: bool) -> bool:
    """In an expression a bare letter behind a number is a variable, not metres or seconds."""
    if kind != "expression" or letters or not isinstance(form, Quantity) or form.unit is None:
        return True
    return not form.unit.terse


def labels_fit(gold: Form, answer: Form, kind: AnswerKind) -> bool:
    """In text the word behind a number belongs to the answer: "2 less" is not "2"."""
    if kind != "text" or not isinstance(gold, Quantity) or not isinstance(answer, Quantity):
        return True
    return not (gold.unit and gold.unit.label) or bool(answer.unit and answer.unit.label)
