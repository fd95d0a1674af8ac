"""Counting in SuperCLEVR as R1-V tests it: `superclevr_test200_counting_problems.jsonl`.

Its files of CLEVR questions have the same fields, so both are this task. Rows have no id of their
own: the first row is "0".
"""

from collections.abc import Iterator
from pathlib import Path

from onevision_jax.data.record import read_rows
from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.task import Task
from onevision_jax.evaluation.tasks.geoqa import from_row

INSTRUCTION = (
    "First output the thinking process in <think> </think> and final answer (number) in "
    "<answer> </answer> tags."
)


def read(path: Path) -> Iterator[Question]:
    """The rows of the file."""
    if not path.is_file():
        raise InputError(f"{path} is no file; give {TASK.data}")
    for index, (number, row) in enumerate(read_rows(path)):
        try:
            question = from_row(row, str(index), path.parent)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        if not question.answer.isdecimal():
            raise InputError(
                f"{path}, line {number}: field 'ground_truth' is {question.answer!r}, no count"
            )
        yield question


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
