"""ChartQA: questions on charts by people and by a model, scored with relaxed accuracy.

Layout: `test_human.json` and `test_augmented.json` of vis-nlp/ChartQA, lists of {imgname, query,
label} with images below `png/`. PATH is one of them, or the folder that holds both (2,500 rows;
their ids then begin with "human-" and "augmented-"). JSONL and Parquet rows work as well, and other
charts in these fields:

    query    or  question                     label    or  answer, expected
    imgname  or  image                        id       or  the row's place, from 0
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.evaluation.files import Row, dimensions_of, image_of, read_questions
from onevision_jax.evaluation.options import free_kind
from onevision_jax.evaluation.questions import Question, text_field
from onevision_jax.evaluation.task import Task

SPLITS = ("human", "augmented")
# How two copies on Hugging Face name the splits (HuggingFaceM4/ChartQA, lmms-lab/ChartQA).
SPLIT_NAMES = {0: "human", 1: "augmented", "human_test": "human", "augmented_test": "augmented"}
PLACES = ("png", "images")
DIMENSIONS = ("split", "chart_type", "skill", "source")
# lmms-eval, chartqa.yaml; the paper's models were trained on the task and had no prompt.
INSTRUCTION = "Answer the question with a single word."


def read(path: Path) -> Iterator[Question]:
    """The rows of the file, or of both files of a folder."""
    if not path.is_dir():
        split = next((split for split in SPLITS if split in path.stem), "")
        yield from read_split(path, split)
        return
    files = [path / f"test_{split}.json" for split in SPLITS]
    for file, split in zip(files, SPLITS, strict=True):
        if not file.is_file():
            raise InputError(f"{file} is not there; give ChartQA's test folder or one file of it")
        for question in read_split(file, split):
            yield dataclasses.replace(question, id=f"{split}-{question.id}")


def read_split(path: Path, split: str) -> Iterator[Question]:
    """The rows of one file; those without an id are numbered from 0."""
    for place, question in enumerate(read_questions(path, from_row)):
        dimensions = {"split": split, **question.dimensions} if split else question.dimensions
        yield dataclasses.replace(question, id=question.id or str(place), dimensions=dimensions)


def from_row(row: Row, folder: Path) -> Question:
    """One row; raises InputError naming the field."""
    split = first(row, "human_or_machine", "type")
    named = {
        **row,
        "split": SPLIT_NAMES.get(split, split) if isinstance(split, str | int) else None,
    }
    answer = first(row, "label", "answer", "expected")
    if isinstance(answer, list):  # Hugging Face's rows
        if len(answer) != 1:
            raise InputError(f"field 'label' holds {len(answer)} answers; give one")
        answer = answer[0]
    answer = text_field({"label": answer}, "label")
    image, encoded = image_of(first(row, "imgname", "image"), folder, PLACES)
    return Question(
        id=text_field(row, "id", required=False),
        question=text_field({"query": first(row, "query", "question")}, "query"),
        answer=answer,
        answer_kind=free_kind(answer),
        image=image,
        image_base64=encoded,
        dimensions=dimensions_of(named, DIMENSIONS),
        cluster=image or "",
        folder=folder,
    )


def first(row: Row, *names: str) -> Any:
    """The first of these fields that the row has."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def prompt(question: Question) -> str:
    """The question, then a request for a short answer."""
    return f"{question.question}\n{INSTRUCTION}"


TASK = Task(
    name="chartqa",
    data="ChartQA's test folder, test_human.json or test_augmented.json",
    read=read,
    prompt=prompt,
    official="chartqa",
)
