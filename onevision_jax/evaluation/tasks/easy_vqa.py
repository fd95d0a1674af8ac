"""easy-VQA: questions on the shape and colour of one figure; 13 answers.

Layout: a split's folder inside the package easy-vqa (`easy_vqa/data/test`): `questions.json` holds
[question, answer, image id] for each row, `images/ID.png` the figures, and `../answers.txt` the
answers. A row's id is its place in the list, from 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.evaluation.files import read_json
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.task import Task

FILE = "questions.json"
YES_NO = ("yes", "no")
SHAPES = ("circle", "rectangle", "triangle")


def read(path: Path) -> Iterator[Question]:
    """The rows of `questions.json`."""
    folder = path.parent if path.name == FILE else path
    rows = read_json(folder / FILE)
    if not isinstance(rows, list):
        raise InputError(f"{folder / FILE} must be a list of [question, answer, image]")
    for place, row in enumerate(rows):
        yield from_row(row, place, folder)


def from_row(row: Any, place: int, folder: Path) -> Question:
    """One row; raises InputError naming it."""
    kinds = [type(value) for value in row] if isinstance(row, list) else []
    if kinds != [str, str, int] or not (row[0].strip() and row[1].strip()):
        raise InputError(
            f"{folder / FILE}, row {place + 1}: expected a question, an answer and "
            f"an image's number, not {str(row)[:60]}"
        )
    question, answer, image = row
    asked = "yes/no" if answer in YES_NO else "shape" if answer in SHAPES else "colour"
    return Question(
        id=str(place),
        question=question,
        answer=answer,
        answer_kind="text",
        image=f"images/{image}.png",
        dimensions={"answer_type": asked},
        cluster=str(image),
        folder=folder,
    )


TASK = Task(name="easy-vqa", data="easy_vqa/data/test of the package easy-vqa", read=read)
