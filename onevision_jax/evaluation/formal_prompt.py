"""A question with the exact description of its image in front: what is formalization worth?"""

import dataclasses

from onevision_jax.data.target import fenced
from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question


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
