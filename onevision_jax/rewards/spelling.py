"""One spelling for what people write in many: Unicode, markdown, LaTeX, digits in words.

Text in, text out, no judgement: `3½`, `３\\tfrac12` and `$3\\frac{1}{2}$` all become
`3\\frac{1}{2}`. Callers bound the length first, and no pattern here nests repetitions.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

CURRENCY = "\ue000"  # stands for an escaped dollar sign while the math delimiters are dropped

VULGAR = {c: unicodedata.normalize("NFKC", c).split("⁄") for c in "¼½¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅐⅑⅒"}
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-",
        "×": r"\times ", "✕": r"\times ", "÷": "/", "·": "*", "⋅": "*", "∙": "*", "∗": "*",
        "⁄": "/", "∕": "/", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ",
        "⩾": r"\ge ", "≈": r"\approx ", "∪": r"\cup ", "∈": r"\in ", "±": r"\pm ", "º": "°",
        "˚": "°", "∶": ":", "，": ", ", "。": ". ", "、": ", ", "；": "; ", "‘": "'", "’": "'",
        "“": '"', "”": '"', "∅": r"\emptyset ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
        "√": r"\sqrt ", "\u200b": "", "\u200c": "", "\u200d": "", "\ufeff": "", "\u2060": "",
    }
)  # fmt: skip
DAMAGED = {"\x0crac": r"\frac", "\x08oxed": r"\boxed", "\x08egin": r"\begin", "\text": r"\text"}
DAMAGED |= {"\times": r"\times", "\theta": r"\theta"}  # JSON read \f, \b and \t as control signs

SPACING = re.compile(
    r"\\(?:[,;:!> ]|quad|qquad|hfill|displaystyle|limits|textstyle|thinspace)(?![a-zA-Z])"
)
DELIMITER_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])")
WRAPPERS = re.compile(
    r"\\(?:boxed|fbox|mathbf|boldsymbol|textbf|bm|bf|emph|underline|textit|mathit|mathsf|mathbb"
    r"|mathcal|displaystyle|tt|textnormal|pmb)\s*\{"
)
FRACTION_NAMES = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
SHORT_FRACTION = re.compile(r"\\frac\s*([0-9a-zA-Z])\s*([0-9a-zA-Z])(?![a-zA-Z])")
SHORT_TOP = re.compile(r"\\frac\s*([0-9a-zA-Z])\s*\{")
DEGREES = re.compile(
    r"\^?\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z])|\\degree(?![a-zA-Z])|\{\s*°\s*\})"
)
BOLD = re.compile(r"(?<![\w*)])(\*\*|__)(?=\S)([^*_]+)\1(?![\w*])")
ITALIC = re.compile(r"(?<![\w*)])\*(?=[^\s*])([^*]+)\*(?![\w*(])")
BARE_WORDS = re.compile(r"(?<![\\a-zA-Z^_}])\{\s*([A-Za-z][A-Za-z .]{2,})\s*\}")
THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:(?:,|\{,\})\d{3})+)(?!,?\d)")
SPACED_THOUSANDS = re.compile(r"(?<![\d.,] )(?<![\d.,])(\d{1,3}(?: \d{3})+)(?! ?\d)")
REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{(\d{1,20})\}")
ELLIPSIS = re.compile(r"(\d*)\.(\d*?)(\d)\3{2,}(?:\.\.\.|…|\\ldots|\\dots|\\cdots)$")


@lru_cache(maxsize=256)
def tidy(text: str) -> str:
    """Unicode, markdown and LaTeX layout removed; digits, letters and operators kept."""
    for damaged, command in DAMAGED.items():
        text = text.replace(damaged, command)
    text = _unicode(text.replace(r"\$", CURRENCY).replace(r"\textdollar", CURRENCY))
    if "$" in text:
        if text.count("$") == 1:
            text = re.sub(r"\$(?=\s*\d)", CURRENCY, text)  # $5 is money, $5$ is mathematics
        text = text.replace("$", " ")
    text = ITALIC.sub(r"\1", BOLD.sub(r"\2", text)).strip().strip("`").strip()
    if text[:1] in "\"'" and text[-1:] == text[:1]:
        text = text[1:-1]
    if "\\" in text:
        text = _latex(text)
    text = re.sub(r"(?<=\d)~", " ", text)
    text = BARE_WORDS.sub(r" \1 ", text)
    if "..." in text:
        text = ELLIPSIS.sub(repeating_decimal, text)
    return " ".join(text.split()).rstrip(" .,;:\ue001").lstrip(" ,;:")


def _unicode(text: str) -> str:
    if text.isascii():
        return text
    for sign, (top, bottom) in VULGAR.items():
        text = text.replace(sign, rf"\frac{{{top}}}{{{bottom}}}")
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", _raised, text)
    text = re.sub("[₀-₉]+", lambda m: "_{" + "".join(SUBSCRIPTS[c] for c in m[0]) + "}", text)
    return unicodedata.normalize("NFKC", text.translate(SIGNS)).translate(SIGNS)


def _raised(match: re.Match[str]) -> str:
    return "^{" + "".join(SUPERSCRIPTS[c] for c in match[0]) + "}"


def _latex(text: str) -> str:
    text = text.replace(
        "\\\\", "\ue001"
    )  # row ends first, so that "\\[" is no opening of a display
    for delimiter in (r"\(", r"\)", r"\[", r"\]"):
        text = text.replace(delimiter, " ")
    text = unwrap(text)
    text = FRACTION_NAMES.sub(r"\\frac", text)
    text = SHORT_TOP.sub(r"\\frac{\1}{", SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text))
    text = DEGREES.sub("°", text)
    text = REPEATING.sub(repeating_decimal, text)
    text = re.sub(r"(?<=\d)\\[,!;](?=\d{3})", "", text)
    text = DELIMITER_SIZES.sub("", SPACING.sub(" ", text))
    text = (
        text.replace(r"\%", "%").replace("~", " ").replace(r"\{", "\ue002").replace(r"\}", "\ue003")
    )
    return text.replace(r"\&", "&").replace(r"\lbrace", "\ue002").replace(r"\rbrace", "\ue003")


def unwrap(text: str) -> str:
    """Drops \\boxed{...}, \\mathbf{...} and their like around their content, innermost last."""
    for _ in range(16):
        match = WRAPPERS.search(text)
        if match is None:
            return text
        end = closing_brace(text, match.end() - 1)
        if end < 0:
            return text[: match.start()] + text[match.end() :]
        text = text[: match.start()] + text[match.end() : end] + text[end + 1 :]
    return text


def closing_brace(text: str, opening: int, limit: int = 4000) -> int:
    """Index of the brace that closes text[opening], escaped braces skipped; -1 if there is none."""
    depth, index, end = 0, opening, min(len(text), opening + limit)
    while index < end:
        sign = text[index]
        if sign == "\\":
            index += 1
        elif sign == "{":
            depth += 1
        elif sign == "}":
            depth -= 1
            if depth == 0:
                return index
        index += 1
    return -1


def repeating_decimal(match: re.Match[str]) -> str:
    """0.1\\overline{6} as the fraction 15/90."""
    whole, fixed, cycle = match[1] or "0", match[2], match[3]
    top = int(whole + fixed + cycle) - int(whole + fixed)
    return rf"\frac{{{top}}}{{{(10 ** len(cycle) - 1) * 10 ** len(fixed)}}}"


def plain_numbers(text: str) -> str:
    """Thousands separators dropped (12,345 and 12 345), not inside brackets."""
    if text[:1] in "([{\ue002":
        return text
    text = THOUSANDS.sub(lambda m: m[1].replace("{,}", "").replace(",", ""), text)
    return SPACED_THOUSANDS.sub(lambda m: m[1].replace(" ", ""), text)


CJK_DIGITS = dict(
    zip("零〇一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True)
)
CJK_UNITS = {"十": 10, "百": 100, "千": 1000}
CJK_LARGE = {"万": 10**4, "亿": 10**8}
CJK_NUMBER = re.compile(
    r"(?<![\d.零〇一二两三四五六七八九十百千万亿])(负?)([零〇一二两三四五六七八九十百千万亿]{1,20})(?:点([零〇一二三四五六七八九]{1,20}))?"
)
CJK_FRACTION = re.compile(
    r"(负?)([零一二三四五六七八九十百千万]{1,12})分之([零一二三四五六七八九十百千万]{1,12})"
)


def chinese_numbers(text: str) -> str:
    """Chinese numerals as digits: 一百二十 is 120, 三分之一 is 1/3, 百分之五十 is 50%."""
    if text.isascii():
        return text
    text = re.sub(r"百分之(\d+(?:\.\d+)?)", r"\1%", text)
    text = re.sub(r"(\d+)分之(\d+)", r"\\frac{\2}{\1}", text)
    return CJK_NUMBER.sub(_chinese_number, CJK_FRACTION.sub(_chinese_fraction, text))


def _chinese_fraction(match: re.Match[str]) -> str:
    sign, bottom, top = "-" * bool(match[1]), match[2], _chinese_integer(match[3])
    if bottom == "百":
        return f"{sign}{top}%"
    return rf"{sign}\frac{{{top}}}{{{_chinese_integer(bottom)}}}"


def _chinese_number(match: re.Match[str]) -> str:
    decimals = "".join(str(CJK_DIGITS[c]) for c in match[3] or "")
    whole = "-" * bool(match[1]) + str(_chinese_integer(match[2]))
    return f"{whole}.{decimals}" if decimals else whole


def _chinese_integer(digits: str) -> int:
    if not any(c in CJK_UNITS or c in CJK_LARGE for c in digits):
        return int("".join(str(CJK_DIGITS[c]) for c in digits))
    total = section = digit = 0
    for c in digits:
        if c in CJK_DIGITS:
            digit = CJK_DIGITS[c]
        elif c in CJK_UNITS:
            section += (digit or 1) * CJK_UNITS[c]
            digit = 0
        else:
            total = (total + section + digit) * CJK_LARGE[c]
            section = digit = 0
    return total + section + digit


SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]  # fmt: skip
WORD_VALUES = {word: value for value, word in enumerate(SMALL)}
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORD_VALUES |= {word: 10 * value for value, word in enumerate(TENS, 2)}
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6}
WORD_FRACTIONS = {
    "half": (1, 2), "one half": (1, 2), "a half": (1, 2), "one third": (1, 3), "two thirds": (2, 3),
    "one quarter": (1, 4), "a quarter": (1, 4), "three quarters": (3, 4), "one fourth": (1, 4),
    "three fourths": (3, 4), "a third": (1, 3), "one fifth": (1, 5), "two fifths": (2, 5),
}  # fmt: skip


def english_numbers(text: str) -> str:
    """Leading number words as digits: "twenty-one apples" is "21 apples"; other text unchanged."""
    words = text.lower().replace("-", " ").split()
    fraction = WORD_FRACTIONS.get(" ".join(words[:2])) or WORD_FRACTIONS.get(" ".join(words[:1]))
    if fraction and len(words) <= 2:
        return rf"\frac{{{fraction[0]}}}{{{fraction[1]}}}"
    total = section = used = 0
    for word in words:
        if word in WORD_VALUES:
            section += WORD_VALUES[word]
        elif word in SCALES and used:
            section *= SCALES[word]
            if word != "hundred":
                total, section = total + section, 0
        elif not (word == "and" and used and words[used - 1] in SCALES):
            break
        used += 1
    return " ".join([str(total + section), *words[used:]]) if used else text


COMMAND = re.compile(r"\\(?:text|mathrm|mbox|rm|operatorname|textrm)\s*\{([^{}]*)\}")
ARTICLES = re.compile(r"\b(?:the|an|a) (?=\w\w)")  # in (c, a, b) the a is no article
LEAD_IN = re.compile(
    r"^(?:it is|it's|its|this is|that is|these are|they are|there are|there is|he is|she is)\s+"
)
CJK_SPACE = re.compile(r"(?<=[\u4e00-\u9fff]) +| +(?=[\u4e00-\u9fff])")


def fold(text: str) -> str:
    """Text for comparing as words: case, articles, layout, end punctuation do not count."""
    text = COMMAND.sub(r" \1 ", tidy(text)).casefold()
    text = re.sub(r"[\"'`?,;\ue001]|(?<!\d)!", " ", re.sub(r"[{}_]", "", text))
    text = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text)
    text = CJK_SPACE.sub("", " ".join(text.split()).rstrip(" ."))
    text = LEAD_IN.sub("", text)
    return " ".join(ARTICLES.sub("", text).split()) or text
