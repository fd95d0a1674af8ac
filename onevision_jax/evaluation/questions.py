"""What is asked and what counts as right, read from a JSONL file.

Rows are full `Record`s (`onevision synth` writes them) or as little as `{"id", "answer"}` with
`question`, `choices`, `answer_kind`, `image`, `tier`, `subject` where there are any; an id may be a
number. Images are read when they are needed.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from onevision_jax.data.record import Record, read_image, read_rows
from onevision_jax.errors import InputError
from onevision_jax.rewards import AnswerKind

DIMENSIONS = ("tier", "subject", "source", "family")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """One row of a benchmark."""

    id: str
    question: str  # may be empty where stored answers are graded
    answer: str
    answer_kind: AnswerKind
    choices: tuple[str, ...]
    image: str | None  # path below the file's folder
    dimensions: Mapping[str, str]  # what results are broken down by: tier, subject, family, ...
    folder: Path

    def record(self) -> Record:
        """With the image's bytes; raises InputError where the row cannot be asked."""
        return Record(
            id=self.id,
            image=None if self.image is None else read_image(self.image, self.folder),
            question=self.question,
            answer=self.answer,
            answer_kind=self.answer_kind,
            choices=self.choices,
        )


def read_questions(path: str | Path, limit: int | None = None) -> list[Question]:
    """The rows of a file, the first `limit` of them.

    Raises InputError naming file, line and field; ids must differ.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is no file; give a JSONL file with id and answer in every row")
    questions: dict[str, Question] = {}
    for number, row in read_rows(path):
        if limit is not None and len(questions) == limit:
            break
        try:
            question = _from_row(row, path.parent)
            if question.id in questions:
                raise InputError(f"field 'id' repeats {question.id!r}; ids must differ")
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        questions[question.id] = question
    if not questions:
        raise InputError(f"{path} has no rows; give at least one question")
    return list(questions.values())


def _from_row(row: Mapping[str, Any], folder: Path) -> Question:
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
    return Question(
        id=_text(row, "id"),
        question=_text(row, "question", required=False),
        answer=_text(row, "answer"),
        answer_kind=kind,
        choices=tuple(choices),
        image=_text(row, "image", required=False) or None,
        dimensions={name: str(values[name]) for name in DIMENSIONS if values[name]},
        folder=folder,
    )


def _text(row: Mapping[str, Any], name: str, *, required: bool = True) -> str:
    value = row.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        raise InputError(f"field {name!r} must be a {'non-empty ' if required else ''}string")
    return value
