"""MATH-V's published grader: `evaluation/evaluate.py` and `utils.py` of mathllm/MATH-V.

Extraction and equality follow it step by step, defects included: it cannot read `<answer>` tags,
rounds values to two decimals, keeps the last "is 5" of a sentence, and drops what stands behind the
last equals sign of a box. Where it runs `eval(str(latex2sympy(x)))`, `latex.value_of` gives the
same number without running anything.
"""

from collections.abc import Callable, Mapping
from typing import Any

from onevision_jax.rewards.grade import Grade, Verdict
from onevision_jax.rewards.official.latex import MAX_CHARS, NoValue, Number, value_of
from onevision_jax.rewards.official.protocol import Protocol

LETTERS = "ABCDE"
FLAGS = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")
SHOWN = 200  # characters of an answer that a grade carries
Step = Callable[[str], str]


def grade(response: str, gold: str, *, choices: tuple[str, ...], facts: Mapping[str, Any]) -> Grade:
    """Correct where the answer equals the gold or, with choices, the text of the gold's option."""
    del facts
    option = ""
    if choices:
        index = ord(gold) - ord("A") if len(gold) == 1 else -1
        if not 0 <= index < len(choices):
            reason = f"the gold {gold[:40]!r} is no letter of the {len(choices)} choices"
            return Grade("grader_failed", None, reason)
        option = choices[index]
    answer = extract(response)
    if not answer.replace(" ", ""):
        return Grade("unparsed", None, "nothing is left after the published extraction")
    verdict, reason = judge(answer, gold, option)
    return Grade(verdict, answer[:SHOWN], reason)


def judge(answer: str, gold: str, option: str) -> tuple[Verdict, str]:
    """The gold first, then the option it stands for."""
    equal, reason = is_equal(gold, answer)
    if equal:
        return "correct", reason
    if option:
        equal, other = is_equal(option, answer)
        if equal:
            return "correct", f"{other} as the gold's option"
    return "wrong", reason


