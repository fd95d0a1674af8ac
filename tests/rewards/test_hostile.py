"""Answers written to break a grader: sizes, nesting, code, patterns that backtrack."""

import random
import subprocess
import sys
import time
import tracemalloc

import pytest

from onevision_jax.rewards import AnswerKind, GraderPool, Item, grade

GOLDS: list[tuple[str, AnswerKind, tuple[str, ...]]] = [
    ("42", "number", ()),
    (r"2\sqrt{3}", "number", ()),
    (r"\frac{x+1}{2}", "expression", ()),
    ("red cube", "text", ()),
    ("B", "choice", ("1", "2", "3")),
]
NUMBER: AnswerKind = "number"
SECONDS = 2.0


def bombs(rng: random.Random) -> list[str]:
    n = rng.randint(50, 400)
    big = rng.choice([1, 40, 400, 4000])
    digit = rng.choice("123456789")
    return [
        "10**10**10",
        f"{digit}^{{{digit}^{{{digit}^{{99}}}}}}",
        f"9{'^9' * n}",
        f"({'9' * n})!",
        f"{n * 1000}!",
        "+".join(f"(x+{i})^{n}" for i in range(20)),
        "*".join(f"(x+y+z+{i})^9" for i in range(12)),
        "".join(f"(1+sqrt({p}))" for p in (2, 3, 5, 7, 11, 13, 17, 19, 23)),
        "{" * n * big,
        "{" * n + "5" + "}" * n,
        "(" * n + "5" + ")" * n,
        r"\frac{" * n + "1}{2}" * n,
        r"\sqrt{" * n + "2" + "}" * n,
        r"\boxed{" * n * 10 + "5",
        r"\boxed{5} " * n * 20,
        "<answer>" * n * 20,
        "<answer>5</answer>" * n * 5,
        "</think>" * n * 20,
        "<" * n * big,
        "a" * n * big + "!",
        " " * n * big + "x",
        "**" * n * big,
        "* a" * n * big,
        "1," * n * big,
        "1,000" * n,
        "the answer is " * n * 10,
        "answer: \n" * n * 10,
        "$" * n * big,
        "\\" * n * big,
        "-" * n + "5",
        "+-" * n + "5",
        "!" * n,
        "5" + "!" * n,
        "5" * n * big,
        f"0.{'3' * n * big}",
        f"1e{'9' * n}",
        "1e-999999999",
        ":".join("1" for _ in range(n)),
        "=".join("x" for _ in range(n)),
        "=".join("1" for _ in range(n)),
        " and ".join("1" for _ in range(n)),
        r"\pm" * n,
        "log" * n,
        "sin " * n + "x",
        "\u0661\u0662" * n,
        "一" * n + "亿" * n,
        "分之" * n,
        "\x00" * n,
        "\ud800"[:0] + "\U0001f600" * n,
        "𝟓" * n,
        "__import__('os').system('touch /tmp/owned')",
        "eval(compile('1','','eval'))",
        "{{7*7}} ${7*7} `id` $(id)",
        "lambda: (yield)",
        "import os; os.abort()",
        "'; DROP TABLE answers; --",
        "%s%s%s%n",
        r"\input{/etc/passwd}",
        r"\begin{pmatrix}" + "&".join("1" * n) + r"\end{pmatrix}",
        r"\begin{pmatrix}" * n,
        "[" * n + "1" + "]" * n,
        "|" * n,
        "a:" * n + "5",
        "x_" * n,
        "x'" * n,
        "(A)" * n,
        "A " * n,
        "A, " * n + "B",
    ]


def cases(count: int) -> list[tuple[str, str, AnswerKind, tuple[str, ...]]]:
    rng = random.Random(7)
    found = []
    while len(found) < count:
        for bomb in bombs(rng):
            gold, kind, choices = rng.choice(GOLDS)
            shape = rng.choice(["<answer>{}</answer>", "\\boxed{{{}}}", "The answer is {}", "{}"])
            found.append((shape.format(bomb), gold, kind, choices))
    return found[:count]


def test_a_thousand_hostile_answers_are_graded_quickly_and_none_is_correct():
    slowest = (0.0, "")
    for response, gold, kind, choices in cases(1000):
        start = time.perf_counter()
        graded = grade(response, gold, answer_kind=kind, choices=choices)
        slowest = max(slowest, (time.perf_counter() - start, response[:60]))
        assert graded.verdict in ("wrong", "unparsed", "truncated"), (response[:80], graded)
    print(f"slowest of 1,000 hostile answers: {slowest[0] * 1e3:.1f} ms, {slowest[1]!r}")
    assert slowest[0] < SECONDS


