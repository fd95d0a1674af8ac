"""What a benchmark is: how its rows are read, asked and scored."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.data.record import read_rows
from onevision_jax.data.target import lettered
from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question

Rows = Sequence[Mapping[str, Any]]  # of items.jsonl


def plain_prompt(question: Question) -> str:
    """The question and its lettered choices, a line each."""
    return "\n".join([question.question, *lettered(question.choices)])


def no_tables(questions: Sequence[Question], rows: Rows) -> dict[str, Any]:
    """For benchmarks whose counts by dimension say everything."""
    del questions, rows
    return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One benchmark. The strict grader scores every one; `official` is its published protocol."""

    name: str  # on the command line
    data: str  # which file a user has downloaded, for `--help` and for errors
    # Rows in the order of the file; raises InputError naming file, row and field.
    read: Callable[[Path], Iterator[Question]]
    # The published text of the user's turn.
    prompt: Callable[[Question], str] = plain_prompt
    # A key of rewards.official.PROTOCOLS; "" where nothing but a judge model was published.
    official: str = ""
    # Further entries of results.json, such as We-Math's four-dimensional scores.
    tables: Callable[[Sequence[Question], Rows], dict[str, Any]] = no_tables


def read_jsonl(
    path: Path, data: str, make: Callable[[int, Mapping[str, Any]], Question]
) -> Iterator[Question]:
    """The rows of a JSONL file as questions; make gets a row's place, from 0, and the row.

    data: which file is wanted. Raises InputError naming file and line.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give {data}")
    for index, (number, row) in enumerate(read_rows(path)):
        try:
            yield make(index, row)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None


def read_task(task: Task, path: str | Path, limit: int | None = None) -> list[Question]:
    """The rows of a file, the first `limit` of them.

    Raises InputError for a missing path, no rows, and ids that repeat.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} is not there; give {task.data}")
    questions: dict[str, Question] = {}
    for question in task.read(path):
        if limit is not None and len(questions) == limit:
            break
        if question.id in questions:
            raise InputError(f"{path}: field 'id' repeats {question.id!r}; ids must differ")
        questions[question.id] = question
    if not questions:
        raise InputError(f"{path} has no rows; give at least one question")
    return list(questions.values())