def extract(response: str) -> str:
    """The published `model_answer`."""
    text = response.strip()
    for letter in LETTERS:
        if text.endswith((f" {letter}.", f" ({letter}).")) or text.startswith(
            (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        ):
            text = letter
    tail = text.rpartition("is ")[2].rstrip(".")
    if is_number(tail):
        text = tail
    if "oxed{" not in text:
        for flag in FLAGS:
            text = after(after(text, flag), flag.replace("the", "The"))
    elif text.count("oxed{") > 1:
        text = r"\boxed{" + text.rpartition("oxed{")[2]
    text = find_math_answer(text)
    for before, behind in ("()", "{}"):
        for letter in LETTERS.lower():
            text = text.replace(f"{before}{letter}{behind}", letter)
    return text.rstrip(".").lstrip(":").strip()


def is_number(text: str) -> bool:
    """Whether Python's float reads it: "1_000" and "nan" are numbers here."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def after(text: str, flag: str) -> str:
    """What follows the last flag, up to a line's or sentence's end."""
    if flag not in text:
        return text.strip()
    return text.rpartition(flag)[2].strip().partition("\n")[0].partition(". ")[0]


def find_math_answer(text: str) -> str:
    """The box, or the whole text, without spaces, units, degrees and what precedes a last `=`."""
    text = text.lower().replace("{}", "")
    start, end = text.find("oxed{"), text.rfind("}")
    if 0 <= start and start + len("oxed{") <= end:
        text = text[start + len("oxed{") : end]
    closing, opening = text.find("}"), text.find("{")
    if closing != -1 and (opening == -1 or closing < opening):
        text = text[:closing]
    text = text.rpartition("=")[2].rpartition(r"\approx")[2]
    for old, new in (
        (" ", ""), (r"\,", ""), ("∞", r"\infty"), (r"+\infty", r"\infty"), (r"\\", "\\"),
        ("\n", ""), (r"\text", ""), (r"\mbox", ""), ("bmatrix", "pmatrix"), (r"\left", ""),
        (r"\right", ""), (r"^{\circ}", ""), (r"^\circ", ""), ("{m}^3", ""), ("m^3", ""),
        ("{units}", ""), ("units", ""), ("{km}", ""), ("km", ""),
    ):  # fmt: skip
        text = text.replace(old, new)
    return strip_string(text)


def strip_string(text: str) -> str:
    """The published `_strip_string`."""
    for old, new in (
        (r"\!", ""), (r"\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), (r"\left", ""),
        (r"\right", ""), (r"^{\circ}", ""), (r"^\circ", ""), (r"\$", ""), ("$", ""),
    ):  # fmt: skip
        text = text.replace(old, new)
    text = text.partition(r"\text{ ")[0].replace(r"\%", "")
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    if text[0] == ".":
        text = f"0{text}"
    for sign in ("=", r"\approx"):
        if text.count(sign) == 1:
            text = text.partition(sign)[2]
    if "sqrt" in text:
        text = fix_fractions(fix_roots(text).replace(" ", ""))
    text = text.replace(" ", "")
    return fix_slash(r"\frac{1}{2}" if text == "0.5" else text)


def fix_roots(text: str) -> str:
    r"""\sqrt3 becomes \sqrt{3}."""
    first, *rest = text.split(r"\sqrt")
    braced = [f"{{{part[0]}}}{part[1:]}" if part and part[0] != "{" else part for part in rest]
    return r"\sqrt".join([first, *braced])


def fix_fractions(text: str) -> str:
    r"""\frac12 becomes \frac{1}{2}: the published grader does so only beside a root."""
    first, *rest = text.split(r"\frac")
    fixed = [first]
    for part in rest:
        if part.startswith("{"):
            fixed.append(part)
        elif len(part) < 2:
            return text
        elif part[1] == "{":
            fixed.append(f"{{{part[0]}}}{part[1:]}")
        else:
            fixed.append(f"{{{part[0]}}}{{{part[1]}}}{part[2:]}")
    return r"\frac".join(fixed)


def fix_slash(text: str) -> str:
    r"""3/4 becomes \frac{3}{4}."""
    if text.count("/") != 1:
        return text
    try:
        top, bottom = map(int, text.split("/"))
    except ValueError:
        return text
    return rf"\frac{{{top}}}{{{bottom}}}" if text == f"{top}/{bottom}" else text


def is_equal(gold: str, answer: str) -> tuple[bool, str]:
    """The published `is_equal`, with what decided."""
    gold, answer = gold.lower(), answer.lower()
    if not gold.replace(" ", "") or not answer.replace(" ", ""):
        return False, "nothing to compare"
    if gold.strip() == answer.strip():
        return True, "the same text"
    gold, answer = round_items(gold), round_items(answer)
    if gold == answer:
        return True, "the same items, each to two decimals"
    try:
        wanted = round(value_of(gold), 2)
    except NoValue as error:
        return False, f"other text; the gold {gold[:40]!r} has no value: {error}"
    try:
        found = round(value_of(answer), 2)
    except NoValue as error:
        return False, f"other text, and without a value: {str(error)[:120]}"
    if wanted == found:
        return True, f"the same value to two decimals, {shown(found)}"
    return False, f"{shown(found)}, not {shown(wanted)}, to two decimals"


def shown(value: Number) -> str:
    """A number for a reason; Python refuses to print very long ones."""
    if isinstance(value, int) and value.bit_length() > 100:
        return f"an integer of {value.bit_length()} bits"
    return str(value)


def round_items(text: str) -> str:
    """The published `eval_tuple`: (a,b,...) or [a,b,...] with its items to two decimals."""
    if len(text) > MAX_CHARS or text[:1] + text[-1:] not in ("()", "[]"):
        return text
    items = text[1:-1].split(",")
    if len(items) < 2:
        return text
    try:
        rounded = [
            item if "infty" in item or item in ("a", "-a") else str(round(value_of(item), 2))
            for item in items
        ]
    except ValueError:
        return text
    return f"{text[0]}{','.join(rounded)}{text[-1]}"


PROTOCOL = Protocol(
    grade=grade,
    extractor="last box, final phrases, the number after the last 'is', a letter at either end",
    equality="same text, or same value to two decimals, as the gold or the text of its option",
    version="mathvision-official-1",
)
