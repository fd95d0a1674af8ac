"""The contract of `grade`: bad golds, bad arguments, and what can be said about nothing."""

import pytest

from onevision_jax.errors import InputError
from onevision_jax.rewards import VERSION, Grade, grade
from onevision_jax.rewards import grade as grade_module


def test_version_names_the_grader():
    assert VERSION.startswith("strict-")


@pytest.mark.parametrize("gold", ["", "  ", "x" * 2000])
def test_unusable_gold_is_no_verdict_on_the_response(gold):
    assert grade("<answer>5</answer>", gold, answer_kind="number").verdict == "grader_failed"


def test_gold_that_is_no_option():
    graded = grade("<answer>A</answer>", "horse", answer_kind="choice", choices=("cat", "dog"))
    assert graded.verdict == "grader_failed"
    assert "horse" in graded.reason


def test_unknown_kind():
    with pytest.raises(InputError, match="answer_kind 'maths' is unknown: use one of number"):
        grade("5", "5", answer_kind="maths")  # pyright: ignore[reportArgumentType]


def test_too_many_choices():
    with pytest.raises(InputError, match="27 choices"):
        grade("A", "A", answer_kind="choice", choices=[str(n) for n in range(27)])


def test_choice_without_options_goes_by_letter():
    assert grade("<answer>(d)</answer>", "D", answer_kind="choice").verdict == "correct"
    assert grade("<answer>C</answer>", "D", answer_kind="choice").verdict == "wrong"


def test_a_letter_on_a_line_of_its_own():
    choices = ("cat", "dog", "cow")
    for text, verdict in [
        ("B\n\nBecause it barks.", "correct"),
        ("(B)\nIt barks.", "correct"),
        ("**B**\nIt barks.", "correct"),
        ("C\nIt moos.", "wrong"),
        ("B\nor C", "wrong"),
        ("B\ncat", "wrong"),
    ]:
        graded = grade(f"<answer>{text}</answer>", "B", answer_kind="choice", choices=choices)
        assert graded.verdict == verdict, (text, graded)


def test_options_that_are_variables():
    choices = ("$a$", "$b$", "$c$", "$A$")
    assert grade("<answer>$b$</answer>", "B", answer_kind="choice", choices=choices) == Grade(
        "correct", "$b$", "the option's text (answer)"
    )
    assert (
        grade("<answer>A</answer>", "A", answer_kind="choice", choices=choices).verdict == "correct"
    )


def test_equal_options_cannot_be_told_apart_by_value():
    choices = ("0.5", "1/2", "2")
    assert (
        grade("<answer>50%</answer>", "A", answer_kind="choice", choices=choices).verdict == "wrong"
    )
    assert (
        grade("<answer>1/2</answer>", "B", answer_kind="choice", choices=choices).verdict
        == "correct"
    )


def test_an_empty_answer_is_never_part_of_the_gold():
    """The substring reward of Visual-RFT issue 176."""
    for response in (
        "<answer></answer>",
        "<answer> </answer>",
        "",
        r"\boxed{}",
        "<answer>$ $</answer>",
    ):
        for kind in ("number", "text", "expression", "choice"):
            assert grade(response, "A", answer_kind=kind).verdict in ("unparsed", "wrong")


def test_a_broken_grader_says_so(monkeypatch):
    """Any internal error becomes grader_failed with its cause, not a zero."""
    module = __import__("sys").modules[grade_module.__module__]

    def broken(*_):
        raise RuntimeError("out of order")

    monkeypatch.setattr(module, "judge_value", broken)
    graded = grade("<answer>5</answer>", "5", answer_kind="number")
    assert graded == Grade("grader_failed", None, "RuntimeError: out of order")


def test_same_call_same_verdict_from_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    def one(n: int) -> str:
        gold = f"\\frac{{{n % 50 + 1}}}{{7}}"
        return grade(f"<answer>{n % 50 + 1}/7</answer>", gold, answer_kind="number").verdict

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(one, range(2000))) == {"correct"}
