"""R1-V's published protocols on its stored outputs."""

import json
import os
import threading
from pathlib import Path

import pytest

from onevision_jax.errors import InputError
from onevision_jax.rewards import GraderPool, Item
from onevision_jax.rewards.official import r1v

PLACE = Path(os.environ.get("ONEVISION_DATA") or Path(__file__).parents[3] / "shared" / "data")
FOLDER = PLACE / "r1v"
GEOQA = FOLDER / "geoqa_test_qwen2vl_7b_instruct_legacy.json"
COUNTING = FOLDER / "counting_results_superclevr_200_qwen2vl_2b_instruct_legacy.json"
at_hand = pytest.mark.skipif(not FOLDER.exists(), reason="R1-V's outputs are not at hand")


def graded(path, protocol):
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    items = [
        Item(row["model_output"], str(row["ground_truth"]), "number", protocol=protocol)
        for row in rows
    ]
    with GraderPool(timeout_seconds=60) as pool:
        return rows, pool.grade_many(items)


@at_hand
def test_geoqa():
    """231 of 754, item by item, in the pool's workers."""
    pytest.importorskip("math_verify")
    rows, grades = graded(GEOQA, "r1v-geoqa")
    correct = [grade.verdict == "correct" for grade in grades]
    print(f"GeoQA: {sum(correct)} of {len(rows)}")
    assert (sum(correct), len(rows)) == (231, 754)
    assert correct == [row["is_correct"] for row in rows]
    assert {grade.verdict for grade in grades} <= {"correct", "wrong", "unparsed"}


@at_hand
def test_counting():
    rows, grades = graded(COUNTING, "r1v-counting")
    correct = sum(grade.verdict == "correct" for grade in grades)
    assert 100 * correct / len(rows) == 48.0
    for row, grade in zip(rows, grades, strict=True):
        assert (grade.verdict == "unparsed") == (row["extracted_answer"] is None)


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("<answer> 7 </answer>", "correct"), ("<answer>7</answer><answer>8</answer>", "correct"),
        ("<answer>7 cubes</answer>", "unparsed"), ("7", "unparsed"),
        ("<answer>8</answer>", "wrong"),
        ("<answer>007</answer>", "correct"), (f"<answer>{'9' * 9999}</answer>", "wrong"),
    ],
)  # fmt: skip
def test_counts(response, verdict):
    assert r1v.grade_count(response, "7", choices=(), facts={}).verdict == verdict


@pytest.mark.parametrize(
    "text", ["180-50", "1/2", "-1/2", "2*3+4", "2**3", "(1+2)*3", "0.5*4", "-(3)", "6/3/2", "1-2-3"]
)
def test_arithmetic_is_what_sympy_reads(text):
    pytest.importorskip("math_verify")
    from sympy import srepr
    from sympy.parsing import parse_expr

    assert srepr(r1v.arithmetic(text)) == srepr(parse_expr(text, evaluate=False))


@pytest.mark.parametrize("text", ["(2)(3)", "x", "f(2)", "1 if 1 else 2", "[1]", "'a'", "1" * 300])
def test_nothing_but_arithmetic_is_built(text):
    pytest.importorskip("math_verify")
    with pytest.raises((ValueError, SyntaxError)):
        r1v.arithmetic(text)


def test_another_thread_is_told_so():
    pytest.importorskip("math_verify")
    caught = []

    def run():
        with pytest.raises(InputError, match="GraderPool") as error:
            r1v.grade_geoqa("5", "5", choices=(), facts={})
        caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert caught


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "math_verify", None)
    r1v.prepare.cache_clear()
    with pytest.raises(InputError, match=r"onevision-jax\[eval\]"):
        r1v.grade_geoqa("5", "5", choices=(), facts={})
