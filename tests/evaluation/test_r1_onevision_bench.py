"""R1-Onevision-Bench in its published columns. Rows are written here: the data is not at hand."""

import base64
import csv
import dataclasses
import io
import json

import pytest
from PIL import Image

from onevision_jax.errors import InputError
from onevision_jax.evaluation import TASKS, protocol_of, read_task
from onevision_jax.evaluation.tasks.r1_onevision_bench import INSTRUCTION

TASK = TASKS["r1-onevision-bench"]
COLUMNS = ("index", "question", "choices", "answer", "level", "category", "image")


def picture(seed):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (seed, 0, 0)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


HINTED = (
    "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, "
    "at the end.\nQuestion: Find x.\nChoices:\n(A) 2\n(B) 3"
)
ROWS = [
    (0, HINTED, "A. 2\nB. 3", "B", "Junior High School", "Math", picture(1)),
    (1, "Which gas is it?", "['CO_2', 'H_2O', 'O_2']", "A", "High School", "Chemistry", picture(2)),
    (2, "What is its mass?", "", "12 kg", "College", "Physics", picture(3)),
    (3, HINTED, "", "A", "Social Test", "Deduction", "2"),
]


def write_tsv(path, rows=ROWS):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([COLUMNS, *rows])
    return path


def write_jsonl(path, rows=ROWS):
    lines = (json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows)
    path.write_text("".join(lines))
    return path


def write_parquet(path, rows=ROWS):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_pylist([dict(zip(COLUMNS, row, strict=True)) for row in rows])
    parquet.write_table(table, path)
    return path


@pytest.mark.parametrize(("write", "ending"), [(write_jsonl, "jsonl"), (write_parquet, "parquet")])
def test_every_layout_holds_the_same_questions(tmp_path, write, ending):
    questions = read_task(TASK, write_tsv(tmp_path / "a.tsv"))
    assert [question.id for question in questions] == ["0", "1", "2", "3"]
    assert read_task(TASK, write(tmp_path / f"a.{ending}")) == questions


def test_fields(tmp_path):
    hinted, gas, mass, social = read_task(TASK, write_tsv(tmp_path / "a.tsv"))
    assert (hinted.answer, hinted.answer_kind, hinted.choices) == ("B", "choice", ("2", "3"))
    assert gas.choices == ("CO_2", "H_2O", "O_2")
    assert (mass.answer_kind, mass.choices) == ("number", ())
    assert social.choices == ("2", "3")  # From the question.
    assert hinted.dimensions == {
        "tier": "Junior High School",
        "subject": "Math",
        "question_type": "multiple-choice",
    }
    assert mass.dimensions["question_type"] == "free-form"
    # VLMEvalKit's TSV: a short image names the row that holds it.
    assert social.image_bytes() == mass.image_bytes()
    assert social.cluster == mass.cluster != hinted.cluster


def test_the_published_prompt(tmp_path):
    hinted, gas, mass, _ = read_task(TASK, write_tsv(tmp_path / "a.tsv"))
    assert TASK.prompt(hinted) == f"{HINTED}\n{INSTRUCTION}"  # The choices are there already.
    assert TASK.prompt(gas) == (
        f"Which gas is it?\nChoices:\nA. CO_2\nB. H_2O\nC. O_2\n{INSTRUCTION}"
    )
    assert TASK.prompt(mass) == f"What is its mass?\n{INSTRUCTION}"
    unread = dataclasses.replace(gas, choices=(), facts={"choices": "one of the gases"})
    assert TASK.prompt(unread).splitlines()[1:3] == ["Choices:", "one of the gases"]


def test_there_is_no_protocol_without_a_judge():
    with pytest.raises(InputError, match="r1-onevision-bench has no published protocol"):
        protocol_of(TASK, "official")


def test_a_label_beyond_the_choices_read_is_graded_by_labels(tmp_path):
    row = (0, "x?", "A. 1\nB. 2\nD. 4", "D", "College", "Math", "")
    question = read_task(TASK, write_tsv(tmp_path / "a.tsv", [row]))[0]
    assert (question.answer_kind, question.choices) == ("choice", ())
    assert question.image_bytes() is None


def test_bad_rows(tmp_path):
    def row(**fields):
        good = dict(zip(COLUMNS, ROWS[2], strict=True))
        return [tuple((good | fields).values())]

    table = [
        ({"index": None}, "line 1: field 'index'"),
        ({"question": ""}, "line 1: field 'question'"),
        ({"answer": ["B"]}, "line 1: field 'answer'"),
        ({"answer": None}, "line 1: field 'answer'"),
        ({"choices": {"A": 1}}, "line 1: field 'choices'"),
        ({"level": {"a": 1}}, "line 1: field 'tier'"),
        ({"image": 7}, "line 1: field 'image'"),
    ]
    for fields, said in table:
        with pytest.raises(InputError, match=said):
            read_task(TASK, write_jsonl(tmp_path / "a.jsonl", row(**fields)))
    for image, said in (("%%%not base64%%%" * 9, "no base64"), ("data:image/png;base64,", "no by")):
        questions = read_task(TASK, write_jsonl(tmp_path / "a.jsonl", row(image=image)))
        with pytest.raises(InputError, match=said):  # Costs one question, not the file.
            questions[0].record()
    with pytest.raises(InputError, match="repeats '0'"):
        read_task(TASK, write_tsv(tmp_path / "a.tsv", [ROWS[0], ROWS[0]]))
    truncated = write_tsv(tmp_path / "a.tsv")
    truncated.write_text(truncated.read_text().replace("answer", "reply"))
    with pytest.raises(InputError, match=r"a\.tsv, row 1: field 'answer'"):
        read_task(TASK, truncated)
