"""Counting in SuperCLEVR as R1-V tests it: `superclevr_test200_counting_problems.jsonl`.

Its files of CLEVR questions have the same fields, so both are this task. Rows have no id of their
own: the first row is "0".
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.task import Task, read_jsonl
from onevision_jax.evaluation.tasks.geoqa import from_row

INSTRUCTION = (
    "First output the thinking process in <think> </think> and final answer (number) in "
    "<answer> </answer> tags."
)


def read(path: Path) -> Iterator[Question]:
    """The rows of the file."""
    return read_jsonl(path, TASK.data, lambda index, row: count_row(row, str(index), path.parent))


def count_row(row: Mapping[str, Any], name: str, folder: Path) -> Question:
    """One row; raises InputError for a gold that is no count."""
    question = from_row(row, name, folder)
    if not question.answer.isdecimal():
        raise InputError(f"field 'ground_truth' is {question.answer!r}, no count")
    return question


def prompt(question: Question) -> str:
    """The published prompt."""
    return f"{question.question} {INSTRUCTION}"


TASK = Task(
    name="clevr",
    data="superclevr_test200_counting_problems.jsonl of R1-V",
    read=read,
    prompt=prompt,
    official="r1v-counting",
)
