"""Units of measure: what `12 cm^2`, `3 square inches`, `5 m/s` or `7 apples` measure.

A known unit is a factor to SI and a set of dimensions; any other word is a label ("apples"). A
missing unit matches any unit, since the question usually fixes it; two units that are both there
must measure the same thing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from onevision_jax.rewards.spelling import SCALES, WORD_VALUES


@dataclass(frozen=True)
class Unit:
    """`factor` to the base units of `dimensions`; an unknown word is a label with neither."""

    factor: Fraction = Fraction(1)
    dimensions: tuple[tuple[str, int], ...] = ()
    label: str = ""
    terse: bool = False  # a bare single letter, which could as well be a variable

    @property
    def is_percent(self) -> bool:
        return self.dimensions == (("percent", 1),)

    @property
    def is_degrees(self) -> bool:
        return self.dimensions == (("degree", 1),)


def _base() -> dict[str, tuple[Fraction, str, int]]:
    """Spelling -> factor, dimension, exponent."""
    table: dict[str, tuple[Fraction, str, int]] = {}

    def put(spellings: str, factor: str | int, dimension: str, exponent: int = 1) -> None:
        for spelling in spellings.split():
            table[spelling] = (Fraction(factor), dimension, exponent)

    prefixes = {"": 1, "k": 1000, "m": "1/1000", "c": "1/100", "d": "1/10", "M": 10**6}
    prefixes |= {"μ": "1/1000000", "µ": "1/1000000", "n": "1/1000000000", "G": 10**9}
    words = {
        "": 1,
        "kilo": 1000,
        "milli": "1/1000",
        "centi": "1/100",
        "deci": "1/10",
        "mega": 10**6,
    }
    words |= {"micro": "1/1000000", "nano": "1/1000000000", "giga": 10**9}
    si = (
        "N:newton V:volt A:ampere W:watt J:joule Pa:pascal Hz:hertz Ω:ohm C:coulomb F:farad T:tesla"
    )
    for pair in [*si.split(), "eV:electronvolt", "mol:mole", "cal:calorie", "B:byte"]:
        symbol, word = pair.split(":")
        for prefix, factor in prefixes.items():
            put(prefix + symbol, factor, word)
        for prefix, factor in words.items():
            put(f"{prefix}{word} {prefix}{word}s", factor, word)
    put("amp amps", 1, "ampere")
    put("ohms ohm", 1, "ohm")
    put("kohm", 1000, "ohm")
    put("m meter meters metre metres 米", 1, "length")
    put("km kilometer kilometers kilometre kilometres 千米 公里", 1000, "length")
    put("cm centimeter centimeters centimetre centimetres 厘米", "1/100", "length")
    put("dm decimeter decimeters decimetre decimetres 分米", "1/10", "length")
    put("mm millimeter millimeters millimetre millimetres 毫米", "1/1000", "length")
    put("μm µm um micrometer micrometers micron microns", "1/1000000", "length")
    put("nm nanometer nanometers nanometre nanometres", "1/1000000000", "length")
    put("in inch inches", "254/10000", "length")
    put("ft foot feet", "3048/10000", "length")
    put("yd yard yards", "9144/10000", "length")
    put("mi mile miles", "1609344/1000", "length")
    put("ha hectare hectares", 10000, "length", 2)
    put("acre acres", "40468564224/10000000", "length", 2)
    put("L l liter liters litre litres 升", "1/1000", "length", 3)
    put("mL ml milliliter milliliters millilitre millilitres 毫升", "1/1000000", "length", 3)
    put("平方米", 1, "length", 2)
    put("平方厘米", "1/10000", "length", 2)
    put("立方米", 1, "length", 3)
    put("立方厘米 cc", "1/1000000", "length", 3)
    put("g gram grams 克", "1/1000", "mass")
    put("kg kilogram kilograms 千克 公斤", 1, "mass")
    put("mg milligram milligrams", "1/1000000", "mass")
    put("t tonne tonnes ton tons 吨", 1000, "mass")
    put("lb lbs pound pounds", "45359237/100000000", "mass")
    put("oz ounce ounces", "28349523125/1000000000000", "mass")
    put("s sec secs second seconds 秒", 1, "time")
    put("ms millisecond milliseconds", "1/1000", "time")
    put("min mins minute minutes 分钟", 60, "time")
    put("h hr hrs hour hours 小时", 3600, "time")
    put("day days 天", 86400, "time")
    put("week weeks 周", 7 * 86400, "time")
    put("month months 个月", 1, "months")
    put("year years yr yrs 年", 12, "months")
    put("K kelvin kelvins", 1, "kelvin")
    put("°C ℃", 1, "celsius")
    put("°F", 1, "fahrenheit")
    put("° deg degree degrees 度", 1, "degree")
    put("% percent 百分比", 1, "percent")
    put("\ue000 usd dollar dollars", 1, "usd")
    put("cent cents", "1/100", "usd")
    put("€ eur euro euros", 1, "eur")
    put("£ gbp", 1, "gbp")
    put("¥ 元 yuan rmb cny", 1, "cny")
    return table


TABLE = _base()
COUNTERS = re.compile(r"^[个只条块张本支人名次棵头匹辆架件双对]$")
TEXT = re.compile(r"\\(?:text|mathrm|mbox|rm|operatorname|textrm)\s*\{([^{}]*)\}")
PIECE = re.compile(r"°\s?[CF]?|[%€£¥\ue000]|/|\*|\^\s*\{?\s*(-?\d)\s*\}?|[^\W\d_]+|\S")
NEUTRAL = {"unit", "units", "long", "wide", "tall", "total", "each", "only", "altogether"}
NEUTRAL |= {"in", "square", "cubic", "sq"}  # as in "square units", "in total"
# A number followed by one of these is a sentence, not a quantity.
NOT_A_LABEL = {
    "is", "are", "was", "were", "not", "no", "or", "and", "maybe", "if", "when", "but", "than",
    "because", "since", "which", "then", "to", "equals", "plus", "minus", "times", "either",
    "neither", "possibly", "probably", "perhaps", "unless", "except", "wrong", "correct",
}  # fmt: skip
NOT_A_LABEL |= set(WORD_VALUES) | set(SCALES) | {"squared", "cubed", "over", "point", "factorial"}
NOT_A_LABEL |= {"half", "halves", "third", "thirds", "quarter", "quarters", "tenths", "hundredths"}
LABEL_WORDS = 3


@lru_cache(maxsize=2048)
def parse_unit(text: str) -> Unit | None:
    """The unit that a tail of text spells, or None if it spells none."""
    terse = bool(re.fullmatch(r"\s*[A-Za-z]\s*", text))
    flat = " ".join(TEXT.sub(r" \1 ", text).replace("{", " ").replace("}", " ").split())
    if flat and flat != "in" and set(flat.lower().replace(".", "").split()) <= NEUTRAL:
        return Unit()
    flat = re.sub(r"degrees? ([CF]|Celsius|Fahrenheit)\b", lambda m: f"°{m[1][0]}", flat)
    for candidate in (flat, flat.lower()):
        known = _known(_named_powers(candidate))
        if known:
            return Unit(*known, terse=terse)
    words = [w.strip(".,!") for w in flat.lower().split()]
    if len(words) <= LABEL_WORDS and all(is_label_word(w) for w in words):
        return Unit(label=" ".join(w for w in words if not COUNTERS.match(w)))
    return None


def is_label_word(word: str) -> bool:
    """Two letters could be a product of variables, so a label in Latin letters needs three."""
    return word.isalpha() and word not in NOT_A_LABEL and (len(word) > 2 or not word.isascii())


def _named_powers(text: str) -> str:
    """square inches, sq. cm, cubic metres, inches squared -> exponents; per -> a slash."""
    text = re.sub(r"\b(?:square|sq\.?)\s+([^\W\d_]+)", r"\1^2", text)
    text = re.sub(r"\b(?:cubic|cu\.?)\s+([^\W\d_]+)", r"\1^3", text)
    text = re.sub(r"([^\W\d_]+) squared\b", r"\1^2", text)
    text = re.sub(r"([^\W\d_]+) cubed\b", r"\1^3", text)
    text = re.sub(r"\bper cent\b", "percent", text)
    text = re.sub(r"\bkmh\b|\bkph\b", "km/h", re.sub(r"\bmph\b", "mi/h", text))
    return re.sub(r"\bper\b|\ban? (?=hour|second|minute|day)", "/", text)


def _known(text: str) -> tuple[Fraction, tuple[tuple[str, int], ...]] | None:
    """Factor and dimensions of a product of known units, None if a piece is unknown."""
    factor, powers, sign = Fraction(1), {}, 1
    last: tuple[Fraction, str, int] | None = None
    for match in PIECE.finditer(text):
        piece = match[0].replace(" ", "")
        if piece in ("/", "*", "."):
            sign, last = (-1 if piece == "/" else sign), None
        elif match[1] is not None and last is not None:
            extra = sign * (int(match[1]) - 1)
            factor *= last[0] ** extra
            powers[last[1]] += last[2] * extra
            last = None
        elif piece in TABLE:
            last = TABLE[piece]
            factor *= last[0] ** sign
            powers[last[1]] = powers.get(last[1], 0) + last[2] * sign
        elif piece.lower() not in NEUTRAL:
            return None
    dimensions = tuple(sorted((name, power) for name, power in powers.items() if power))
    return (factor, dimensions) if dimensions else None


def compatible(gold: Unit | None, answer: Unit | None) -> bool:
    """Whether both can measure the same thing; a missing unit or neutral word fits anything."""
    if not _says_something(gold) or not _says_something(answer):
        return True
    assert gold is not None
    assert answer is not None
    if gold.label or answer.label:
        shared = {_singular(w) for w in gold.label.split()} & {
            _singular(w) for w in answer.label.split()
        }
        return bool(shared)
    return gold.dimensions == answer.dimensions


def _says_something(unit: Unit | None) -> bool:
    return unit is not None and bool(unit.label or unit.dimensions)


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else word
