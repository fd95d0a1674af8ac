r"""R1-V's two published protocols: GeoQA by math-verify, SuperCLEVR counting by a pattern.

Source: `src/eval/test_qwen2vl_geoqa.py` and `test_qwen2vl_counting_superclevr.py` of
Deep-Agent/R1-V. GeoQA hands the whole output, thinking included, to `math_verify.parse` and the
result to `verify(answer, gold)`, in that order, which is not the order math-verify names them in.

math-verify turns plain arithmetic such as `180-50` into code and runs it; here the same tree is
built without running anything. Its time limits count seconds on the clock, so that a busy machine
would change verdicts; here they are seconds of the processor, by a signal, which needs the main
thread of a process, as a `GraderPool` worker has. What no signal can stop (a power of powers,
computed in one step of C) is refused before it is compared.
"""

import ast
import contextlib
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from types import FrameType, ModuleType
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.rewards.grade import Grade
from onevision_jax.rewards.official.protocol import Protocol

SECONDS = 1.0  # of the processor for one item; the original allows 5 for each of its steps
MAX_CHARS = 20_000  # the end of a response that is read; the original generates 1,024 tokens
MAX_DEPTH = 40  # of braces: the parser's time grows fast with them
MAX_EXPONENT = 1000
MAX_NODES = 400
SHOWN = 200
BRACES = re.compile(r"[{}]")
COUNT = re.compile(r"<answer>\s*(\d+)\s*</answer>")


def grade_count(
    response: str, gold: str, *, choices: tuple[str, ...], facts: Mapping[str, Any]
) -> Grade:
    """The first `<answer>` that holds nothing but digits, as an integer."""
    del choices, facts
    match = COUNT.search(response)
    if match is None:
        return Grade("unparsed", None, "no <answer> that holds nothing but digits")
    try:
        wanted = int(gold)
    except ValueError:
        return Grade("grader_failed", None, f"the gold {gold[:40]!r} is no integer")
    digits = match[1]
    if len(digits) > 100:
        return Grade("wrong", digits[:SHOWN], f"a number of {len(digits)} digits, not {wanted}")
    if int(digits) == wanted:
        return Grade("correct", digits, "the same integer")
    return Grade("wrong", digits, f"{int(digits)}, not {wanted}")


def grade_geoqa(
    response: str, gold: str, *, choices: tuple[str, ...], facts: Mapping[str, Any]
) -> Grade:
    """What math-verify finds in the response against what it finds in the gold."""
    del choices, facts
    if threading.current_thread() is not threading.main_thread():
        raise InputError("R1-V's GeoQA protocol grades in a main thread only; use GraderPool")
    prepare()
    try:
        with processor_limit(SECONDS):
            return compare(response[-MAX_CHARS:], gold)
    except TooSlow:
        return Grade("grader_failed", None, f"math-verify worked for more than {SECONDS} s")


def compare(response: str, gold: str) -> Grade:
    """Both sides through math-verify."""
    if nesting(response) > MAX_DEPTH:
        return Grade("wrong", None, f"braces nested deeper than {MAX_DEPTH}")
    found = parse(response)
    if not found:
        return Grade("unparsed", None, "math-verify finds no number or expression")
    shown = str(found[-1])[:SHOWN] if isinstance(found[-1], str) else None
    wanted = parse_gold(gold)
    if not all(is_small(part) for part in (*found, *wanted)):
        return Grade("wrong", shown, "an expression too large to compare")
    if prepare().verify(list(found), list(wanted), timeout_seconds=None):
        return Grade("correct", shown, "equal to the gold by math-verify")
    return Grade("wrong", shown, f"not equal to {gold[:40]!r} by math-verify")


def nesting(text: str) -> int:
    """The deepest level of braces."""
    deepest = depth = 0
    for sign in BRACES.findall(text):
        depth = depth + 1 if sign == "{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest


class TooSlow(BaseException):
    """Not an Exception: math-verify and sympy swallow those."""


