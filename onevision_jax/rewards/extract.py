"""Where a response gives its answer, and why nothing was found where it gives none.

In this order: the last complete `<answer>...</answer>`; the last \\boxed{...}, braces matched
(boxes joined by "and", "or" or commas count as one list), unless a final phrase with a label or a
number comes after it; the last final phrase ("the answer is ...", "答案是..."); a response that is
one short line and nothing else. What stands in a closed `<think>...</think>` is never an answer.

A response cut off (finish reason `length`, an unclosed `<answer>`, `<think>` or box) is
`truncated`, which is told apart from one that ended without an answer. Time is linear in the
response, memory beside it constant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from onevision_jax.rewards.spelling import closing_brace

TAG = re.compile(r"<(/?)(think|answer)>", re.I)
BOX = r"\boxed"
BLANK = " \r\n"  # not \f and \t: JSON makes them of \frac and \text
BOX_LIMIT = 4000
MAX_BOXES = 16
PHRASE_WINDOW = 20_000  # a final phrase stands near the end
BARE_LIMIT = 120
SPAN_LIMIT = 4000

JOINER = re.compile(r"[\s,;$、，和或&.]*(?:\band\b|\bor\b)?[\s,;$、，和或&\\()]*")
PHRASE = re.compile(
    r"(?:\banswer(?: to (?:the|this) (?:question|problem))?"
    r"|\b(?:correct|right|best|final) (?:option|choice))"
    r"\*{0,2}\s?(?:(?:is|was|should be|must be|would be|will be)\b\*{0,2}\s?:?|[:：=])"
    r"|(?:答案|正确选项)(?:应该|应)?\s?(?:[:：]|是|为|选)[:：]?|(?:故|因此|所以|应)选",
    re.I,
)
# After the last box a phrase counts only with a label or number: not "this answer is correct".
FINAL = re.compile(r"[\s*$(]*(?:(?:option\s)?\(?[A-Z][).*\s]*$|-?\$?\d|\\)")
SENTENCE_END = re.compile(
    r"\n|。|\.(?=\s|$)|;\s|；|(?:,|\s)\s?(?:because|since|so that|which|as shown|therefore)\b"
)


@dataclass(frozen=True)
class Extraction:
    """`span` is the answer's text, None where there is none; then `truncated` says which way."""

    span: str | None
    source: str  # answer, box, phrase, bare; or why nothing was found
    truncated: bool = False


@dataclass
class Tags:
    """Positions that one pass over the tags leaves behind; -1 where there is none.

    An answer before the last `</think>` is forgotten, and one opened later replaces it.
    """

    answer_start: int = -1
    answer_end: int = -1
    think_end: int = 0
    thinking: bool = False


def find_tags(response: str) -> Tags:
    """One pass, constant memory: a response may repeat a tag a million times."""
    tags = Tags()
    for match in TAG.finditer(response):
        closing, name = bool(match[1]), match[2].lower()
        if name == "think":
            tags.thinking = not closing
            if closing:
                tags.think_end, tags.answer_start, tags.answer_end = match.end(), -1, -1
        elif not closing:
            tags.answer_start, tags.answer_end = match.end(), -1
        elif tags.answer_start >= 0 > tags.answer_end:
            tags.answer_end = match.start()
    return tags


def extract(response: str, finish_reason: str | None = None) -> Extraction:
    """The answer span of a response; `finish_reason` "length" says that generation was cut."""
    cut = finish_reason == "length"
    tags = find_tags(response) if "<" in response else Tags()
    if tags.answer_end >= 0:
        span = response[tags.answer_start : tags.answer_end].strip(BLANK)
        return within_answer(span) if span else Extraction(None, "<answer> is empty")
    if tags.answer_start >= 0 or tags.thinking:
        name = "answer" if tags.answer_start >= 0 else "think"
        return Extraction(None, f"<{name}> is never closed", truncated=True)
    body = response[tags.think_end :]
    box = last_boxes(body)
    if box is not None and (cut or box.span is None):
        return box
    if box is not None:
        after = last_phrase(body[body.rfind(BOX) :])
        return after if after and after.span and FINAL.match(after.span) else box
    if cut:
        return Extraction(None, "cut at the length limit before an answer", truncated=True)
    return last_phrase(body) or bare(body)


def within_answer(span: str) -> Extraction:
    """Inside the tags a single box or final phrase may narrow the span further."""
    if BOX in span:
        boxes = span.count(BOX)
        inner = last_boxes(span)
        if boxes == 1 and inner is not None and inner.span is not None:
            return Extraction(inner.span, "answer")
        return Extraction(span[:SPAN_LIMIT], "answer")
    phrase = last_phrase(span)
    if phrase is not None and phrase.span:
        return Extraction(phrase.span, "answer")
    return Extraction(span if len(span) <= SPAN_LIMIT else span[:SPAN_LIMIT], "answer")


def last_boxes(body: str) -> Extraction | None:
    """The last box, with the boxes before it that only a comma, "and" or "or" separates."""
    spans: list[str] = []
    right = len(body)
    first = -1
    for _ in range(MAX_BOXES):
        start = body.rfind(BOX, 0, right)
        if start < 0:
            break
        opening = skip_spaces(body, start + len(BOX))
        if opening >= len(body) or body[opening] != "{":
            right = start
            continue
        end = closing_brace(body, opening, BOX_LIMIT)
        if first >= 0 and (end < 0 or not JOINER.fullmatch(body, end + 1, min(first, end + 40))):
            break
        if end < 0:
            return Extraction(None, "a box is never closed", truncated=True)
        if first >= 0 and first > end + 40:
            break
        spans.insert(0, body[opening + 1 : end].strip(BLANK))
        first = right = start
    if not spans:
        return None
    if not spans[-1]:
        return Extraction(None, "the box is empty")
    joiner = " or " if len(spans) > 1 else ""
    return Extraction(joiner.join(spans), "box")


def skip_spaces(text: str, index: int) -> int:
    """The index of the first sign that is no space."""
    while index < len(text) and text[index] == " ":
        index += 1
    return index


def last_phrase(body: str) -> Extraction | None:
    """What follows the last final phrase, up to the end of its sentence."""
    window = body[-PHRASE_WINDOW:]
    matches = list(PHRASE.finditer(window))
    for match in reversed(matches):
        rest = window[match.end() : match.end() + SPAN_LIMIT].lstrip(" \t\n:：")
        end = SENTENCE_END.search(rest)
        span = balance_stars((rest[: end.start()] if end else rest).strip())
        if span:
            return Extraction(span, "phrase")
    return None


def balance_stars(span: str) -> str:
    """Drops the half of a pair of ** whose other half stands outside the span."""
    if span.count("**") % 2 == 0:
        return span
    head, _, tail = span.partition("**") if span.startswith("**") else span.rpartition("**")
    return f"{head}{tail}".strip()


def bare(body: str) -> Extraction:
    """A response that is nothing but its answer."""
    text = body.strip()
    if not text:
        return Extraction(None, "the response is empty")
    if len(text) <= BARE_LIMIT and "\n" not in text:
        return Extraction(text, "bare")
    return Extraction(None, "no <answer>, no box and no final phrase")
