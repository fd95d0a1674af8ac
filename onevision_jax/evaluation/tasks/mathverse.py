"""MathVerse: 788 problems in five versions (testmini, 3,940 rows), and Text Only apart.

Layout: `testmini.json` and `testmini_text_only.json` of AI4Math/MathVerse, images below `images/`.
PATH is one of the files, or the folder that holds both. Sample indices of the two overlap: a Text
Only row whose index is taken gets "text-only-" in front of it. Every published score is a judge's:
one LLM call extracts, another compares.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.evaluation.files import (
    Row,
    dimensions_of,
    image_of,
    object_field,
    read_questions,
)
from onevision_jax.evaluation.options import free_kind, is_label, options_in_question
from onevision_jax.evaluation.questions import Question, text_field
from onevision_jax.evaluation.statistics import wilson
from onevision_jax.evaluation.task import Rows, Task

FILES = ("testmini.json", "testmini_text_only.json", "testmini_text-only.json")
PLACES = ("images",)
TEXT_ONLY = "Text Only"


def read(path: Path) -> Iterator[Question]:
    """The rows of the file, or of both files of a folder."""
    files = [path]
    if path.is_dir():
        files = [path / name for name in FILES if (path / name).is_file()][:2]
        if not files:
            raise InputError(f"{path} holds no {FILES[0]}; give MathVerse's folder or its file")
    taken: set[str] = set()
    for file in files:
        for question in read_questions(file, from_row):
            name = question.id
            if name in taken and is_text_only(question):
                name = f"text-only-{name}"
            taken.add(name)
            yield dataclasses.replace(question, id=name)


def from_row(row: Row, folder: Path) -> Question:
    """One row; raises InputError naming the field."""
    # A Vision Only row asks in its image; `question_for_eval` is the text behind it.
    wording = text_field(row, "question_for_eval", required=False)
    wording = wording or text_field(row, "question", required=False)
    answer = text_field(row, "answer").strip()
    chosen = text_field(row, "question_type").startswith("multi") and is_label(answer)
    choices = options_in_question(wording) if chosen else ()
    version = text_field(row, "problem_version").replace("_", " ")
    named = {**object_field(row, "metadata"), "problem_version": version}
    image, encoded = image_of(row.get("image"), folder, PLACES)
    return Question(
        id=text_field(row, "sample_index"),
        question=wording,
        answer=answer,
        answer_kind="choice" if chosen else free_kind(answer),
        choices=choices if is_label(answer, choices) else (),
        image=None if version == TEXT_ONLY else image,
        image_base64="" if version == TEXT_ONLY else encoded,
        dimensions=dimensions_of(named, ("problem_version", "subject", "subfield"))
        | dimensions_of(row, ("question_type",)),
        cluster=text_field(row, "problem_index"),
        facts={
            "query_cot": text_field(row, "query_cot"),
            "query_wo": text_field(row, "query_wo", required=False),
            "question_for_eval": wording,
        },
        folder=folder,
    )


def prompt(question: Question) -> str:
    """The published `query_cot`, which shows the choices; `query_wo` stands in the facts."""
    return question.facts["query_cot"]


def is_text_only(question: Question) -> bool:
    """Whether the row is asked without its diagram."""
    return question.dimensions.get("problem_version") == TEXT_ONLY


def tables(questions: Sequence[Question], rows: Rows) -> dict[str, Any]:
    """The published total is over the five versions with an image; Text Only stands apart."""
    counts = {"five_versions": [0, 0], "text_only": [0, 0]}
    for question, row in zip(questions, rows, strict=True):
        count = counts["text_only" if is_text_only(question) else "five_versions"]
        count[0] += 1
        count[1] += row["verdict"] == "correct"
    return {
        "mathverse": {
            name: {"n": n, "correct": c, "accuracy": c / n, "ci95": list(wilson(c, n))}
            for name, (n, c) in counts.items()
            if n
        }
    }


TASK = Task(
    name="mathverse",
    data="MathVerse's testmini.json, its Text Only file, or the folder of both",
    read=read,
    prompt=prompt,
    tables=tables,
)
