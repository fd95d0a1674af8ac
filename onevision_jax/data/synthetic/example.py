"""What a family makes: a drawing and everything that is said about it."""

import dataclasses
import random
from fractions import Fraction

from onevision_jax.data.record import AnswerKind, Tier
from onevision_jax.data.synthetic.drawing import Drawing

# Side of the canvas in points, and the least size in pixels, by difficulty.
SIDES = {0: 84, 1: 84, 2: 168, 3: 280}


@dataclasses.dataclass(frozen=True)
class Question:
    """A question with its worked answer."""

    kind: str  # such as "difference": one kind = one way of reasoning
    text: str
    reasoning: str  # lists what it reads, then computes, one step a sentence
    answer: str
    answer_kind: AnswerKind = "number"
    choices: tuple[str, ...] = ()
    tier: Tier = "junior_high"


@dataclasses.dataclass(frozen=True)
class Example:
    """One drawn thing, its exact formal text, and one question about it."""

    drawing: Drawing
    formal_text: str
    formal_language: str
    question: Question
    subject: str  # "math", "physics", "chemistry", "biology" or "deduction": R1-Onevision-Bench


def phrase(rng: random.Random, templates: tuple[str, ...], **names: object) -> str:
    """One of several wordings, filled in."""
    return rng.choice(templates).format(**names)


def format_fraction(value: Fraction | int) -> str:
    """`7`, `-3` or `12/7`, in lowest terms."""
    value = Fraction(value)
    return (
        str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    )
