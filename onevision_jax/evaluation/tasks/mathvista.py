"""MathVista: testmini of 1,000 questions, 540 of them multiple-choice.

Layout: `data/testmini.json` of lupantech/MathVista (an object from pid to row, images below
`images/`), or the rows of Hugging Face AI4Math/MathVista, which add `query`, as JSONL or Parquet.
The gold of a multiple-choice question is the text of its option.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.evaluation.files import (
    Row,
    choices_of,
    dimensions_of,
    image_of,
    object_field,
    read_questions,
)
from onevision_jax.evaluation.options import LETTERS
from onevision_jax.evaluation.questions import Question, text_field
from onevision_jax.evaluation.task import Task
from onevision_jax.rewards import AnswerKind

KINDS: dict[str, AnswerKind] = {
    "text": "text",
    "integer": "number",
    "float": "number",
    "list": "number",
}
OF_METADATA = ("language", "source", "category", "task", "context", "grade", "skills")
# evaluation/build_query.py, zero-shot; by answer type and precision.
HINTS = {
    "text": "Please answer the question and provide the correct option letter, "
    "e.g., A, B, C, D, at the end.",
    "integer": "Please answer the question requiring an integer answer and provide the final "
    "value, e.g., 1, 2, 3, at the end.",
    "float1": "Please answer the question requiring a floating-point number with one decimal "
    "place and provide the final value, e.g., 1.2, 1.3, 1.4, at the end.",
    "float2": "Please answer the question requiring a floating-point number with two decimal "
    "places and provide the final value, e.g., 1.23, 1.34, 1.45, at the end.",
    "list": "Please answer the question requiring a Python list as an answer and provide the "
    "final list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.",
}


def read(path: Path) -> Iterator[Question]:
    """The rows of the file."""
    return read_questions(path, from_row, key="pid")


def from_row(row: Row, folder: Path) -> Question:
    """One row; raises InputError naming the field."""
    choices, answer = choices_of(row.get("choices")), text_field(row, "answer")
    chosen = one_of(row, "question_type", ("multi_choice", "free_form")) == "multi_choice"
    answer_type = one_of(row, "answer_type", tuple(KINDS))
    if chosen and answer not in choices:
        raise InputError(f"field 'answer' is {answer[:40]!r}, which is none of 'choices'")
    embedded = row.get("decoded_image") or row.get("image")
    image, encoded = image_of(embedded, folder)
    facts: dict[str, Any] = {
        "question_type": row["question_type"],
        "answer_type": answer_type,
        "precision": precision_of(row),
        "unit": text_field(row, "unit", required=False),
        "query": text_field(row, "query", required=False),
    }
    label = label_of(answer, choices) if chosen else answer
    if label != answer:
        facts["answer"] = answer
    metadata = object_field(row, "metadata")
    return Question(
        id=text_field(row, "pid"),
        question=text_field(row, "question"),
        answer=label,
        answer_kind="choice" if chosen else KINDS[answer_type],
        choices=choices,
        image=image,
        image_base64=encoded,
        dimensions=dimensions_of(row, ("question_type", "answer_type"))
        | dimensions_of(metadata, OF_METADATA),
        cluster=image or "",
        facts=facts,
        folder=folder,
    )


def one_of(row: Row, name: str, allowed: tuple[str, ...]) -> str:
    """A field with one of a few values."""
    value = text_field(row, name)
    if value not in allowed:
        raise InputError(f"field {name!r} is {value[:40]!r}, not one of {', '.join(allowed)}")
    return value


def precision_of(row: Row) -> int | None:
    """Decimal places; Hugging Face's rows write 1.0 for 1."""
    value = row.get("precision")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise InputError(f"field 'precision' is {value!r}; give an integer or null")
    return int(value)


def label_of(answer: str, choices: tuple[str, ...]) -> str:
    """The gold, or its label where its text is a letter that labels another option."""
    used = LETTERS[: len(choices)]
    label = LETTERS[choices.index(answer)]
    return label if answer in used and answer != label else answer


def prompt(question: Question) -> str:
    """Hugging Face's `query`, or what evaluation/build_query.py builds without examples."""
    facts = question.facts
    if facts["query"]:
        return facts["query"]
    unit = f" (Unit: {facts['unit']})" if facts["unit"] else ""
    lines = [f"Question: {question.question}{unit}"]
    if question.choices:
        labels = zip(LETTERS, question.choices, strict=False)
        lines += ["Choices:", *(f"({letter}) {choice}" for letter, choice in labels)]
    name = "text" if question.choices else facts["answer_type"]
    hint = HINTS.get(f"float{facts['precision']}" if name == "float" else name)
    if hint:
        lines.append(f"Hint: {hint}")
    return "\n".join([*lines, "Solution:"])


TASK = Task(
    name="mathvista",
    data="MathVista's testmini.json, or Hugging Face's rows as JSONL or Parquet",
    read=read,
    prompt=prompt,
    official="mathvista",
)
