"""One HTML page that needs nothing else: no network, and no script to be read.

Every block is a function from data to a string of HTML, and escapes what comes from data, because
texts of models and data sets are hostile. Strings that are HTML already are passed only to `page`
and `section`.
"""

import html
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from onevision_jax.report.style import POLICY, SCRIPT, STYLE

# Control characters are shown by their pictures: HTML may not hold them. Tab and line feed may.
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}
LIMIT = 20_000  # characters of one text that are shown


def escape(value: Any) -> str:
    """The value as text that is safe between tags and in quoted attributes, and always UTF-8."""
    text = str(value).replace("\r\n", "\n").translate(_CONTROLS)
    return html.escape(text.encode("utf-8", "replace").decode())


def clip(text: str, limit: int = LIMIT) -> str:
    """At most `limit` characters (of unescaped text), and how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n... {len(text) - limit:,} more characters"


def page(title: str, sections: Iterable[str], lead: str = "") -> str:
    """The whole document; sections: HTML from `section`; lead: one line under the title."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1>{note(lead) if lead else ''}</header>\n"
        + "\n".join(sections)
        + f"\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it; parts: HTML. Figures stand beside each other."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def note(text: str) -> str:
    """A paragraph of quiet text."""
    return f'<p class="note">{escape(text)}</p>'


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names with their values, in columns."""
    items = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(clip(show(value)))}</dd></div>"
        for name, value in pairs
    )
    return f'<dl class="facts">{"".join(items)}</dl>'


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; numbers stand right, None is an empty cell.

    Raises ValueError when a row is not as long as the header.
    """
    rows = [list(row) for row in rows]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row has {len(row)} cells, the header {len(header)}")
    numeric = [
        any(map(is_number, column)) and all(v is None or is_number(v) for v in column)
        for column in zip(*rows, strict=True)
    ] or [False] * len(header)
    lines = [_cells("th", header, numeric), *(_cells("td", row, numeric) for row in rows)]
    head, *body = (f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(body)}</tbody>'
        "</table></div>"
    )


def _cells(tag: str, values: Sequence[Any], numeric: Sequence[bool]) -> str:
    return "".join(
        f"<{tag}{' class=number' if right else ''}>{escape(clip(show(value)))}</{tag}>"
        for value, right in zip(values, numeric, strict=True)
    )


def is_number(value: Any) -> bool:
    """Whether it is a number, and not a truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def show(value: Any) -> str:
    """A value as a reader expects it: 12,345; 0.0123; 1.2e-5; yes and no; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e12 else f"{value:.4g}".replace("e-0", "e-")