@contextlib.contextmanager
def processor_limit(seconds: float) -> Iterator[None]:
    """Raises TooSlow inside the block once it has used this much of the processor."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.1)  # again, should a bare `except` eat one
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def parse(text: str) -> tuple[Any, ...]:
    """math-verify's expressions and, last, the text of the first one; () where it finds none."""
    return tuple(prepare().parse(text, parsing_timeout=None))


@lru_cache(maxsize=2048)
def parse_gold(gold: str) -> tuple[Any, ...]:
    """Golds repeat."""
    return parse(gold)


@cache
def prepare() -> ModuleType:
    """math-verify, with its `eval` taken out; raises InputError where it is not installed."""
    try:
        import math_verify
        from latex2sympy2_extended import latex2sympy2
        from math_verify import grader, parser
    except ImportError:
        raise InputError(
            "R1-V's GeoQA protocol needs math-verify: pip install 'onevision-jax[eval]'"
        ) from None
    parser.Number = number
    latex2sympy2._Latex2Sympy.parse_number = lambda self, text: number(text)
    parser.parse_expr_cached = lru_cache(maxsize=20)(arithmetic)
    # Without its own limits it warns once, on the screen.
    parser.TIMEOUT_WARNING_SHOWN = grader.TIMEOUT_WARNING_SHOWN = True
    math_verify.parse("$\\frac{1}{2}$")  # Half a second of tables, once.
    return math_verify


def arithmetic(text: str) -> Any:
    """`sympy.parse_expr(text, evaluate=False)` for digits and operators, without its `eval`.

    sympy writes the text as calls of its classes; here those calls are made one by one.
    """
    from sympy import Basic
    from sympy.parsing.sympy_parser import (
        EvaluateFalseTransformer,
        standard_transformations,
        stringify_expr,
    )

    if len(text) > SHOWN:
        raise ValueError("longer than an answer")
    code = stringify_expr(text, {}, {}, standard_transformations)
    tree = EvaluateFalseTransformer().visit(ast.parse(code, mode="eval"))
    made = build(tree.body)
    if not isinstance(made, Basic):
        raise ValueError("no plain arithmetic")
    return made


def number(text: str) -> Any:
    """`sympy.Number(text)`, which also ends in `eval`, for the digits that math-verify found."""
    from sympy import Float, Integer

    text = text.replace(",", "")
    return Integer(int(text)) if text.isdecimal() else Float(text)


def build(node: ast.AST) -> Any:
    """One node of what sympy wrote; ValueError for anything but arithmetic."""
    from sympy import Add, Float, Integer, Mul, Pow

    made = {"Add": Add, "Mul": Mul, "Pow": Pow, "Integer": Integer, "Float": Float}
    if isinstance(node, ast.Constant) and isinstance(node.value, int | str):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = build(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in made:
        lazy = {"evaluate": False} if node.keywords else {}
        return made[node.func.id](*(build(argument) for argument in node.args), **lazy)
    raise ValueError("no plain arithmetic")


def is_small(expression: Any) -> bool:
    """Whether comparing it cannot run away in one step: few nodes, no huge powers."""
    from sympy import Basic, Integer, Pow, factorial, preorder_traversal

    if not isinstance(expression, Basic):
        return True
    for number, node in enumerate(preorder_traversal(expression)):
        if number >= MAX_NODES:
            return False
        if isinstance(node, Pow | factorial):
            for part in preorder_traversal(node.args[-1]):
                if isinstance(part, Integer) and abs(int(part)) > MAX_EXPONENT:
                    return False
                if isinstance(part, Pow) and isinstance(node, Pow) and not part.exp.is_Rational:
                    return False
                if (
                    isinstance(part, Pow)
                    and part.is_number
                    and part.exp.is_Integer
                    and part.exp > 4
                ):
                    return False
    return True


GEOQA = Protocol(
    grade=grade_geoqa,
    prepare=prepare,
    extractor="math-verify's parse of the whole output",
    equality="math-verify's verify",
    version="r1v-geoqa-official-1, math-verify 0.9",
)
COUNTING = Protocol(
    grade=grade_count,
    extractor="the first <answer> that holds nothing but digits",
    equality="the same integer",
    version="r1v-counting-official-1",
)
