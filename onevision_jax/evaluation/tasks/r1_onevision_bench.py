"""R1-Onevision-Bench: 942 questions, four levels of education, five categories.

Schema: Hugging Face Fancy-MLLM/R1-Onevision-Bench (index, question, choices, answer, level,
category, image in base64), as TSV, Parquet or JSONL. `choices` is a string, empty for a free-form
question; `question` mostly shows hint and choices already. The published scores come from GPT-4o
mini, which extracts and compares (paper, appendix A.3): there is no protocol by rules.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from onevision_jax.data.target import lettered
from onevision_jax.evaluation.files import (
    Row,
    dimensions_of,
    image_of,
    question_at,
    read_table,
)
from onevision_jax.evaluation.options import (
    free_kind,
    holds_options,
    is_label,
    options_in_question,
    parse_options,
)
from onevision_jax.evaluation.questions import Question, text_field
from onevision_jax.evaluation.task import Task

REFERENCE = 64  # an `image` no longer than this names the row that holds it (VLMEvalKit's TSV)
# Paper, appendix A.2.
INSTRUCTION = (
    "First output the thinking process in <think> </think> tags and then output the final answer "
    "in <answer> </answer> tags."
)


def read(path: Path) -> Iterator[Question]:
    """The rows of the file; all are held, because one may name the image of another."""
    rows = list(read_table(path))
    images = {str(row.get("index")): row.get("image") for _, row in rows}
    for where, row in rows:
        image = row.get("image")
        if isinstance(image, str) and len(image) <= REFERENCE and images.get(image):
            row = {**row, "image": images[image]}
        yield question_at(f"{path}, {where}", from_row, row, path.parent)


def from_row(row: Row, folder: Path) -> Question:
    """One row; raises InputError naming the field."""
    question, answer = text_field(row, "question"), text_field(row, "answer").strip()
    value = row.get("choices")
    if isinstance(value, list):
        value = "\n".join(map(str, value))
    written = text_field({"choices": value}, "choices", required=False).strip()
    choices = parse_options(written)
    if not choices and is_label(answer):
        choices = options_in_question(question)
    chosen = bool(choices or (written and is_label(answer)))
    if is_label(answer) and not is_label(answer, choices):
        choices = ()  # Not read to the end: labels alone are graded.
    encoded = row.get("image")
    if isinstance(encoded, str):
        image, encoded = None, encoded.strip()
    else:
        image, encoded = image_of(encoded, folder)
    if not encoded and image is None:
        image, _ = image_of(row.get("image_path"), folder)
    named = {
        "tier": row.get("level"),
        "subject": row.get("category"),
        "question_type": "multiple-choice" if chosen else "free-form",
    }
    return Question(
        id=text_field(row, "index"),
        question=question,
        answer=answer,
        answer_kind="choice" if chosen else free_kind(answer),
        choices=choices,
        image=image,
        image_base64=encoded,
        dimensions=dimensions_of(named, tuple(named)),
        facts={"choices": written},
        cluster=hashlib.sha256(encoded.encode()).hexdigest()[:16] if encoded else image or "",
        folder=folder,
    )


def prompt(question: Question) -> str:
    """The question, its choices unless it shows them, and the paper's request for tags."""
    lines, written = [question.question.strip()], question.facts["choices"]
    if written and not holds_options(question.question, question.choices):
        lines += ["Choices:", *(lettered(question.choices) or [written])]
    return "\n".join([*lines, INSTRUCTION])


TASK = Task(
    name="r1-onevision-bench",
    data="the TSV, Parquet or JSONL file of R1-Onevision-Bench",
    read=read,
    prompt=prompt,
)
