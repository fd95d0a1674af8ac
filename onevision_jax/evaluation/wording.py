"""What a model is asked: the benchmark's published text, with or without the formal text."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from onevision_jax.data.target import fenced
from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.task import Task


def with_formal(question: Question) -> Question:
    """The question behind its image's formal text, as a fenced block in its language.

    Raises InputError where the row has no formal text: unlike the others, it would be asked without
    help, and the comparison would not hold.
    """
    if not question.formal_text.strip():
        raise InputError(
            f"row {question.id!r}: field 'formal_text' is empty; leave the row out, or ask without "
            "the formal text"
        )
    language = question.formal_language.strip() or "formal text"
    label = question.formal_language.strip()
    described = f"The image, described in {language}:\n{fenced(question.formal_text, label)}"
    return dataclasses.replace(question, question=f"{described}\n{question.question}".rstrip("\n"))


def worded(task: Task, question: Question, *, formal_text: bool = False) -> Question:
    """The question whose text is all that the model is asked, choices included; for asking only.

    formal_text: with the exact description of the image in front, to measure what formalization is
    worth; raises InputError for a row that has none.
    """
    asked = dataclasses.replace(question, question=task.prompt(question), choices=())
    return with_formal(asked) if formal_text else asked


def fingerprint(questions: Sequence[Question]) -> str:
    """Changes with any text that is asked, so that no run goes on with another's answers."""
    texts = [[q.id, q.question, list(q.choices)] for q in questions]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]
