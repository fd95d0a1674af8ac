"""ChartQA: its test files' layout (rows written here), and nine real chart images with answers."""

import json
import os
from pathlib import Path

import pytest

from onevision_jax.cli.main import main
from onevision_jax.errors import InputError
from onevision_jax.evaluation import TASKS, read_task

PLACE = Path(os.environ.get("ONEVISION_DATA") or Path(__file__).parents[3] / "shared" / "data")
MANIFEST = PLACE / "charts" / "ood_charts" / "manifest.json"
TASK = TASKS["chartqa"]
HUMAN = [
    {"imgname": "8127.png", "query": "What's the value of the lowest bar?", "label": "23"},
    {"imgname": "8127.png", "query": "Is it more?", "label": "Yes"},
]
AUGMENTED = [{"imgname": "9.png", "query": "Which share?", "label": "48%"}]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "test_human.json").write_text(json.dumps(HUMAN))
    (tmp_path / "test_augmented.json").write_text(json.dumps(AUGMENTED))
    (tmp_path / "png").mkdir()
    (tmp_path / "png" / "8127.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_the_test_folder(folder):
    questions = read_task(TASK, folder)
    assert [one.id for one in questions] == ["human-0", "human-1", "augmented-0"]
    assert [one.dimensions["split"] for one in questions] == ["human", "human", "augmented"]
    assert [one.answer_kind for one in questions] == ["number", "text", "number"]
    assert questions[0].image_bytes() == b"\x89PNG"
    assert questions[0].cluster == questions[1].cluster == "png/8127.png"
    assert TASK.prompt(questions[1]) == "Is it more?\nAnswer the question with a single word."
    alone = read_task(TASK, folder / "test_human.json")
    assert [(one.id, one.dimensions["split"]) for one in alone] == [("0", "human"), ("1", "human")]


def test_hugging_face_rows(tmp_path):
    rows = [
        {"query": "How many?", "label": ["14"], "human_or_machine": 0, "image": None},
        {"question": "How many?", "answer": "14", "type": "augmented_test", "image": None},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = read_task(TASK, tmp_path / "a.jsonl")
    assert [one.answer for one in questions] == ["14", "14"]
    assert [one.dimensions["split"] for one in questions] == ["human", "augmented"]


def test_regrading_with_relaxed_accuracy(folder):
    said = {"human-0": "24", "human-1": "<answer>yes</answer>", "augmented-0": "0.49"}
    lines = [json.dumps({"id": name, "response": text}) + "\n" for name, text in said.items()]
    (folder / "outputs.jsonl").write_text("".join(lines))
    words = ["eval", "regrade", "--task", "chartqa", "--data", str(folder), "--mode", "official"]
    more = ["--outputs", str(folder / "outputs.jsonl"), "--out", str(folder / "out")]
    assert main([*words, *more]) == 0
    results = json.loads((folder / "out" / "results.json").read_text())
    assert results["correct"] == 3
    assert results["by"]["split"] == {
        "human": {"n": 2, "correct": 2},
        "augmented": {"n": 1, "correct": 1},
    }
    assert "pix2struct" in results["grader"]["equality"]


@pytest.mark.skipif(not MANIFEST.exists(), reason="the chart images are not at hand")
def test_the_charts_at_hand():
    questions = read_task(TASK, MANIFEST)
    rows = json.loads(MANIFEST.read_text())
    assert [one.id for one in questions] == [row["id"] for row in rows]
    assert [one.answer for one in questions] == [row["expected"] for row in rows]
    assert {one.dimensions["skill"] for one in questions} == {row["skill"] for row in rows}
    for question in questions:
        image = question.record().image
        assert image is not None
        assert image.startswith(b"\x89PNG")


def test_bad_rows(folder):
    table = [
        ({"query": None}, "field 'query'"),
        ({"label": None}, "field 'label'"),
        ({"label": {}}, "field 'label'"),
        ({"label": ["1", "2"]}, "field 'label' holds 2 answers"),
        ({"label": [3, "x"]}, "field 'label'"),
        ({"imgname": 5}, "field 'image'"),
    ]
    for fields, said in table:
        (folder / "test_human.json").write_text(json.dumps([{**HUMAN[0], **fields}]))
        with pytest.raises(InputError, match=rf"test_human\.json, row 1: {said}"):
            read_task(TASK, folder)
    (folder / "test_human.json").write_text(json.dumps([{**HUMAN[0], "imgname": "../x.png"}]))
    with pytest.raises(InputError, match="field 'image'"):
        read_task(TASK, folder)[0].record()
    (folder / "test_augmented.json").unlink()
    with pytest.raises(InputError, match=r"test_augmented\.json is not there"):
        read_task(TASK, folder)
