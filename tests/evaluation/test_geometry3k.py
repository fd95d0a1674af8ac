"""The ten Geometry3K problems at hand: read, asked, and answered by label and by value."""

import json
import os
import shutil
from pathlib import Path

import pytest

from onevision_jax.errors import InputError
from onevision_jax.evaluation import TASKS, read_task
from onevision_jax.rewards import grade

PLACE = Path(os.environ.get("ONEVISION_DATA") or Path(__file__).parents[3] / "shared" / "data")
FOLDER = PLACE / "geometry3k" / "examples"
TASK = TASKS["geometry3k"]
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="Geometry3K is not at hand")


def test_fields():
    questions = read_task(TASK, FOLDER)
    assert [one.id for one in questions] == [str(number) for number in range(11, 21)]
    first = questions[0]
    assert (first.answer, first.choices) == ("D", ("30", "40", "60", "80"))
    assert first.formal_language == "logic_form"
    assert "Perpendicular(Line(Y, M), Line(M, A))" in first.formal_text.splitlines()
    assert first.dimensions == {"shape": ("Circle",), "goal": ("Angle",)}
    for question in questions:
        record = question.record()
        assert record.image is not None
        assert record.image.startswith(b"\x89PNG")
        assert record.formal_text
    assert TASK.prompt(first).splitlines()[-4:] == ["A. 30", "B. 40", "C. 60", "D. 80"]


def verdict(question, answer):
    response = f"<think>I look.</think><answer>{answer}</answer>"
    return grade(response, question.answer, answer_kind="choice", choices=question.choices).verdict


def test_labels_and_values_both_count():
    for question in read_task(TASK, FOLDER):
        for place, choice in enumerate(question.choices):
            expected = "correct" if "ABCD"[place] == question.answer else "wrong"
            assert verdict(question, "ABCD"[place]) == expected
            assert verdict(question, choice) == expected, choice
    roots = next(one for one in read_task(TASK, FOLDER) if one.id == "15")
    assert roots.choices[2] == "5 \\sqrt { 3 }"
    assert verdict(roots, "5√3") == "correct"
    assert verdict(roots, "8.66") == "wrong"


def test_bad_problems(tmp_path):
    shutil.copytree(FOLDER / "12", tmp_path / "12")
    problem = json.loads((tmp_path / "12" / "data.json").read_text())
    table = [
        ({"answer": "E"}, "field 'answer' is 'E', no letter of 4 choices"),
        ({"answer": 2}, "field 'answer' is '2'"),
        ({"choices": None}, "no letter of 0 choices"),
        ({"problem_text": None}, "field 'problem_text'"),
        ({"problem_type_goal": {"a": 1}}, "field 'goal'"),
    ]
    for fields, said in table:
        (tmp_path / "12" / "data.json").write_text(json.dumps({**problem, **fields}))
        with pytest.raises(InputError, match=rf"data\.json: .*{said}"):
            read_task(TASK, tmp_path)
    (tmp_path / "12" / "data.json").write_text("[]")
    with pytest.raises(InputError, match="holds no object"):
        read_task(TASK, tmp_path)
    (tmp_path / "12" / "data.json").write_text(json.dumps(problem))
    (tmp_path / "12" / "logic_form.json").write_text('{"diagram_logic_form": "x"}')
    with pytest.raises(InputError, match="field 'diagram_logic_form'"):
        read_task(TASK, tmp_path)
    (tmp_path / "12" / "logic_form.json").unlink()
    (tmp_path / "12" / "img_diagram.png").unlink()
    question = read_task(TASK, tmp_path)[0]
    assert (question.formal_text, question.formal_language) == ("", "")
    with pytest.raises(InputError, match="no file below"):
        question.record()
    with pytest.raises(InputError, match="no folder"):
        read_task(TASK, FOLDER / "12" / "data.json")
    with pytest.raises(InputError, match="no rows"):
        read_task(TASK, FOLDER / "12")
