"""Every gold of MathVision is accepted, and golds of other questions with other values are not.

Which values differ is decided here by sympy, from a reading of the golds that shares no code with
the grader. The data is found through ONEVISION_DATA or beside the repository.
"""

import ast
import itertools
import json
import os
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from onevision_jax.rewards import grade

PLACE = Path(os.environ.get("ONEVISION_DATA") or Path(__file__).parents[3] / "shared" / "data")
FILE = PLACE / "mathvision" / "test.jsonl"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="MathVision is not at hand")
LETTERS = "ABCDE"


@cache
def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def free_golds() -> list[str]:
    return [row["answer"] for row in rows() if not row["options"]]


def judge(response: str, row: dict[str, Any]) -> str:
    kind = "choice" if row["options"] else "number"
    graded = grade(response, row["answer"], answer_kind=kind, choices=tuple(row["options"]))
    return graded.verdict


def tagged(answer: str) -> str:
    return f"<think>I look at the picture.</think><answer>{answer}</answer>"


def boxed(answer: str) -> str:
    return f"Therefore the result is $\\boxed{{{answer}}}$."


@pytest.mark.parametrize("shape", [tagged, boxed], ids=["tagged", "boxed"])
def test_every_gold_is_accepted(shape):
    refused = [
        (row["id"], row["answer"])
        for row in rows()
        if judge(shape(row["answer"]), row) != "correct"
    ]
    print(f"{shape.__name__}: {len(rows()) - len(refused)} of {len(rows())} golds accepted")
    assert len(rows()) == 3040
    assert not refused


def test_every_option_text_is_read_as_its_option():
    """7,660 option texts, less the few that are themselves the label of another option."""
    checked, wrong = 0, []
    for row in rows():
        for letter, option in zip(LETTERS, row["options"], strict=False):
            label = re.sub(r"\\text|[${}()]", "", option).strip()
            if label in LETTERS and label != letter:
                continue
            checked += 1
            expected = "correct" if letter == row["answer"] else "wrong"
            if judge(tagged(option), row) != expected:
                wrong.append((row["id"], letter, option))
    print(f"{checked - len(wrong)} of {checked} option texts read as their option")
    assert checked > 7500
    assert not wrong


LATEX = [
    ("\x0crac", r"\frac"), (r"\boxed", ""), ("$", ""), (r"\pi", "(pi)"), (r"\left", ""),
    (r"\right", ""), ("^{\\circ}", ""), ("squareinches", ""), ("inches", ""), ("degrees", ""),
    (":", "/"), (r"\tan ^{-1}", "atan"),
]  # fmt: skip


def as_python(latex: str) -> str:
    """A gold as arithmetic in Python's grammar; it is parsed below, never run."""
    for old, new in LATEX:
        latex = latex.replace(old, new)
    latex = re.sub(r"\\frac\{(.*?)\}(\d)", r"\\frac{\1}{\2}", latex)
    for _ in range(4):
        latex = re.sub(r"\\sqrt\{([^{}]*)\}", r"(sqrt(\1))", latex)
        latex = re.sub(r"\^\{([^{}]*)\}", r"**(\1)", latex)
        latex = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", latex)
    latex = latex.replace("{", "(").replace("}", ")").replace("()", "").replace("^", "**")
    return re.sub(r"(?<=[\d)])\s*(?=\()|(?<=\))\s*(?=\d)", "*", latex).strip()


def as_sympy(node: ast.AST) -> Any:
    import sympy

    if isinstance(node, ast.Constant):
        return sympy.Rational(str(node.value))
    if isinstance(node, ast.Name):
        return sympy.pi if node.id == "pi" else sympy.Symbol(node.id)
    if isinstance(node, ast.UnaryOp):
        return -as_sympy(node.operand)
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return getattr(sympy, node.func.id)(as_sympy(node.args[0]))
    if isinstance(node, ast.Tuple):
        return sympy.Tuple(*(as_sympy(part) for part in node.elts))
    assert isinstance(node, ast.BinOp), ast.dump(node)
    left, right = as_sympy(node.left), as_sympy(node.right)
    signs = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
    sign = signs[type(node.op)]
    return {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
        "**": lambda: left**right,
    }[sign]()


@cache
def value(gold: str) -> Any:
    return as_sympy(ast.parse(as_python(gold.strip(" ")), mode="eval").body)


def differ(left: str, right: str) -> bool:
    """Other text and, exactly or to 40 digits, another value."""
    import sympy

    if left.strip() == right.strip():
        return False
    a, b = value(left), value(right)
    if isinstance(a, sympy.Tuple) or isinstance(b, sympy.Tuple):
        return a != b
    if a.is_Rational and b.is_Rational:
        return a != b
    if a.free_symbols or b.free_symbols:
        return bool(sympy.simplify(a - b) != 0)
    return bool(abs(sympy.N(a - b, 40)) > sympy.Float("1e-35"))


def test_sympy_reads_every_free_gold():
    pytest.importorskip("sympy")
    for gold in free_golds():
        assert value(gold) is not None, gold


@pytest.mark.parametrize("seed", range(3))
def test_golds_of_other_questions_are_rejected(seed):
    pytest.importorskip("sympy")
    rng = random.Random(seed)
    free = free_golds()
    accepted = []
    for row in rows():
        if row["options"]:
            wrong = rng.choice([letter for letter in LETTERS if letter != row["answer"]])
        else:
            wrong = next(
                gold for gold in iter(lambda: rng.choice(free), None) if differ(gold, row["answer"])
            )
        for shape in (tagged, boxed):
            if judge(shape(wrong), row) == "correct":
                accepted.append((row["id"], row["answer"], wrong))
    print(
        f"seed {seed}: {2 * len(rows()) - len(accepted)} of {2 * len(rows())} wrong ones rejected"
    )
    assert not accepted


@pytest.mark.long
def test_every_pair_of_free_golds():
    """All distinct golds against all others: equal exactly where sympy says so."""
    pytest.importorskip("sympy")
    golds = sorted({gold.strip(" ") for gold in free_golds()})
    disputed = []
    for gold, answer in itertools.permutations(golds, 2):
        verdict = grade(tagged(answer), gold, answer_kind="number").verdict
        if (verdict == "correct") == differ(gold, answer):
            disputed.append((gold, answer, verdict))
    print(f"{len(golds)} golds, {len(golds) * (len(golds) - 1)} pairs, disputed: {disputed}")
    assert not disputed
