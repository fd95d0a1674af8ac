"""The guess that needs no image, on real records of every family, and models held against it."""

import dataclasses
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from onevision_jax.data.record import read_rows, write_jsonl
from onevision_jax.data.synthetic import FAMILIES, make_record
from onevision_jax.errors import InputError
from onevision_jax.evaluation import (
    TASKS,
    Question,
    families_above,
    majority_answers,
    majority_items,
    read_task,
    template,
    training_rows,
    wilson,
)

NUM_TRAINING, NUM_TEST = 100, 40  # of every family


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train.jsonl and test.jsonl of all families and difficulties; the images are gone."""
    folder = tmp_path_factory.mktemp("data")
    for name, seed, num in (("train", 1, NUM_TRAINING), ("test", 2, NUM_TEST)):
        records = [make_record(f, seed, i, 1 + i % 3) for f in FAMILIES for i in range(num)]
        write_jsonl(folder / f"{name}.jsonl", records)
    shutil.rmtree(folder / "images")
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    return list(training_rows(folder / "train.jsonl"))


@pytest.fixture(scope="module")
def questions(folder):
    return read_task(TASKS["generic"], folder / "test.jsonl")


def row(question, answer, family="f"):
    return {"question": question, "answer": answer, "provenance": {"family": family}}


def ask(questions, text, family="f", choices=()):
    """One question, made from a real one."""
    return dataclasses.replace(
        questions[0], id="q", question=text, choices=choices, dimensions={"family": family}
    )


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is K plus M?", "What is _ plus _?"),
        ("What is kiwi plus Aug?", "What is _ plus _?"),
        ("Count the numbers in column art over 59.", "Count the numbers in column _ over #."),
        ("In column H, what is row Ann minus row Bob?", "In column _, what is row _ minus row _?"),
        ("Find the voltage drop over R12 in volts.", "Find the voltage drop over _ in volts."),
        ("Start with x = 12. What is x at the end?", "Start with _ = #. What is _ at the end?"),
        ("k is 0 at the start. What comes out?", "_ is # at the start. What comes out?"),
        ("Find the area of circle O.", "Find the area of circle _."),
        ("How large is the area of triangle ABC?", "How large is the area of triangle _?"),
        ("Is the red circle left of the blue square?", "Is the _ circle left of the _ square?"),
        ("Is there a way out?", "Is there a way out?"),
    ],
)
def test_a_template_has_no_names_and_no_numbers(question, expected):
    assert template(question) == expected


def test_the_wordings_of_a_family_are_few_templates():
    """Seven wordings in flowcharts.py, three of each kind but branch (two) in circuits.py."""
    seen = {
        family: {template(make_record(family, 0, i, 1 + i % 3).question) for i in range(200)}
        for family in ("flowcharts", "circuits")
    }
    assert len(seen["flowcharts"]) == 7
    assert 11 <= len(seen["circuits"]) <= 17  # at difficulty 1 two resistors have no name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_question_of_a_family_is_answered_and_graded(family, rows, questions):
    asked = [q for q in questions if q.dimensions["family"] == family]
    items = majority_items(rows, asked)
    assert [item["id"] for item in items] == [q.id for q in asked]
    assert len(asked) == NUM_TEST
    assert {item["verdict"] for item in items} <= {"correct", "wrong"}
    answers = majority_answers(rows, asked)
    assert [item["extracted"] for item in items] == [answers[q.id] for q in asked]
    assert all(answers[q.id] in q.choices for q in asked if q.choices)
    own = {r["answer"] for r in rows if r["provenance"]["family"] == family}
    assert all(answers[q.id] in own for q in asked if not q.choices)


def test_the_order_of_the_rows_does_not_matter(rows, questions):
    shuffled = random.Random(0).sample(rows, len(rows))
    assert majority_answers(shuffled, questions) == majority_answers(iter(rows), questions)


def test_balanced_yes_no_questions_are_half_right():
    """scenes.py asks `more` and `where` so that yes and no are equally frequent."""
    made = [make_record("scenes", 3, i) for i in range(900)]
    half = [record for record in made if record.choices == ("yes", "no")]
    assert Counter(record.answer for record in half).keys() == {"yes", "no"}
    training, test = half[:-200], half[-200:]
    guesses = majority_answers(
        [row(record.question, record.answer) for record in training],
        [ask_record(record) for record in test],
    )
    correct = sum(guesses[record.id] == record.answer for record in test)
    low, high = wilson(correct, len(test))
    assert low < 0.5 < high


def ask_record(record):
    return Question(
        id=record.id,
        question=record.question,
        answer=record.answer,
        answer_kind=record.answer_kind,
        choices=record.choices,
        image=None,
        dimensions={"family": "f"},
        folder=Path(),
    )


@pytest.mark.parametrize(
    ("text", "family", "expected"),
    [
        ("What is K plus M?", "f", "1"),  # that text
        ("What is R plus S?", "f", "2"),  # its template
        ("How large is K?", "f", "3"),  # its family
        ("What is R plus S?", "g", "4"),  # of another family than the template's
        ("What is R plus S?", "h", "2"),  # all
    ],
)
def test_the_narrowest_rows_decide(text, family, expected, questions):
    training = [row("What is K plus M?", "1")]
    training += [row("What is K plus N?", "2")] * 4
    training += [row(f"How {what}?", "3") for what in ("wide", "high", "deep", "thick", "hot")]
    training += [row("How far?", "4", "g"), row("How wide?", "2", "g"), row("How old?", "4", "g")]
    training += [row("What now?", "2", "i")] * 2
    assert majority_answers(training, [ask(questions, text, family)]) == {"q": expected}


def test_equal_counts_give_the_smallest_answer(questions):
    training = [row("Which?", "b"), row("Which?", "a"), row("Which?", "c")]
    assert majority_answers(training, [ask(questions, "Which?")]) == {"q": "a"}


@pytest.mark.parametrize(
    ("choices", "expected"), [(("Kai", "Bob"), "Bob"), (("Zoe", "Kai"), "A"), (("Y",), "Y")]
)
def test_only_options_are_guessed(choices, expected, questions):
    """An option, or its letter; the smallest option where the rows know none."""
    training = [row("Which?", "Ann")] * 3 + [row("Which?", "Bob")] * 2
    training += [row("Why?", "A")] * (expected == "A")
    question = ask(questions, "Which?", choices=choices)
    assert majority_answers(training, [question]) == {"q": expected}


def test_the_family_answers_in_the_kind_that_is_asked(questions):
    training = [row("Is it?", "yes") | {"answer_kind": "choice"}] * 3
    training += [row("How wide?", "5") | {"answer_kind": "number"}]
    question = ask(questions, "How many?")
    for kind, expected in (("number", "5"), ("choice", "yes"), ("text", "yes")):
        asked = dataclasses.replace(question, answer_kind=kind)
        assert majority_answers(training, [asked]) == {"q": expected}


def test_rows_without_provenance_are_rows(questions):
    training = [{"question": "What?", "answer": "7"}]
    assert majority_answers(training, [ask(questions, "Why?")]) == {"q": "7"}


def test_training_rows_hold_the_text_alone(folder, rows):
    assert len(rows) == NUM_TRAINING * len(FAMILIES)
    assert {tuple(one) for one in rows} == {("question", "answer", "answer_kind", "provenance")}
    assert [one["question"] for one in rows] == [
        one["question"] for _, one in read_rows(folder / "train.jsonl")
    ]


def test_bad_training_rows_are_named(tmp_path, questions):
    path = tmp_path / "train.jsonl"
    with pytest.raises(InputError, match="is no file"):
        list(training_rows(path))
    path.write_text('{"question": "What?", "answer": "1"}\n{"question": "What?", "answer": 1}\n')
    with pytest.raises(InputError, match="line 2: field 'answer'"):
        list(training_rows(path))
    with pytest.raises(ValueError, match="0 training rows"):
        majority_answers([], questions)


def verdicts(questions, right):
    """Items that are correct where right(place) holds."""
    return [
        {"id": question.id, "verdict": "correct" if right(place) else "wrong"}
        for place, question in enumerate(questions)
    ]


def test_a_model_is_held_against_the_better_control(questions):
    charts = [q for q in questions if q.dimensions["family"] == "charts"]
    scenes = [q for q in questions if q.dimensions["family"] == "scenes"]
    both = scenes + charts
    half = len(scenes)
    model = verdicts(both, lambda place: place < half or place % 4 == 0)
    blind = verdicts(both, lambda place: place % 2 == 0 and place < half)
    majority = verdicts(both, lambda place: place % 4 == 0)
    found = families_above(both, model, {"blind": blind, "majority": majority[::-1]})
    assert [one.family for one in found] == ["charts", "scenes"]
    assert [(one.control, one.control_accuracy) for one in found] == [
        ("majority", 0.25),
        ("blind", 0.5),
    ]
    assert [one.accuracy for one in found] == [0.25, 1.0]
    assert [one.above for one in found] == [False, True]
    assert [one.change.difference for one in found] == [0.0, 0.5]
    assert [one.change.n for one in found] == [NUM_TEST, NUM_TEST]


def test_the_majority_is_not_above_itself(rows, questions):
    items = majority_items(rows, questions)
    found = families_above(questions, items, {"majority": items})
    assert {one.family for one in found} == set(FAMILIES)
    assert not any(one.above for one in found)


def test_items_must_be_those_of_the_questions(questions):
    items = verdicts(questions, lambda place: True)
    num = NUM_TEST * len(FAMILIES)
    with pytest.raises(ValueError, match=f"blind has {num - 1} items for {num} questions"):
        families_above(questions, items, {"blind": items[1:]})
    with pytest.raises(ValueError, match="the model has 0 items"):
        families_above(questions, [], {"blind": items})
    with pytest.raises(ValueError, match="0 controls"):
        families_above(questions, items, {})
