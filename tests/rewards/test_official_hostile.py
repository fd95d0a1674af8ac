"""Hostile answers through the published protocols: bounded time, nothing run, nothing crashed."""

import random
import subprocess
import sys
import time

import pytest

from onevision_jax.rewards import GraderPool, Item
from onevision_jax.rewards.official import PROTOCOLS

pytest.importorskip("math_verify")
SECONDS = 2.0
GOLDS = {
    "mathvision": ["42", r"\frac{4}{3}", "B", "(1,2)"],
    "r1v-geoqa": ["42°", r"2\sqrt{3}", "√{3}", "9πcm^{2}"],
    "r1v-counting": ["42"],
}
# Outside a formula math-verify reads 2 and 9 of these, as published: many a number meets them.
MISREAD = (r"2\sqrt{3}", "9πcm^{2}")
OPTIONS = ("10^{10^{10}}", "((((", "3", "4", "5")


def bombs(rng: random.Random) -> list[str]:
    n = rng.randint(50, 400)
    big = rng.choice([1, 40, 400])
    return [
        "10**10**10", "10^{10^{10}}", "$10^{10^{10}}$", "$9^{9^{9^{9}}}$", f"9{'^9' * n}",
        f"${n * 1000}!$", f"({'9' * n})!", "5" + "!" * n, "$5" + "!" * n + "$",
        "+".join(f"(x+{i})^{n}" for i in range(20)),
        "$(x+y+z)^9*(x+y+z)^9$",
        "$" + "".join(f"(1+\\sqrt{{{p}}})" for p in (2, 3, 5, 7, 11, 13, 17)) + "$",
        "{" * n * big, "{" * n + "5" + "}" * n, "(" * n + "5" + ")" * n,
        r"\frac{" * n + "1}{2}" * n,
        "$" + r"\sqrt{" * n + "2" + "}" * n + "$", r"\boxed{" * n * big, r"OXED{" * n * big,
        r"\boxed{5} " * n, "<answer>" * n * big, "<answer>" + " " * n * big,
        "<answer>" + "1" * n * big,
        "a" * n * big, " " * n * big + "x", "1," * n * big, f"({'1,' * n}1)", "the answer is " * n,
        "answer: \n" * n, "$" * n * big, "\\" * n * big, "-" * n + "5", "5" * n * big,
        f"0.{'3' * n * big}", f"1e{'9' * n}", "1e-999999999", "=".join("1" for _ in range(n)),
        "1" + "+1" * n * 10, "2" + "*2" * n * 10, "2 ** 3 " * n, "is " * n + "nan", "\u0661" * n,
        r"\binom{99999999}{4999999}", r"\log_{0}{0}", r"\sqrt[0]{5}", "1/0", r"\frac{1}{0}",
        "__import__('os').system('touch owned')", "$\\mathrm{eval}(1)$", "open('owned','w')",
        "(lambda: ord('*'))()", r"\operatorname{floor}(9^9^9^9)",
        r"\begin{pmatrix}1\end{pmatrix}" * n,
        "1" + ".1" * n, "$x=" * n, "[" * n + "1" + "]" * n, "%s%n" * n, "\x00" * n, "√" * n,
    ]  # fmt: skip


def cases(protocol: str, count: int) -> list[Item]:
    rng = random.Random(7)
    items = []
    while len(items) < count:
        for bomb in bombs(rng):
            shape = rng.choice(["<answer>{}</answer>", "\\boxed{{{}}}", "The answer is {}.", "{}"])
            gold = rng.choice(GOLDS[protocol])
            choices = OPTIONS if len(gold) == 1 else ()
            items.append(Item(shape.format(bomb), gold, "text", choices, protocol=protocol))
    return items[:count]


@pytest.mark.parametrize(
    "protocol", ["mathvision", "r1v-counting", pytest.param("r1v-geoqa", marks=pytest.mark.long)]
)
def test_a_thousand_hostile_answers_in_a_pool(protocol):
    items = cases(protocol, 1000)
    start = time.perf_counter()
    with GraderPool(timeout_seconds=60) as pool:
        grades = pool.grade_many(items)
    print(f"{protocol}: {len(grades)} hostile answers in {time.perf_counter() - start:.1f} s")
    assert len(grades) == 1000
    for item, grade in zip(items, grades, strict=True):
        assert item.gold in MISREAD or grade.verdict != "correct", (item.response[:80], grade)
        assert "deadline" not in grade.reason, item.response[:80]
        assert "Error" not in grade.reason, (item.response[:80], grade)
        assert len(grade.extracted or "") <= 200


# The clock may ring inside a callback of jax, which swallows it; it rings again.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("protocol", GOLDS)
def test_no_hostile_answer_takes_two_seconds(protocol):
    """Of the processor, so that a busy machine does not fail it."""
    slowest = (0.0, "")
    for item in cases(protocol, 65):
        start = time.process_time()
        PROTOCOLS[protocol].grade(item.response, item.gold, choices=item.choices, facts={})
        slowest = max(slowest, (time.process_time() - start, item.response[:60]))
    print(f"{protocol}: slowest {slowest[0]:.2f} s, {slowest[1]!r}")
    assert slowest[0] < SECONDS


@pytest.mark.parametrize("unit", ["x", "{", "OXED{", "oxed{}", "5", "1,", "is ", "<answer>", " C."])
@pytest.mark.parametrize("protocol", ["mathvision", "r1v-counting"])
def test_five_megabytes(protocol, unit):
    noise = unit * (5_000_000 // len(unit))
    start = time.process_time()
    for text in (noise, f"({noise})", f"<answer>{noise}</answer>"):
        PROTOCOLS[protocol].grade(text, "42", choices=(), facts={})
    assert time.process_time() - start < 3 * SECONDS


def test_nothing_is_executed(tmp_path):
    """An audit hook in a fresh interpreter sees every exec, open and process."""
    program = """
import sys
from onevision_jax.rewards.official import PROTOCOLS
texts = [
    "__import__('os').system('id')", "eval('1+1')", "10**10**10", "(lambda: 42)()", "180-50",
    "$\\\\frac{1}{2}$", "1+1", "2**3", "(1,2)", "x = 5", "print(42)", "30 + 12.5",
]
shapes = ("<answer>{}</answer>", "\\\\boxed{{{}}}", "the answer is {}", "{}")
def run():
    for name, protocol in PROTOCOLS.items():
        for text in texts:
            for shape in shapes:
                for kind in ("integer", "float", "list"):
                    facts = {"question_type": "free_form", "answer_type": kind, "precision": 1}
                    protocol.grade(shape.format(text), "43", choices=(), facts=facts)
run()  # first use imports
for module in list(sys.modules.values()):
    for value in list(vars(module).values()):
        if type(value).__module__ == "functools" and hasattr(value, "cache_clear"):
            if getattr(value, "__module__", "").startswith(("math_verify", "onevision_jax")):
                value.cache_clear() if value.__name__ != "prepare" else None
forbidden = ("exec", "open", "os.", "subprocess.", "socket.", "ctypes.")
def hook(event, args):
    if event == "exec" and getattr(args[0], "co_filename", "") != "<string>":
        return  # a module of sympy that is imported late
    if event == "open" and str(args[0]).endswith((".py", ".pyc", "<string>")):
        return  # "<string>": the tokenizer of Python 3.12 looks for the line of a syntax error
    if event.startswith(forbidden):
        print("EXECUTED", event, str(args)[:200])
sys.addaudithook(hook)
run()
print("done")
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert ran.stdout == "done\n"
