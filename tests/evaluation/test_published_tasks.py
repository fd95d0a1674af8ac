"""MATH-V and R1-V's GeoQA and counting as tasks: rows, published prompts, both modes."""

import json
import os
from pathlib import Path

import pytest

from onevision_jax.errors import InputError
from onevision_jax.evaluation import TASKS, read_task
from onevision_jax.rewards import grade

PLACE = Path(os.environ.get("ONEVISION_DATA") or Path(__file__).parents[3] / "shared" / "data")
at_hand = pytest.mark.skipif(not (PLACE / "r1v").exists(), reason="the benchmarks are not at hand")


@at_hand
@pytest.mark.parametrize(("file", "n"), [("test.jsonl", 3040), ("testmini.jsonl", 304)])
def test_mathvision_rows(file, n):
    questions = read_task(TASKS["mathvision"], PLACE / "mathvision" / file)
    assert len(questions) == n
    assert len({question.dimensions["subject"] for question in questions}) == 16
    assert {question.dimensions["level"] for question in questions} == set("12345")
    if n == 304:
        assert all(question.image_bytes() for question in questions[:20])


@at_hand
def test_mathvision_prompts():
    task = TASKS["mathvision"]
    questions = {q.id: q for q in read_task(task, PLACE / "mathvision" / "test.jsonl")}
    assert task.prompt(questions["2"]) == (
        'Please solve the problem step by step and put your answer in one "\\boxed{}". If it is a '
        'multiple choice question, only one letter is allowed in the "\\boxed{}".\n'
        "Which bike is most expensive?\n<image1>\n"
    )
    shown = next(q for q in questions.values() if q.choices and q.choices[0] != "A")
    wanted = "".join(f"({a}) {b}\n" for a, b in zip("ABCDE", shown.choices, strict=True))
    assert task.prompt(shown).endswith(f"{shown.question}\n{wanted}")


@at_hand
@pytest.mark.parametrize(
    ("name", "file", "n", "end"),
    [
        ("geoqa", "geoqa_test_prompts.jsonl", 754, " Output the thinking process in <think> "),
        (
            "clevr",
            "superclevr_test200_counting_problems.jsonl",
            200,
            " First output the thinking process in <think> ",
        ),
    ],
)
def test_r1v_rows(name, file, n, end):
    questions = read_task(TASKS[name], PLACE / "r1v" / file)
    assert [question.id for question in questions] == [str(i) for i in range(n)]
    for question in questions:
        text = f"{end}</think> and final answer (number) in <answer> </answer> tags."
        assert TASKS[name].prompt(question) == f"{question.question}{text}"
        said = f"<answer>{question.answer.removesuffix('°')}</answer>"
        assert grade(said, question.answer, answer_kind=question.answer_kind).verdict == "correct"
    with pytest.raises(InputError, match="no file below"):
        questions[0].image_bytes()


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("mathvision", {"id": 1, "question": "q", "answer": "F", "options": ["1"]}, "'answer'"),
        ("mathvision", {"id": 1, "question": "q", "answer": "1", "options": "1"}, "'options'"),
        ("mathvision", {"id": 1, "question": "q", "answer": "1"}, "'subject'"),
        ("geoqa", {"question": "q", "ground_truth": "1"}, "'image_path'"),
        ("clevr", {"question": "q", "ground_truth": "x", "image_path": "a.png"}, "ground_truth"),
    ],
)
def test_bad_rows_are_named(tmp_path, name, row, message):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=f"rows.jsonl, line 1: .*{message}"):
        read_task(TASKS[name], file)
