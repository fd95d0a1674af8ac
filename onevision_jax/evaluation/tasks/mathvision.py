"""MATH-V (MathVision): `test.jsonl` and `testmini.jsonl` of mathllm/MATH-V."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question, text_field
from onevision_jax.evaluation.task import Task, read_jsonl

LETTERS = "ABCDE"
INSTRUCTION = (
    'Please solve the problem step by step and put your answer in one "\\boxed{}". '
    'If it is a multiple choice question, only one letter is allowed in the "\\boxed{}".\n'
)


def read(path: Path) -> Iterator[Question]:
    """The rows of the file."""
    data = "test.jsonl or testmini.jsonl of MATH-V"
    return read_jsonl(path, data, lambda index, row: from_row(row, path.parent))


def from_row(row: Mapping[str, Any], folder: Path) -> Question:
    """One row: a letter as its gold where it has options, a value where it has none."""
    choices = row.get("options") or []
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise InputError("field 'options' must be a list of strings")
    answer = text_field(row, "answer")
    if choices and answer not in list(LETTERS[: len(choices)]):
        raise InputError(f"field 'answer' is {answer!r}, no letter of the {len(choices)} options")
    image = text_field(row, "image", required=False)
    return Question(
        id=text_field(row, "id"),
        question=text_field(row, "question"),
        answer=answer,
        answer_kind="choice" if choices else "number",
        choices=tuple(choices),
        image=image or None,
        dimensions={name: text_field(row, name) for name in ("subject", "level")},
        cluster=image,
        folder=folder,
    )


def prompt(question: Question) -> str:
    """The published prompt; options that only name parts of the picture are left out."""
    lines = "".join(
        f"({letter}) {choice}\n"
        for letter, choice in zip(LETTERS, question.choices, strict=False)
        if "".join(question.choices) != LETTERS
    )
    return f"{INSTRUCTION}{question.question}\n{lines}"


TASK = Task(
    name="mathvision",
    data="test.jsonl or testmini.jsonl of MATH-V",
    read=read,
    prompt=prompt,
    official="mathvision",
)
