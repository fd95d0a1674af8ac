"""Options out of the many ways in which benchmark files write them."""

import pytest

from onevision_jax.evaluation.options import (
    free_kind,
    holds_options,
    is_label,
    options_in_question,
    parse_options,
)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("A. x\nB. y", ("x", "y")),
        ("(A) 1 (B) 2 (C) 3", ("1", "2", "3")),
        ("A、红\nB、蓝", ("红", "蓝")),
        ("A:40°\nB:60°", ("40°", "60°")),
        ('["a", "b"]', ("a", "b")),
        ("['a', 'b', 3.5]", ("a", "b", "3.5")),
        (r"['$\pi$', '$2\pi$']", (r"$\pi$", r"$2\pi$")),
        ('["A. a", "B. b"]', ("a", "b")),
        ('{"A": "x", "B": "y"}', ("x", "y")),
        ("red\nblue", ("red", "blue")),
        (
            "A. Vitamin A. is\nB. Vitamin B. too\nC. none",
            ("Vitamin A. is", "Vitamin B. too", "none"),
        ),
        # From We-Math's testmini.json.
        ("A. A;B. B;C. C; D. No correct answer", ("A", "B", "C", "No correct answer")),
        ("A. F;    B. D;    C. B;    D. I", ("F", "D", "B", "I")),
        ("A. 300, 400;B. 400, 300; C. 3, 4.", ("300, 400", "400, 300", "3, 4.")),
        ("", ()),
        ("one line", ()),
        ("[1, 2)", ()),
        ("[[1], [2]]", ()),
        ("__import__('os').system('x')", ()),
        ("[__import__('os')]", ()),
        ("[" * 40_000, ()),
        ("A. x\n" * 20_000, ()),
    ],
)
def test_options(text, options):
    assert parse_options(text) == options


def test_options_inside_a_question():
    # From MathVerse's testmini_text_only.json.
    assert options_in_question("The size is ()\nChoices:\nA:40°\nB:60°") == ("40°", "60°")
    assert options_in_question("Which of these choices: no list") == ()
    assert options_in_question("Find x.") == ()


def test_whether_a_question_shows_its_choices():
    assert holds_options("Hint: ...\nQuestion: x?\nChoices:\n(A) 2\n(B) 3", ("2", "3"))
    assert holds_options("x?\nA. 2\nB. 3", ("2", "3"))
    assert not holds_options("If x = 2 and y = 3, what is x?", ("2", "3"))
    assert not holds_options("x?", ())


def test_labels_and_kinds():
    assert is_label("C")
    assert is_label("B", ("x", "y"))
    assert not is_label("C", ("x", "y"))
    assert not is_label("c")
    assert not is_label("AB")
    words, numbers = (
        ["Yes", "H_2O", "NaCl", "AB", "Na^+", "SO_4^{2-}"],
        ["14", "60°", r"\frac{1}{2}", "y=x^2"],
    )
    assert [free_kind(gold) for gold in words] == ["text"] * len(words)
    assert [free_kind(gold) for gold in numbers] == ["number"] * len(numbers)
    assert free_kind("A1" * 50_000 + "!") == "number"  # In linear time.
