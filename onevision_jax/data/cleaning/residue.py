"""What the rewriting model said about its own work, left in the published reasoning.

Cut are lead-ins ("Here is the revised Chain of Thought:"), headings, and sentences that speak of
the revision or of visualising the picture. Where most of a text is such talk it is no reasoning.
"""

import re

from onevision_jax.data.source import Rejected

_WORK = r"(?:revised|rewritten|updated|modified|refined)"
_THING = r"(?:chain[ -]of[ -]thoughts?|cot\b|reasoning|version|response|thought process)"
_TALK = re.compile(
    rf"\b{_WORK}\s+(?:\w+\s+)?{_THING}"
    r"|\bchain[ -]of[ -]thoughts?\b|(?-i:\bCoT\b)"
    r"|\bno\s+(?:additional|further|extra|separate)?\s*(?:image\s+)?visuali[sz]ation\b"
    r"|\bvisuali[sz]ation\s+(?:step|is\s+(?:not\s+|un)(?:needed|required|necessary))"
    r"|\bimage\s+visuali[sz]ation\b"
    r"|\bvisuali[sz]ing\s+the\s+(?:image|caption|description)\b",
    re.IGNORECASE,
)
_COURTESY = re.compile(r"(?:sure|certainly|of course|okay)\b[^.\n]{0,20}[!,.]\s*\Z", re.IGNORECASE)
_STOP = re.compile(r"[.!?:][*_)\]\"']{0,3}\s+")
LEAST = 1 / 3  # of the characters, lead-ins and headings included, that must be left


def cut_residue(text: str) -> tuple[str, int]:
    """The text without talk about its revision, and how many sentences were cut.

    Raises `Rejected` when less than LEAST of it would be left.
    """
    if not _TALK.search(text):
        return text, 0
    lines, cut = [], 0
    for line in text.split("\n"):
        kept, dropped = _cut_line(line)
        cut += dropped
        if kept.strip(" \t*_#-") or not dropped:
            lines.append(kept.rstrip())
    left = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    if len(left) < LEAST * len(text.strip()):
        raise Rejected("residue", "most of the reasoning speaks of its own revision")
    return left, cut


def _cut_line(line: str) -> tuple[str, int]:
    """One line without its talk; a courtesy before it ("Sure!") goes too."""
    if not _TALK.search(line):
        return line, 0
    kept, cut = "", 0
    for sentence in _sentences(line):
        if _TALK.search(sentence):
            kept = _COURTESY.sub("", kept)
            cut += 1
        else:
            kept += sentence
    return kept, cut


def _sentences(line: str) -> list[str]:
    """The pieces of a line, each up to and with the white space behind its stop."""
    parts, start = [], 0
    for stop in _STOP.finditer(line):
        parts.append(line[start : stop.end()])
        start = stop.end()
    return [*parts, line[start:]]
