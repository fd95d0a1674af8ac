"""Cells of tables and labels of diagrams: numbers with a tolerance, else words."""

import math
import re
import unicodedata

# Values read off an axis; 1 % is half of what chart questions allow (ChartQA: 5 %).
RELATIVE_TOLERANCE = 0.01

_NUMBER = re.compile(
    r"([-+]?)\s*([$€£¥]?)\s*((?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:e[-+]?\d{1,3})?)\s*(%?)"
)


def plain(text: str) -> str:
    """Letter case, compatibility forms, minus signs and runs of space made one."""
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").replace("\u2013", "-")
    return " ".join(text.split()).casefold()


def read_number(text: str) -> tuple[float, str] | None:
    """(value, unit sign) of `1,234.5`, `-3%` or `$7`; None for what is no number."""
    found = _NUMBER.fullmatch(plain(text))
    if not found or not any(character.isdigit() for character in found[3]):
        return None
    try:
        value = float(found[3].replace(",", ""))
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return (-value if found[1] == "-" else value), found[2] + found[4]


def name_key(text: str) -> str:
    """What two names have in common when they are one: `1,000` and `1000.0`, `West` and `west`."""
    number = read_number(text)
    return plain(text) if number is None else f"{number[0]!r}{number[1]}"


def same_cell(a: str, b: str) -> bool:
    """Equal words, or numbers with one unit sign within the relative tolerance of the larger."""
    first, second = read_number(a), read_number(b)
    if first is None or second is None:
        return plain(a) == plain(b)
    return first[1] == second[1] and close(first[0], second[0])


def close(a: float, b: float) -> bool:
    """Within the tolerance."""
    return a == b or abs(a - b) <= RELATIVE_TOLERANCE * max(abs(a), abs(b))


def count_same(a: list[str], b: list[str]) -> int:
    """How many cells of `a` can be paired with cells of `b` that are the same, one to one.

    Words by equality; numbers in rising order, each with the smallest that is still free, which is
    the most there can be, since the tolerance of a larger number reaches further.
    """
    words_a, words_b = [], []
    numbers_a: dict[str, list[float]] = {}
    numbers_b: dict[str, list[float]] = {}
    for cells, words, numbers in ((a, words_a, numbers_a), (b, words_b, numbers_b)):
        for text in cells:
            number = read_number(text)
            if number is None:
                words.append(plain(text))
            else:
                numbers.setdefault(number[1], []).append(number[0])
    total = sum(min(words_a.count(word), words_b.count(word)) for word in set(words_a))
    return total + sum(
        _count_close(sorted(values), sorted(numbers_b.get(unit, [])))
        for unit, values in numbers_a.items()
    )


def _count_close(a: list[float], b: list[float]) -> int:
    i = j = matched = 0
    while i < len(a) and j < len(b):
        if close(a[i], b[j]):
            matched, i, j = matched + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return matched
