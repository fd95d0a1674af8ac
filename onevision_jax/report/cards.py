"""Samples as cards: the image, what was asked, what a model or a data set says, and the verdict."""

import base64
import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onevision_jax.report.page import clip, escape, show

# What a file must begin with to be shown as an image, and its media type. No SVG: it is a document.
IMAGES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
)
MAX_BUTTONS = 12  # values of a label that can be chosen from


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One card. Everything is optional and may be hostile; "" is left out."""

    id: str = ""
    image: bytes | None = None  # an encoded file; None = a card of text
    question: str = ""
    choices: Sequence[str] = ()
    gold: str = ""
    formal: str = ""
    reasoning: str = ""
    answer: str = ""
    verdict: str = ""  # correct, wrong, unparsed, truncated, grader_failed or "" for no model
    reason: str = ""  # of the verdict
    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # family, tier, step, ...


def samples(cards: Sequence[Sample], label: str | None = None) -> str:
    """Cards with buttons that choose by verdict and by one label.

    Buttons appear where there are at least two values (and not too many), and a script runs.
    """
    filters = [_buttons("verdict", "verdict", (card.verdict for card in cards))]
    if label is not None:
        filters.append(_buttons("label", label, (show(card.labels.get(label)) for card in cards)))
    row = f'<div class="filters">{"".join(filters)}</div>' if any(filters) else ""
    body = "\n".join(sample(card, label) for card in cards)
    return f'<div class="samples">{row}<div class="cards">{body}</div></div>'


def _buttons(key: str, name: str, values: Iterable[str]) -> str:
    counts = Counter(value for value in values if value)
    if not 2 <= len(counts) <= MAX_BUTTONS:
        return ""
    buttons = [f'<button type="button" data-key="{key}" data-value="" aria-pressed="true">all']
    buttons += [
        f'<button type="button" data-key="{key}" data-value="{escape(value)}" '
        f'aria-pressed="false">{escape(clip(_spaced(value), 60))} ({count})'
        for value, count in sorted(counts.items(), key=lambda pair: _natural(pair[0]))
    ]
    return f"<span>{escape(name)} {'</button>'.join(buttons)}</button></span>"


def _natural(text: str) -> tuple[int, str]:
    """Sorts whole numbers by size, before words."""
    digits = text.replace(",", "")
    return (len(digits), digits) if digits.isascii() and digits.isdigit() else (1 << 30, text)


def sample(card: Sample, label: str | None = None) -> str:
    """One card; label: the one that `samples` has buttons for."""
    chosen = "" if label is None else show(card.labels.get(label))
    parts = [
        _text("p", "question", card.question),
        _choices(card.choices),
        _titled("formal text", f"<pre>{escape(clip(card.formal))}</pre>", card.formal),
        _titled("reasoning", _text("div", "reasoning", card.reasoning), card.reasoning),
        _pair(card),
        _titled("reason", _text("p", "reason", card.reason), card.reason),
    ]
    return (
        f'<article data-verdict="{escape(card.verdict)}" data-label="{escape(chosen)}">'
        f"{_header(card)}{_picture(card.image)}"
        f'<div class="words">{"".join(parts)}</div></article>'
    )


def _header(card: Sample) -> str:
    parts = []
    if card.verdict:
        known = card.verdict if card.verdict in ("correct", "wrong") else ""
        name = escape(clip(_spaced(card.verdict), 60))
        parts.append(f'<span class="verdict {known}">{name}</span>')
    if card.id:
        parts.append(f"<span>{escape(clip(card.id, 200))}</span>")
    parts += [
        f"<span>{escape(clip(_spaced(f'{name} {show(value)}'), 200))}</span>"
        for name, value in card.labels.items()
    ]
    return f"<header>{''.join(parts)}</header>" if parts else ""


def _picture(image: bytes | None) -> str:
    """The image as a data URI; bytes that do not begin as an image are not shown."""
    if image is None:
        return ""
    kind = next((kind for start, kind in IMAGES if start.match(image)), None)
    if kind is None:
        return '<div class="picture"><div class="none">no image</div></div>'
    data = base64.b64encode(image).decode()
    return f'<div class="picture"><img alt="" src="data:{kind};base64,{data}"></div>'


def _choices(choices: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(clip(choice))}</li>" for choice in choices)
    return f'<ol class="choices" type="A">{items}</ol>' if items else ""


def _pair(card: Sample) -> str:
    """Answer and gold beside each other."""
    pairs = (("answer", card.answer), ("gold", card.gold))
    both = "".join(_titled(name, _text("p", "", text), text) for name, text in pairs)
    return f'<div class="pair">{both}</div>' if both else ""


def _titled(title: str, body: str, text: str) -> str:
    """A small heading over a body, unless the text in it is empty."""
    return f"<div><h3>{title}</h3>{body}</div>" if text else ""


def _text(tag: str, name: str, text: str) -> str:
    return f'<{tag} class="{name}" dir="auto">{escape(clip(text))}</{tag}>' if text else ""


def _spaced(name: str) -> str:
    return name.replace("_", " ")
