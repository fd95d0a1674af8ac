"""Any JSONL of questions: full `Record` rows, as `onevision synth` writes them, or less.

A row needs `id` and `answer`; `question`, `choices`, `answer_kind`, `image` (a path below the
file's folder), `formal_text`, `tier`, `subject` and `source` where there are any. An id may be a
number.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question, text_field
from onevision_jax.evaluation.task import Task, read_jsonl
from onevision_jax.rewards import AnswerKind

DIMENSIONS = ("tier", "subject", "source", "family")


def read(path: Path) -> Iterator[Question]:
    """The rows of the file."""
    return read_jsonl(path, TASK.data, lambda index, row: from_row(row, path.parent))


def from_row(row: Mapping[str, Any], folder: Path) -> Question:
    """One row; raises InputError naming the field."""
    choices = row.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise InputError("field 'choices' must be a list of strings")
    kind = row.get("answer_kind") or ("choice" if choices else "text")
    if kind not in get_args(AnswerKind):
        raise InputError(
            f"field 'answer_kind' is {kind!r}, not one of {', '.join(get_args(AnswerKind))}"
        )
    provenance = row.get("provenance")
    family = provenance.get("family") if isinstance(provenance, Mapping) else None
    values = {"family": family, **{name: row.get(name) for name in DIMENSIONS[:-1]}}
    image = text_field(row, "image", required=False)
    return Question(
        id=text_field(row, "id"),
        question=text_field(row, "question", required=False),
        answer=text_field(row, "answer"),
        answer_kind=kind,
        choices=tuple(choices),
        image=image or None,
        formal_text=text_field(row, "formal_text", required=False),
        formal_language=text_field(row, "formal_language", required=False),
        dimensions={name: str(values[name]) for name in DIMENSIONS if values[name]},
        cluster=image,
        folder=folder,
    )


TASK = Task(name="generic", data="a JSONL file with id and answer in every row", read=read)
