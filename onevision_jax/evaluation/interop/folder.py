"""An evaluation folder, with its questions where their data is still there."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.data.record import read_rows
from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.task import read_task
from onevision_jax.evaluation.tasks import TASKS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `eval` wrote: settings and counts, and a row for each answer."""

    folder: Path
    results: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]  # of items.jsonl, in their order
    questions: Mapping[str, Question]  # by id; {} where the data is gone


def finish_reason(row: Mapping[str, Any]) -> str | None:
    """items.jsonl keeps of it only what the verdict says."""
    return "length" if row["verdict"] == "truncated" else None


def read_evaluation(folder: Path) -> Evaluation:
    """Raises InputError for a folder without results, and for damaged files."""
    files = [folder / name for name in ("results.json", "items.jsonl")]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is not there; name a folder that onevision eval wrote")
    results = read_object(files[0])
    rows = []
    for number, row in read_rows(files[1]):
        for field in ("id", "gold", "verdict"):
            if not isinstance(row.get(field), str):
                raise InputError(f"{files[1]}, line {number}: field {field!r} must be a string")
        if row.get("response") is not None and not isinstance(row["response"], str):
            raise InputError(
                f"{files[1]}, line {number}: field 'response' must be a string or null"
            )
        rows.append(row)
    return Evaluation(folder=folder, results=results, rows=rows, questions=read_questions(results))


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds; raises InputError when it is something else."""
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); write it again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object; write it again")
    return value


def read_questions(results: Mapping[str, Any]) -> dict[str, Question]:
    """By id; {} where the data is gone or has no reader here."""
    task, data = TASKS.get(str(results.get("task"))), results.get("data")
    if task is None or not isinstance(data, str) or not data or not Path(data).exists():
        return {}
    return {question.id: question for question in read_task(task, data)}
