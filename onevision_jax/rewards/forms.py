"""The shapes an answer can take: quantity, list, set, interval, ratio, matrix, date, equation.

`read` turns a span of text into one of them or raises `Unreadable`. One text has one reading (with
names as variables or without); nothing is tried until it fits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from onevision_jax.rewards import exact
from onevision_jax.rewards.exact import TooBig, Unreadable, Value
from onevision_jax.rewards.reader import MAX_CHARS, MAX_DEPTH, parse
from onevision_jax.rewards.spelling import (
    chinese_numbers,
    english_numbers,
    plain_numbers,
    tidy,
)
from onevision_jax.rewards.units import Unit, parse_unit

MAX_ITEMS = 64


@dataclass(frozen=True)
class Quantity:
    """A number or expression with its unit.

    `step` is the last printed decimal place (1/100 for 3.14) and `places` how many were printed,
    0 where the number is not written as a decimal. `factors` are the integers of a bare product
    such as 3 x 4.
    """

    value: Value
    unit: Unit | None = None
    step: Fraction = Fraction(0)
    places: int = 0
    factors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Infinite:
    """An end of an interval."""

    sign: int


@dataclass(frozen=True)
class Sequence:
    """Items with the brackets they stand in: "()", "[)", "{}" (no order), "" (bare commas)."""

    brackets: str
    items: tuple[Form, ...]


@dataclass(frozen=True)
class Ratio:
    """3 : 4 : 5."""

    parts: tuple[Value, ...]


@dataclass(frozen=True)
class Matrix:
    """Rows of entries."""

    rows: tuple[tuple[Form, ...], ...]


@dataclass(frozen=True)
class Moment:
    """A date (month, day, perhaps a year) or a clock time; `meridiem` says am/pm was written."""

    kind: str
    parts: tuple[int, ...]
    meridiem: bool = False


@dataclass(frozen=True)
class Equation:
    """left = right; `name` where the left side is one name and the right does not contain it."""

    left: Value | None
    right: Form
    name: str


@dataclass(frozen=True)
class Chain:
    """a = b ≈ c, all constants: several spellings of what should be one value."""

    parts: tuple[Form, ...]


Form = Quantity | Infinite | Sequence | Ratio | Matrix | Moment | Equation | Chain

OPEN, CLOSE = "([{\ue002", ")]}\ue003"
INTEGER = re.compile(r"[-+]?\d{1,300}$")
APPROXIMATELY = re.compile(
    r"^(?:\\approx|\\simeq|\\sim|~|about|approximately|approx\.?|roughly|约|大约|=|:)\s*"
)
MEMBER = re.compile(r"^[A-Za-z]\s*\\in\s*")
POINT = re.compile(r"^(?:[A-Z]'?|[A-Z]_\{?\d\}?)\s*(?=\()")
CAUSE = re.compile(r",?\s(?:because|since|so that|which|as shown|therefore)\b", re.I)
WHOLE_TEXT = re.compile(r"^\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}$")
AND_OR = re.compile(r"\\text\s*\{\s*(and|or)\s*\}")
JOINERS = re.compile(
    r",?\s+(?:and|or)\s+(?:then\s+)?|\s*(?:和|或者|或|以及|及)\s*|\s*\\(?:vee|lor)(?![A-Za-z])\s*"
)
MATRIX = re.compile(
    r"^\\begin\s*\{([pbBvV]?(?:small)?matrix|array)\}(?:\s*\{[lcr|]*\})?(.*)\\end\s*\{\1\}$", re.S
)
RELATION = re.compile(
    r"(\\leq?(?![A-Za-z])|\\geq?(?![A-Za-z])|\\lt(?![A-Za-z])|\\gt(?![A-Za-z])|<=|>=|<|>)"
)
EQUALS = re.compile(
    r"\\approx(?![A-Za-z])|\\simeq(?![A-Za-z])|\\equiv(?![A-Za-z])|==?|\\rightarrow|\\to(?![A-Za-z])"
)
DECIMAL = re.compile(
    r"[-+]?\s*(\d*)\.(\d+)(?:\s*(?:\*|\\times|\\cdot|x)\s*10\s*(?:\^|\*\*)\s*\{?\s*(-?\d{1,4})\s*\}?|[eE]([-+]?\d{1,4}))?"
)
SCALE_VALUES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
SCALE_VALUES |= {"trillion": 10**12, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
SCALE = re.compile(
    r"(hundred|thousand|million|billion|trillion|dozen|百|千(?!克|米)|万|亿)\s*", re.I
)
PRODUCT = re.compile(r"\d{1,9}(?:\s*(?:\\times|\*|[xX]|\\cdot)\s*\d{1,9}){1,4}")


def read(text: str, letters: bool) -> Form:
    """The form of an answer span; raises Unreadable (with the reason) or TooBig."""
    if len(text) > 4 * MAX_CHARS:
        raise TooBig(f"{len(text)} characters are beyond the grader's {4 * MAX_CHARS}")
    text = CAUSE.split(text, maxsplit=1)[0]
    flat = WHOLE_TEXT.sub(r"\1", plain_numbers(chinese_numbers(tidy(text))))
    if INTEGER.match(flat):
        return Quantity(exact.constant(int(flat)))
    if not flat:
        raise Unreadable("nothing is left of the answer without its layout")
    if len(flat) > MAX_CHARS:
        raise TooBig(f"{len(flat)} characters are beyond the grader's {MAX_CHARS}")
    if nesting(flat) > MAX_DEPTH:
        raise TooBig(f"nesting is beyond the grader's {MAX_DEPTH} levels")
    if flat[0].isalpha():
        flat = english_numbers(flat)
    return form(flat, letters)


def nesting(text: str) -> int:
    """How deep the brackets go."""
    depth = deepest = 0
    for sign in text:
        depth += (sign in OPEN) - (sign in CLOSE)
        deepest = max(deepest, depth)
    return deepest


def form(text: str, letters: bool) -> Form:
    """The form of a tidy text: the first shape that its outermost signs announce."""
    text = APPROXIMATELY.sub("", text)
    text = text.replace(r"\langle", "(").replace(r"\rangle", ")")
    moment = read_moment(text)
    if moment is not None:
        return moment
    matrix = MATRIX.match(text)
    if matrix is not None:
        return read_matrix(matrix[2], letters)
    text = POINT.sub("", MEMBER.sub("", text))
    if text.count(r"\pm") == 1:
        values = (text.replace(r"\pm", "+"), text.replace(r"\pm", "-"))
        return Sequence("{}", tuple(form(value, letters) for value in values))
    joined = JOINERS.sub("\ue004", AND_OR.sub(r" \1 ", text).replace(r"\cup", "\ue004"))
    items = split_top(joined, ",;\ue004")
    if len(items) > 1:
        brackets = "{}" if "\ue004" in joined else ""
        return Sequence(brackets, tuple(form(item, letters) for item in items))
    for reader in (read_bracketed, read_inequality, read_equation, read_ratio):
        shape = reader(text, letters)
        if shape is not None:
            return shape
    return read_quantity(text, letters)


def split_top(text: str, separators: str) -> list[str]:
    """The parts between separators that stand in no bracket, stripped; empty parts dropped."""
    if not any(sign in text for sign in separators):
        return [text]
    parts, start, depth = [], 0, 0
    for index, sign in enumerate(text):
        if sign in OPEN:
            depth += 1
        elif sign in CLOSE:
            depth -= 1
        elif sign in separators and depth <= 0:
            parts.append(text[start:index].strip())
            start = index + 1
    parts = [part for part in [*parts, text[start:].strip()] if part]
    if len(parts) > MAX_ITEMS:
        raise TooBig(f"{len(parts)} items are beyond the grader's {MAX_ITEMS}")
    return parts


def read_bracketed(text: str, letters: bool) -> Form | None:
    """A tuple, list, interval or set: one pair of brackets around everything."""
    if text == r"\emptyset" or text == "\ue002\ue003":
        return Sequence("{}", ())
    if len(text) < 2 or text[0] not in OPEN or text[-1] not in CLOSE or not encloses(text):
        return None
    inner = split_top(text[1:-1].strip(), ",;")
    is_set = text[0] in "{\ue002"
    if len(inner) < 2 and not (text[0] == "\ue002" and inner and inner[0]):
        return form(inner[0], letters) if inner and inner[0] and text[0] == "(" else None
    items = tuple(form(item, letters) for item in inner)
    if text[0] == "[" and all(isinstance(i, Sequence) and i.brackets == "[]" for i in items):
        return matrix_of([i.items for i in items if isinstance(i, Sequence)])
    return Sequence("{}" if is_set else text[0] + text[-1], items)


def encloses(text: str) -> bool:
    """Whether the first bracket closes at the very end; half-open pairs may mix kinds."""
    depth = 0
    for index, sign in enumerate(text):
        depth += (sign in OPEN) - (sign in CLOSE)
        if depth == 0:
            return index == len(text) - 1
    return False


def read_matrix(body: str, letters: bool) -> Matrix:
    """The body of a matrix environment."""
    rows = [row for row in body.split("\ue001") if row.strip()]
    return matrix_of([tuple(form(c.strip(), letters) for c in row.split("&")) for row in rows])


def matrix_of(rows: list[tuple[Form, ...]]) -> Matrix:
    """A matrix of rows that must have one length."""
    if not rows or len({len(row) for row in rows}) != 1 or len(rows) * len(rows[0]) > MAX_ITEMS:
        raise Unreadable("a matrix needs rows of one length")
    return Matrix(tuple(rows))


def read_inequality(text: str, letters: bool) -> Form | None:
    """x > 3, 1 <= x < 2 as intervals of the one name."""
    pieces = RELATION.split(text)
    if len(pieces) not in (3, 5):
        return None
    sides = [piece.strip() for piece in pieces[::2]]
    signs = [sign.replace(r"\l", "<").replace(r"\g", ">") for sign in pieces[1::2]]
    strict = ["=" not in sign and "e" not in sign for sign in signs]
    if any(sign[0] != signs[0][0] for sign in signs):
        raise Unreadable("two inequalities in opposite directions")
    if signs[0][0] == ">":
        sides, strict = sides[::-1], strict[::-1]
    return interval(sides, strict, letters)


def interval(sides: list[str], strict: list[bool], letters: bool) -> Form:
    """sides in ascending order, one of them a bare name."""
    bare = [bool(re.fullmatch(r"\\?[A-Za-z]+", side)) and side != r"\infty" for side in sides]
    if sum(bare) != 1 or (len(sides) == 3 and not bare[1]):
        raise Unreadable("an inequality that does not bound one name")
    if len(sides) == 2 and bare[0]:
        brackets, ends = (
            "(" + (")" if strict[0] else "]"),
            (Infinite(-1), endpoint(sides[1], letters)),
        )
    elif len(sides) == 2:
        brackets, ends = (
            ("(" if strict[0] else "[") + ")",
            (endpoint(sides[0], letters), Infinite(1)),
        )
    else:
        brackets = ("(" if strict[0] else "[") + (")" if strict[1] else "]")
        ends = endpoint(sides[0], letters), endpoint(sides[2], letters)
    return Sequence(brackets, ends)


def endpoint(text: str, letters: bool) -> Form:
    """One end of an interval."""
    return read_quantity(text, letters)


def read_equation(text: str, letters: bool) -> Form | None:
    """An equation, an assignment (its name kept), or a chain of constants."""
    sides = [side.strip() for side in EQUALS.split(text)]
    if len(sides) < 2:
        return None
    if not all(sides) or len(sides) > 12:
        raise Unreadable("an equation with an empty side")
    name = sides[0] if is_name(sides[0]) else ""
    rest = sides[1:] if name else sides
    shapes = [try_form(side, letters) for side in rest]
    constants = [shape for shape in shapes if shape is not None]
    if constants and (name or len(constants) > 1) and shapes[-1] is not None:
        shape = constants[0] if len(constants) == 1 else Chain(tuple(constants))
        return Equation(None, shape, name) if name else shape
    if not letters:
        raise Unreadable("an equation without a value")
    left, right = (whole(side) for side in (sides[0], sides[-1]))
    name = name if name and name not in exact.names_in(right) else ""
    return Equation(left, Quantity(right), name)


def is_name(text: str) -> bool:
    """x, AB, f(x), \\theta_1, "Area of ABC": something that has no value of its own."""
    return (
        len(text) <= 60
        and bool(re.fullmatch(r"\\?[^\W\d_][\w\\{}'^ ().△∠°\\]*", text))
        and (try_form(text) is None)
    )


def try_form(text: str, strict: bool = False) -> Form | None:
    """The form without variables, None if there is none; strictly, a bare letter is no unit."""
    try:
        shape = form(text, letters=False)
    except TooBig:
        raise
    except Unreadable:
        return None
    terse = isinstance(shape, Quantity) and shape.unit is not None and shape.unit.terse
    return None if strict and terse else shape


def whole(text: str) -> Value:
    """The expression with names that a side of an equation is, to its last character."""
    value, end = parse(text, letters=True)
    if end < len(text):
        raise Unreadable(f"{text[end:][:20]!r} is not read")
    return value


def read_ratio(text: str, letters: bool) -> Form | None:
    """3 : 4 : 5 or "3 to 4"; "Answer: 5" is what stands behind the colon."""
    to = re.fullmatch(r"(\d+) to (\d+)", text)
    parts = [to[1], to[2]] if to else split_top(text, ":")
    if len(parts) < 2:
        return None
    if is_name(parts[0]):  # "Answer: 5"
        return form(":".join(parts[1:]), letters)
    values = []
    for part in parts:
        quantity = read_quantity(part, letters)
        if not isinstance(quantity, Quantity) or (quantity.unit and quantity.unit.label):
            raise Unreadable("a ratio of something other than numbers")
        values.append(quantity.value)
    return Ratio(tuple(values))


def read_quantity(text: str, letters: bool) -> Quantity | Infinite:
    """A value and, behind it, its unit; money may stand in front."""
    text = text.strip()
    infinite = re.fullmatch(r"([-+]?)\s*(?:\\infty|inf|infinity)", text)
    if infinite:
        return Infinite(-1 if infinite[1] == "-" else 1)
    money = re.match(r"([-+]?)\s*([\ue000€£¥])\s*", text)
    if money:
        text = f"{money[1]}{text[money.end() :]} {money[2] if money.end() else ''}"
    value, end = parse(text, letters)
    head, tail = text[:end].strip(), text[end:].strip()
    scale = SCALE.match(tail)
    if scale:  # 5 million, 5万
        value, tail = value * exact.constant(SCALE_VALUES[scale[1].lower()]), tail[scale.end() :]
    unit = parse_unit(tail) if tail else None
    if tail and (unit is None or (letters and unit.label)):
        raise Unreadable(f"{tail[:40]!r} after the number is no unit")
    step, places = (Fraction(0), 0) if scale else printed(head)
    factors = tuple(sorted(map(int, re.findall(r"\d+", head)))) if PRODUCT.fullmatch(head) else ()
    return Quantity(value, unit, step, places, () if "10^" in head.replace(" ", "") else factors)


def printed(head: str) -> tuple[Fraction, int]:
    """Last printed place of a decimal and the number of places: 0.50 gives 1/100 and 2."""
    match = DECIMAL.fullmatch(head)
    if match is None:
        return Fraction(0), 0
    exponent = int(match[3] or match[4] or 0) - len(match[2])
    if abs(exponent) > 1000:
        raise TooBig("a number this long is beyond the grader's limits")
    return Fraction(10) ** exponent, len(match[2])


MONTH_STARTS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH_NAME = re.compile(
    "jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?"
    "|nov(ember)?|dec(ember)?"
)
WEEKDAY = re.compile(r"^(?:on )?(?:mon|tues|wednes|thurs|fri|satur|sun)day,? (?=.*\d)", re.I)
ISO_DATE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
SLASH_DATE = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})")
CHINESE_DATE = re.compile(r"(?:(\d{4})年)?\s*(\d{1,2})月\s*(\d{1,2})[日号]")
MONTH_FIRST = re.compile(r"([a-z]{3,9})\.? (\d{1,2})(?:st|nd|rd|th)?(?:,? (\d{4}))?", re.I)
DAY_FIRST = re.compile(
    r"(?:the )?(\d{1,2})(?:st|nd|rd|th)? (?:of )?([a-z]{3,9})\.?(?:,? (\d{4}))?", re.I
)
CLOCK = re.compile(
    r"(?:at )?(\d{1,2})(?:([:.])(\d{2}))?\s*(am|pm|a\.m|p\.m|a\.m\.|p\.m\.|o'clock)?", re.I
)


def read_moment(text: str) -> Moment | None:
    """A date or a time of day, None for anything else."""
    if not any(sign.isdigit() for sign in text) or len(text) > 60:
        return None
    text = WEEKDAY.sub("", re.sub(r"\\(?:mathrm|text)\s*\{([^{}]*)\}", r" \1", text))
    text = " ".join(text.split())
    return read_date(text) or read_clock(text)


def read_date(text: str) -> Moment | None:
    """A date in one of the unambiguous spellings."""
    if match := ISO_DATE.fullmatch(text) or CHINESE_DATE.fullmatch(text):
        return date(match[1], int(match[2]), int(match[3]))
    if match := MONTH_FIRST.fullmatch(text):
        return date(match[3], month_number(match[1]), int(match[2]))
    if match := DAY_FIRST.fullmatch(text):
        return date(match[3], month_number(match[2]), int(match[1]))
    match = SLASH_DATE.fullmatch(text)
    if match and (int(match[1]) > 12) != (int(match[2]) > 12):  # 3/5/2024 could be either
        first, second = int(match[1]), int(match[2])
        return date(match[3], min(first, second), max(first, second))
    return None


def month_number(name: str) -> int:
    """1 to 12 for a month's name or its first letters, 0 for another word."""
    name = name.lower()
    return MONTH_STARTS.index(name[:3]) + 1 if MONTH_NAME.fullmatch(name) else 0


def date(year: str | None, month: int, day: int) -> Moment | None:
    """The date, None where month or day cannot be."""
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return Moment("date", (month, day, int(year)) if year else (month, day))


def read_clock(text: str) -> Moment | None:
    """A time of day: 15:55, 3:55 pm, 5 o'clock."""
    match = CLOCK.fullmatch(text)
    if match is None or not (match[4] or match[2] == ":"):
        return None
    hour, minute, half = int(match[1]), int(match[3] or 0), (match[4] or "")[:1].lower()
    if hour > 23 or minute > 59 or (half in ("a", "p") and not 1 <= hour <= 12):
        return None
    if half in ("a", "p"):
        hour = hour % 12 + 12 * (half == "p")
    return Moment("clock", (hour, minute), meridiem=half in ("a", "p"))
