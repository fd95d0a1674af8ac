"""GeoQA as R1-V tests it: `geoqa_test_prompts.jsonl` of Deep-Agent/R1-V, 754 questions.

The images are those of Geo170K; their paths are read below the file's folder. Rows have no id of
their own: the first row is "0".
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onevision_jax.evaluation.questions import Question, text_field
from onevision_jax.evaluation.task import Task, read_jsonl

INSTRUCTION = (
    "Output the thinking process in <think> </think> and final answer (number) in "
    "<answer> </answer> tags."
)


def read(path: Path) -> Iterator[Question]:
    """The rows of the file."""
    return read_jsonl(path, TASK.data, lambda index, row: from_row(row, str(index), path.parent))


def from_row(row: Mapping[str, Any], name: str, folder: Path) -> Question:
    """One row of R1-V's prompt files; golds are numbers, with a unit or a root here and there."""
    image = text_field(row, "image_path").removeprefix("./")
    return Question(
        id=name,
        question=text_field(row, "question"),
        answer=text_field(row, "ground_truth"),
        answer_kind="number",
        image=image,
        cluster=image,
        folder=folder,
    )


def prompt(question: Question) -> str:
    """The published prompt."""
    return f"{question.question} {INSTRUCTION}"


TASK = Task(
    name="geoqa",
    data="geoqa_test_prompts.jsonl of R1-V",
    read=read,
    prompt=prompt,
    official="r1v-geoqa",
)
