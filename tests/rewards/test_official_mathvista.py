"""MathVista's rules, against the semantics of its scripts and published predictions."""

import time

import pytest

from onevision_jax.rewards import GraderPool, Item
from onevision_jax.rewards.official import PROTOCOLS
from onevision_jax.rewards.official.mathvista import (
    extract,
    grade,
    levenshtein,
    normalise,
    quick_extract,
)


def facts(question_type="free_form", answer_type="integer", precision=None):
    return {"question_type": question_type, "answer_type": answer_type, "precision": precision}


CHOICE = facts("multi_choice", "text")
INTEGER, LIST = facts(), facts(answer_type="list")
FLOAT1, FLOAT2 = facts(answer_type="float", precision=1), facts(answer_type="float", precision=2)
DEGREES = ("135°", "140°", "145°", "150°")

# extraction -> prediction, from results/gpt4/output_gpt4_2shot_code.json of lupantech/MathVista
PUBLISHED = [
    ("0.094", (), FLOAT1, "0.1"),
    ("250", (), INTEGER, "250"),
    ("140", DEGREES, CHOICE, "140°"),
    ("15", (), INTEGER, "15"),
    ("107", ("97", "102", "107", "122"), CHOICE, "107"),
]


@pytest.mark.parametrize(("extraction", "choices", "about", "prediction"), PUBLISHED)
def test_published_predictions(extraction, choices, about, prediction):
    assert normalise(extraction, choices, about) == prediction


@pytest.mark.parametrize(
    ("extraction", "choices", "about", "prediction"),
    [
        ("(B) 140°", DEGREES, CHOICE, "140°"),
        ("(b)", DEGREES, CHOICE, "140°"),
        ("The first is (C), not (A)", DEGREES, CHOICE, "145°"),
        (" D ", DEGREES, CHOICE, "150°"),
        ("b", ("yes", "no"), CHOICE, "no"),  # No label: the nearest, "no", by two edits to three.
        ("I do not know", ("Yes", "No"), CHOICE, "No"),  # A free guess.
        ("", ("Tadpole", "Cat"), CHOICE, "Cat"),
        ("(Z)", DEGREES, CHOICE, "135°"),  # Nothing is near: the first.
        ("5.0", (), INTEGER, "5"),  # int(x), the rule of 2023, gave None.
        ("-3.9", (), INTEGER, "-3"),
        ("5 apples", (), INTEGER, None),
        ("1e400", (), INTEGER, None),
        ("nan", (), INTEGER, None),
        ("1.25", (), FLOAT1, "1.2"),  # Python rounds the binary number.
        ("1.2", (), FLOAT2, "1.2"),
        ("2.345", (), FLOAT2, "2.35"),
        ("two", (), FLOAT1, None),
        ("[1, 2]", (), LIST, "[1, 2]"),
        ("[1,2]", (), LIST, "[1,2]"),
    ],
)
def test_normalisation(extraction, choices, about, prediction):
    assert normalise(extraction, choices, about) == prediction


@pytest.mark.parametrize(
    ("response", "choices", "about", "extraction"),
    [
        ("", DEGREES, CHOICE, ""),
        ("145°", DEGREES, CHOICE, "145°"),
        ("14", (), INTEGER, "14"),
        (" 14 ", (), INTEGER, "14"),
        ("1.50", (), FLOAT1, "1.5"),
        ('I see. The answer is "145°".', DEGREES, CHOICE, "145°"),
        ('The answer is "a". But no: the answer is "b".', DEGREES, CHOICE, 'a". But no: the answ'),
        ('The answer is "7"', (), INTEGER, 'The answer is "7"'),  # No full stop: a line as it is.
        ("<think>\n145 is C</think>\n<answer> C </answer>", DEGREES, CHOICE, "C"),
        ("First I measure the angle.\nThen it is C.", DEGREES, CHOICE, None),
        ("x" * 121, DEGREES, CHOICE, None),
    ],
)
def test_extraction(response, choices, about, extraction):
    found = extract(response, choices, about)
    if extraction is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(extraction)
        assert "answ" in extraction or found == extraction


def test_grades():
    assert grade("C", "145°", choices=DEGREES, facts=CHOICE).verdict == "correct"
    assert grade("A", "145°", choices=DEGREES, facts=CHOICE).verdict == "wrong"
    assert grade("7", "7", facts=INTEGER).verdict == "correct"
    assert grade("seven", "7", facts=INTEGER).verdict == "unparsed"
    long = grade("I count\nseven of them", "7", facts=INTEGER)
    assert long.verdict == "unparsed"
    assert "an LLM is asked" in long.reason
    # The options' texts are letters in another order: the gold is the label of its option.
    swapped = {**CHOICE, "answer": "A"}
    assert grade("B", "B", choices=("B", "A"), facts=swapped).verdict == "correct"
    assert grade("A", "B", choices=("B", "A"), facts=swapped).verdict == "wrong"


def test_levenshtein_from_its_definition():
    table = [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)]
    for left, right, distance in table:
        assert levenshtein(left, right) == levenshtein(right, left) == distance


def test_hostile_responses_take_no_time():
    begun = time.process_time()
    assert quick_extract('The answer is "' * 300_000) is None
    for text in ('The answer is "' * 300_000, "(" * 5_000_000, "9" * 5_000_000, "\n" * 5_000_000):
        for about in (CHOICE, INTEGER, FLOAT1):
            assert grade(text, "x", choices=DEGREES, facts=about).verdict != "correct"
    spent = time.process_time() - begun
    print(f"{spent:.1f} s for 12 responses")
    assert spent < 5


def test_in_a_grading_process():
    item = Item("C", "145°", "choice", DEGREES, protocol="mathvista", facts=CHOICE)
    broken = Item("seven\nof", "7", "number", protocol="mathvista", facts={})
    with GraderPool(1) as pool:
        grades = pool.grade_many([item, broken])
    assert [one.verdict for one in grades] == ["correct", "grader_failed"]
    assert "this one does not" in PROTOCOLS["mathvista"].extractor
