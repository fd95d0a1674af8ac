"""MathVista in the layout of testmini.json. Rows are written here: the data is not at hand."""

import copy
import json

import pytest

from onevision_jax.cli.main import main
from onevision_jax.errors import InputError
from onevision_jax.evaluation import TASKS, read_task

TASK = TASKS["mathvista"]


def row(pid, question, answer, answer_type, choices=None, unit=None, precision=None, **metadata):
    known = {"split": "testmini", "img_width": 9, "img_height": 9, "language": "english"}
    return {
        "question": question,
        "image": f"images/{pid}.jpg",
        "choices": choices,
        "unit": unit,
        "precision": precision,
        "answer": answer,
        "question_type": "multi_choice" if choices else "free_form",
        "answer_type": answer_type,
        "pid": pid,
        "metadata": {**known, **metadata},
    }


ROWS = [
    row("1", "By what distance?", "1.2", "float", precision=1, grade="college", skills=["science"]),
    row("2", "what is the total volume?", "1000", "integer", unit="g", skills=["a", "b"]),
    row("5", "Find $m\\angle H$", "97", "text", ["97", "102", "107", "122"], skills=["a"]),
    row("8", "Is it greater?", "Yes", "text", ["Yes", "No"], task="vqa", skills=[]),
    row("10", "Which object comes next?", "E", "text", ["A", "B", "C", "D", "E"]),
    row("x", "Which label?", "A", "text", ["D", "A", "B"]),
    row("y", "List them.", "[1, 2]", "list"),
]


def write(path, rows=ROWS):
    path.write_text(json.dumps({row["pid"]: row for row in rows}))
    return path


def test_fields(tmp_path):
    questions = {one.id: one for one in read_task(TASK, write(tmp_path / "testmini.json"))}
    assert list(questions) == [row["pid"] for row in ROWS]
    assert questions["2"].dimensions == {
        "question_type": "free_form",
        "answer_type": "integer",
        "language": "english",
        "skills": ("a", "b"),
    }
    assert questions["1"].dimensions["grade"] == "college"
    assert [questions[name].answer_kind for name in "125y"] == [
        "number",
        "number",
        "choice",
        "number",
    ]
    assert questions["5"].answer == "97"
    assert questions["10"].answer == "E"
    # "A" is the text of option B, and labels another one: strict mode needs the label.
    assert (questions["x"].answer, questions["x"].facts["answer"]) == ("B", "A")
    assert questions["1"].facts["precision"] == 1


def test_the_published_prompts(tmp_path):
    """As evaluation/build_query.py joins them without examples."""
    questions = {one.id: one for one in read_task(TASK, write(tmp_path / "testmini.json"))}
    prompts = {name: TASK.prompt(question) for name, question in questions.items()}
    assert prompts["5"] == (
        "Question: Find $m\\angle H$\nChoices:\n(A) 97\n(B) 102\n(C) 107\n(D) 122\n"
        "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, "
        "at the end.\nSolution:"
    )
    assert prompts["2"].startswith("Question: what is the total volume? (Unit: g)\nHint: ")
    assert "an integer answer" in prompts["2"]
    assert "one decimal place and" in prompts["1"]
    assert "a Python list" in prompts["y"]
    hugging_face = {**ROWS[0], "query": "Hint: ...\nQuestion: By what distance?", "precision": 1.0}
    question = read_task(TASK, write(tmp_path / "b.json", [hugging_face]))[0]
    assert TASK.prompt(question) == "Hint: ...\nQuestion: By what distance?"
    assert question.facts["precision"] == 1


def test_other_layouts(tmp_path):
    expected = read_task(TASK, write(tmp_path / "a.json"))
    (tmp_path / "b.json").write_text(json.dumps(ROWS))
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert read_task(TASK, tmp_path / "b.json") == expected
    assert read_task(TASK, tmp_path / "c.jsonl") == expected


def test_hugging_face_parquet(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{**row, "decoded_image": {"bytes": b"\x89PNG", "path": None}} for row in ROWS]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    questions = read_task(TASK, tmp_path / "a.parquet")
    assert [one.answer for one in questions] == [
        one.answer for one in read_task(TASK, write(tmp_path / "a.json"))
    ]
    assert questions[0].image_bytes() == b"\x89PNG"


def regrade(tmp_path, mode, said):
    lines = [json.dumps({"id": name, "response": text}) + "\n" for name, text in said.items()]
    (tmp_path / "outputs.jsonl").write_text("".join(lines))
    words = ["eval", "regrade", "--task", "mathvista", "--data", str(tmp_path / "testmini.json")]
    more = ["--outputs", str(tmp_path / "outputs.jsonl"), "--out", str(tmp_path / mode)]
    assert main([*words, *more, "--mode", mode]) == 0
    items = (tmp_path / mode / "items.jsonl").read_text().splitlines()
    results = json.loads((tmp_path / mode / "results.json").read_text())
    return {item["id"]: item["verdict"] for item in map(json.loads, items)}, results


def test_regrading_in_both_modes(tmp_path):
    write(tmp_path / "testmini.json")
    said = {
        "1": "1.24",
        "2": "1000.0",
        "5": "I would guess 98",
        "8": "<think>\nIs it?</think><answer>A</answer>",
        "x": "(B)",
        "y": "It is\n[1, 2]",
    }
    verdicts, results = regrade(tmp_path, "official", said)
    assert verdicts == {
        "1": "correct",  # Rounded to one place.
        "2": "correct",
        "5": "correct",  # A free guess: the shortest choice, 97, is the nearest.
        "8": "correct",
        "10": "wrong",
        "x": "correct",
        "y": "unparsed",
    }
    assert results["grader"]["version"] == "mathvista-1"
    assert results["by"]["skills"]["a"] == {"n": 2, "correct": 2}
    strict, _ = regrade(tmp_path, "strict", said)
    assert strict["1"] == "wrong"
    assert [strict[name] for name in "28x"] == ["correct"] * 3


def test_bad_rows(tmp_path):
    table = [
        ({"answer": None}, "field 'answer'"),
        ({"answer": [1]}, "field 'answer'"),
        ({"answer": "98"}, "field 'answer' is '98', which is none of 'choices'"),
        ({"choices": "97"}, "field 'choices'"),
        ({"choices": [97]}, "field 'choices'"),
        ({"question_type": "open"}, "field 'question_type' is 'open', not one of multi_choice"),
        ({"answer_type": None}, "field 'answer_type'"),
        ({"precision": "1"}, "field 'precision' is '1'"),
        ({"metadata": []}, "field 'metadata'"),
        ({"metadata": {"skills": [1]}}, "field 'skills'"),
        ({"image": ["a"]}, "field 'image'"),
    ]
    for fields, said in table:
        bad = {**copy.deepcopy(ROWS[2]), **fields}
        with pytest.raises(InputError, match=f"testmini.json, entry '5': .*{said}"):
            read_task(TASK, write(tmp_path / "testmini.json", [bad]))
    hostile = {**ROWS[2], "image": "../../secret.png"}
    question = read_task(TASK, write(tmp_path / "testmini.json", [hostile]))[0]
    with pytest.raises(InputError, match="expected a relative path below the file's folder"):
        question.record()
