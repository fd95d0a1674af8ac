"""easy-VQA as its package installs it."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from onevision_jax.errors import InputError
from onevision_jax.evaluation import TASKS, read_task
from onevision_jax.rewards import grade

TASK = TASKS["easy-vqa"]
SPEC = find_spec("easy_vqa")


@pytest.fixture
def folder():
    if SPEC is None or SPEC.origin is None:
        pytest.skip("easy-vqa is not installed")
    return Path(SPEC.origin).parent / "data" / "test"


def test_the_installed_package(folder):
    rows = json.loads((folder / "questions.json").read_text())
    questions = read_task(TASK, folder)
    assert [[one.question, one.answer, int(one.cluster)] for one in questions] == rows
    assert {one.answer_kind for one in questions} == {"text"}
    answers = {one.answer for one in questions}
    assert answers <= set((folder.parent / "answers.txt").read_text().split())
    assert {one.dimensions["answer_type"] for one in questions} == {"yes/no", "shape", "colour"}
    image = questions[-1].record().image
    assert image is not None
    assert image.startswith(b"\x89PNG")
    assert read_task(TASK, folder / "questions.json") == questions
    for answer in sorted(answers):
        said = {other: grade(other, answer, answer_kind="text").verdict for other in answers}
        assert [other for other, verdict in said.items() if verdict == "correct"] == [answer]


def test_bad_rows(tmp_path):
    good = ["what is the red shape?", "triangle", 0]
    table = [
        ("x", "row 2: expected"),
        (["what?", "red"], "row 2: expected"),
        (["what?", 7, 0], "row 2: expected"),
        (["what?", "red", "../../x"], "row 2: expected"),
        (["what?", "red", True], "row 2: expected"),
        (["what?", " ", 0], "row 2: expected"),
    ]
    for row, said in table:
        (tmp_path / "questions.json").write_text(json.dumps([good, row]))
        with pytest.raises(InputError, match=rf"questions\.json, {said}"):
            read_task(TASK, tmp_path)
    (tmp_path / "questions.json").write_text("{}")
    with pytest.raises(InputError, match="must be a list"):
        read_task(TASK, tmp_path)
    (tmp_path / "questions.json").unlink()
    with pytest.raises(InputError, match=r"questions\.json is not there"):
        read_task(TASK, tmp_path)