LARGE = 5_000_000


@pytest.mark.parametrize(
    "unit",
    ["x", " ", "{", "}", "<", "\\boxed{", "\\boxed{5}", "<answer>", "<think>", "5", "1+", "**",
     "answer is ", "$", "\\", "\n", "A ", "一", "<answer>5</answer>", "</think>", "\\frac{",
     "answer: \n"],
)  # fmt: skip
def test_five_megabytes(unit):
    """Linear in the response, whatever it repeats, alone and around a real answer."""
    noise = unit * (LARGE // len(unit))
    start = time.perf_counter()
    grade(noise, "42", answer_kind="number")
    grade(f"<answer>{noise}</answer>", "42", answer_kind="expression")
    grade(f"<answer>{noise}</answer>", "B", answer_kind="choice", choices=("1", "2"))
    first = time.perf_counter() - start
    assert first < 3 * SECONDS
    if "think" not in unit and "answer>" not in unit:
        graded = grade(f"{noise}\n<answer>42</answer>", "42", answer_kind="number")
        assert graded.verdict == "correct"


def test_memory_stays_flat():
    rows = cases(400)
    for response, gold, kind, choices in rows:
        grade(response, gold, answer_kind=kind, choices=choices)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for response, gold, kind, choices in rows:
            grade(response, gold, answer_kind=kind, choices=choices)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2_000_000
    assert peak - before < 100_000_000


def test_nothing_is_executed_or_opened(tmp_path):
    """An audit hook in a fresh interpreter sees every exec, compile, open, import and process."""
    program = """
import sys
from onevision_jax.rewards import grade
import random, unicodedata
grade("<answer>5 cm</answer>", "5", answer_kind="number")  # first use may import
forbidden = ("exec", "compile", "open", "import", "os.", "subprocess.", "socket.", "ctypes.")
def hook(event, args):
    if event.startswith(forbidden):
        print("EXECUTED", event, str(args)[:200])
sys.addaudithook(hook)
for text in [
    "__import__('os').system('id')", "eval('1+1')", "exec('x=1')", "open('/etc/passwd').read()",
    "10**10**10", "(lambda: 42)()", "print(42)", "{{7*7}}", "$(id)", "`id`", "import os",
]:
    for kind in ("number", "expression", "text"):
        for shape in ("<answer>{}</answer>", "\\\\boxed{{{}}}", "the answer is {}", "{}"):
            assert grade(shape.format(text), "42", answer_kind=kind).verdict != "correct", text
print("done")
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert ran.stdout == "done\n"


def test_recursion_stays_within_the_default_limit():
    """Deep in a caller's own stack the grader still answers."""

    def sink(depth: int) -> str:
        if depth:
            return sink(depth - 1)
        return grade("(" * 24 + "5" + ")" * 24, "5", answer_kind="number").verdict

    assert sink(400) in ("correct", "unparsed")


@pytest.mark.long
def test_rate_of_a_hundred_thousand_answers():
    rng = random.Random(3)
    items = []
    for _ in range(100_000):
        n = rng.randint(1, 999)
        numbers = [str(n), f"\\frac{{{n}}}{{7}}", f"{n}\\sqrt{{3}}"]
        rows = GOLDS + [(number, NUMBER, ()) for number in numbers]
        gold, kind, choices = rng.choice(rows)
        answer = rng.choice([gold, str(n), f"{n} cm", "(C)", "the blue ball", f"{n}/7"])
        items.append(
            Item(f"<think>Step. {n}</think><answer>{answer}</answer>", gold, kind, choices)
        )
    start = time.perf_counter()
    alone = [
        grade(i.response, i.gold, answer_kind=i.answer_kind, choices=i.choices).verdict
        for i in items
    ]
    one = time.perf_counter() - start
    with GraderPool(num_workers=2) as pool:
        pool.grade_many(items[:256])
        start = time.perf_counter()
        pooled = [graded.verdict for graded in pool.grade_many(items)]
        two = time.perf_counter() - start
    print(f"100,000 answers: {1e5 / one:,.0f}/s in process, {1e5 / two:,.0f}/s in two workers")
    assert pooled == alone
    assert alone.count("grader_failed") == 0
