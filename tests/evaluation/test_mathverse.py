"""MathVerse in the layout of its JSON files. The rows are written here: the data is not at hand."""

import json

import pytest

from onevision_jax.errors import InputError
from onevision_jax.evaluation import TASKS, protocol_of, read_task

TASK = TASKS["mathverse"]
VERSIONS = ["Text Dominant", "Text Lite", "Vision Intensive", "Vision Dominant", "Vision Only"]
WORDING = "Angle CED is ()\nChoices:\nA:40°\nB:60°\nC:120°\nD:140°"


def row(index, version, **fields):
    question = "" if version == "Vision Only" else WORDING
    folder = "images_version_6" if version == "Vision Only" else "images_version_1-4"
    return {
        "sample_index": str(index),
        "problem_index": "1",
        "problem_version": version,
        "question": question,
        "image": "" if version == "Text Only" else f"{folder}/image_1.png",
        "answer": "D",
        "question_type": "multi-choice",
        "metadata": {
            "split": "testmini",
            "source": "GeoQA",
            "subject": "Plane Geometry",
            "subfield": "Angle",
        },
        "query_wo": f"Please directly answer.\nQuestion: {question}",
        "query_cot": f"Please first conduct reasoning.\nQuestion: {question}",
        **({} if version == "Text Only" else {"question_for_eval": WORDING}),
        **fields,
    }


FREE = row(
    6,
    "Text Lite",
    answer="14",
    question_type="free-form",
    question="Find L.",
    question_for_eval="Find L.",
    problem_index="2",
)


@pytest.fixture
def folder(tmp_path):
    rows = [row(i, version) for i, version in enumerate(VERSIONS, 1)]
    (tmp_path / "testmini.json").write_text(json.dumps([*rows, FREE]))
    (tmp_path / "testmini_text_only.json").write_text(json.dumps([row(1, "Text Only")]))
    (tmp_path / "images" / "images_version_6").mkdir(parents=True)
    (tmp_path / "images" / "images_version_6" / "image_1.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_both_files(folder):
    questions = read_task(TASK, folder)
    assert [one.id for one in questions] == ["1", "2", "3", "4", "5", "6", "text-only-1"]
    assert [one.dimensions["problem_version"] for one in questions[:5]] == VERSIONS
    only, free, text = questions[4:]
    # Vision Only asks in its image; grading knows the wording.
    assert only.question == WORDING
    assert only.choices == ("40°", "60°", "120°", "140°")
    assert TASK.prompt(only) == "Please first conduct reasoning.\nQuestion: "
    assert only.image_bytes() == b"\x89PNG"
    assert only.facts["query_wo"] == "Please directly answer.\nQuestion: "
    assert (free.answer_kind, free.choices, free.cluster) == ("number", (), "2")
    assert text.image_bytes() is None
    assert text.cluster == only.cluster == "1"
    assert text.dimensions == {
        "problem_version": "Text Only",
        "subject": "Plane Geometry",
        "subfield": "Angle",
        "question_type": "multi-choice",
    }


def test_one_file_keeps_its_indices(folder):
    assert [one.id for one in read_task(TASK, folder / "testmini_text_only.json")] == ["1"]
    assert len(read_task(TASK, folder / "testmini.json")) == 6


def test_text_only_stands_apart(folder):
    questions = read_task(TASK, folder)
    verdicts = ["correct", "wrong", "unparsed", "correct", "wrong", "correct", "correct"]
    found = TASK.tables(questions, [{"verdict": verdict} for verdict in verdicts])["mathverse"]
    assert (found["five_versions"]["n"], found["five_versions"]["correct"]) == (6, 3)
    assert found["five_versions"]["accuracy"] == 0.5
    assert (found["text_only"]["n"], found["text_only"]["correct"]) == (1, 1)
    alone = TASK.tables(questions[:6], [{"verdict": "wrong"}] * 6)["mathverse"]
    assert list(alone) == ["five_versions"]


def test_every_published_score_is_a_judges():
    with pytest.raises(InputError, match="without a judge model"):
        protocol_of(TASK, "official")


def test_bad_rows(folder):
    table = [
        ({"sample_index": None}, "field 'sample_index'"),
        ({"problem_index": ["1"]}, "field 'problem_index'"),
        ({"answer": ["D"]}, "field 'answer'"),
        ({"query_cot": None}, "field 'query_cot'"),
        ({"problem_version": ""}, "field 'problem_version'"),
        ({"metadata": "x"}, "field 'metadata'"),
    ]
    for fields, said in table:
        (folder / "testmini.json").write_text(json.dumps([row(1, "Text Lite", **fields)]))
        with pytest.raises(InputError, match=rf"testmini\.json, row 1: {said}"):
            read_task(TASK, folder)
    hostile = row(1, "Text Lite", image="../../x.png")
    (folder / "testmini.json").write_text(json.dumps([hostile]))
    with pytest.raises(InputError, match="field 'image'"):
        read_task(TASK, folder)[0].record()
    with pytest.raises(InputError, match=r"holds no testmini\.json"):
        read_task(TASK, folder / "images")
