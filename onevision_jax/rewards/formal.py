"""What the formal text inside a response is worth against the record's own.

The parts that are rewarded have a bound and reach it only when the text says the same thing
(`formal.Language`); error rates without a bound are for reports alone.
"""

from __future__ import annotations

import re

from onevision_jax.formal import LANGUAGES, FormalError

_FENCE = re.compile(r"(`{3,})([^\s`]*)[^\n`]*\n")


def formal_block(response: str) -> tuple[str, str] | None:
    """(language, text) of the first Markdown code block of a response that is closed, or None."""
    for opening in _FENCE.finditer(response):
        stop = response.find(f"\n{opening[1]}", opening.end() - 1)
        if stop >= 0:
            return opening[2], response[opening.end() : stop]
    return None


def formal_reward(response: str, formal_text: str, language: str) -> float:
    """The score in [0, 1] of the response's formal text; 0 without one in that language.

    Also 0 where there is nothing to compare with: a record without formal text, in a language that
    has no score, or whose own text does not parse. All samples of its group then get the same.
    """
    found = formal_block(response)
    if not formal_text.strip() or language not in LANGUAGES or found is None:
        return 0.0
    if found[0] != language:
        return 0.0
    try:
        return LANGUAGES[language].score(found[1], formal_text)
    except FormalError:
        return 0.0
