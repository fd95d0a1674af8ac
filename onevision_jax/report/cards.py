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
MAX_BUTTONS = 12  # values of a label that get a button each
LABEL_LIMIT = 200  # characters of a value that cards are found under
SEPARATOR = "\n"  # between several values of one label
MAX_VALUES = 60  # values that can be chosen from a list


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One card. Everything is optional and may be hostile; "" is left out."""

    id: str = ""
    image: bytes | None = None  # an encoded file; None = a card of text
    image_note: str = ""  # why there is no image to be seen
    question: str = ""
    choices: Sequence[str] = ()
    gold: str = ""
    formal: str = ""  # what a model or an example says the image holds
    given: str = ""  # the exact formal text that the data has
    reasoning: str = ""
    answer: str = ""
    verdict: str = ""  # correct, wrong, unparsed, truncated, grader_failed or "" for no model
    reason: str = ""  # of the verdict
    # family, tier, step, ...; several values of one name are a list or tuple.
    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def samples(
    cards: Sequence[Sample], label: str | Sequence[str] | None = None, *, search: bool = False
) -> str:
    """Cards with filters by verdict and by labels, and a field for words to be found.

    A filter appears where there are at least two values (and not too many), and a script runs.
    """
    names = chosen_labels(label)
    filters = [_filter("verdict", "verdict", [[card.verdict] for card in cards])]
    filters += [
        _filter(key, name, [_values(card, name) for card in cards]) for key, name in names.items()
    ]
    if search and len(cards) > 1:
        filters.append(
            '<label>text <input type="search" autocomplete="off" spellcheck="false"></label>'
        )
    shown = '<output class="shown"></output>' if any(filters) else ""
    row = f'<div class="filters">{"".join(filters)}{shown}</div>' if any(filters) else ""
    body = "\n".join(sample(card, label) for card in cards)
    return f'<div class="samples">{row}<div class="cards">{body}</div></div>'


def chosen_labels(label: str | Sequence[str] | None) -> dict[str, str]:
    """The data attribute of each label that has a filter: label, label1, label2, ..."""
    names = () if label is None else (label,) if isinstance(label, str) else label
    return {f"label{place or ''}": name for place, name in enumerate(names)}


def _values(card: Sample, name: str) -> list[str]:
    """What a card is found under; a separator that no value holds parts several."""
    value = card.labels.get(name)
    several = value if isinstance(value, list | tuple) else [value]
    return [clip(show(one), LABEL_LIMIT).replace(SEPARATOR, " ") for one in several]


def _filter(key: str, name: str, values: Sequence[Sequence[str]]) -> str:
    """Buttons; a list to choose from where they would be too many."""
    counts = Counter(value for several in values for value in several if value)
    if not 2 <= len(counts) <= MAX_VALUES:
        return ""
    ordered = sorted(counts.items(), key=lambda pair: _natural(pair[0]))
    make = _buttons if len(counts) <= MAX_BUTTONS else _menu
    return make(key, name, ordered)


def _buttons(key: str, name: str, counts: Iterable[tuple[str, int]]) -> str:
    buttons = [f'<button type="button" data-key="{key}" data-value="" aria-pressed="true">all']
    buttons += [
        f'<button type="button" data-key="{key}" data-value="{escape(value)}" '
        f'aria-pressed="false">{escape(clip(_spaced(value), 60))} ({count})'
        for value, count in counts
    ]
    return f"<span>{escape(name)} {'</button>'.join(buttons)}</button></span>"


def _menu(key: str, name: str, counts: Iterable[tuple[str, int]]) -> str:
    options = "".join(
        f'<option value="{escape(value)}">{escape(clip(_spaced(value), 60))} ({count})</option>'
        for value, count in counts
    )
    return (
        f'<label>{escape(name)} <select data-key="{key}"><option value="">all</option>'
        f"{options}</select></label>"
    )


def _natural(text: str) -> tuple[int, str]:
    """Sorts whole numbers by size, before words."""
    digits = text.replace(",", "")
    return (len(digits), digits) if digits.isascii() and digits.isdigit() else (1 << 30, text)


def sample(card: Sample, label: str | Sequence[str] | None = None) -> str:
    """One card; label: those that `samples` has filters for."""
    chosen = {"label": ""} | {
        key: SEPARATOR.join(_values(card, name)) for key, name in chosen_labels(label).items()
    }
    data = "".join(f' data-{key}="{escape(value)}"' for key, value in chosen.items())
    parts = [
        _text("p", "question", card.question),
        _choices(card.choices),
        _titled("formal text", f"<pre>{escape(clip(card.formal))}</pre>", card.formal),
        _folded("formal text of the data", card.given) if card.given != card.formal else "",
        _titled("reasoning", _text("div", "reasoning", card.reasoning), card.reasoning),
        _pair(card),
        _titled("reason", _text("p", "reason", card.reason), card.reason),
    ]
    return (
        f'<article data-verdict="{escape(card.verdict)}"{data}>'
        f"{_header(card)}{_picture(card.image, card.image_note)}"
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
        f"<span>{escape(clip(_spaced(f'{name} {_joined(value)}'), 200))}</span>"
        for name, value in card.labels.items()
    ]
    return f"<header>{''.join(parts)}</header>" if parts else ""


def _joined(value: Any) -> str:
    return ", ".join(map(show, value)) if isinstance(value, list | tuple) else show(value)


def media_type(image: bytes) -> str | None:
    """The media type of an encoded image; None where the bytes do not begin as one."""
    return next((kind for start, kind in IMAGES if start.match(image)), None)


def _picture(image: bytes | None, said: str) -> str:
    """The image as a data URI; bytes that do not begin as an image are not shown."""
    if image is None and not said:
        return ""
    kind = None if image is None else media_type(image)
    if image is None or kind is None:
        words = escape(clip(said, 300)) if said else "no image"
        return f'<div class="picture"><div class="none">{words}</div></div>'
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


def _folded(title: str, text: str) -> str:
    """Text that is shown when its title is clicked on."""
    body = f"<pre>{escape(clip(text))}</pre>"
    return f"<details><summary>{title}</summary>{body}</details>" if text else ""


def _text(tag: str, name: str, text: str) -> str:
    return f'<{tag} class="{name}" dir="auto">{escape(clip(text))}</{tag}>' if text else ""


def _spaced(name: str) -> str:
    return name.replace("_", " ")
