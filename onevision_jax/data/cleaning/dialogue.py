"""One question and one response, cleaned into a `Record`. Every repair has a name and is counted.

Nothing is guessed: where question, reasoning or answer cannot be told for certain, `Rejected` says
why. The result is what `data.target` writes as <think>reasoning</think> <answer>answer</answer>.
"""

import dataclasses
from typing import NamedTuple

from onevision_jax.data.cleaning.answer import choose, kind_of
from onevision_jax.data.cleaning.question import clean_question
from onevision_jax.data.cleaning.response import clean_response
from onevision_jax.data.record import Record
from onevision_jax.data.source import Rejected
from onevision_jax.data.target import TargetConfig, response_text
from onevision_jax.errors import InputError

MAX_QUESTION = 50_000  # characters; no context holds more, and patterns run over it
MAX_RESPONSE = 500_000


@dataclasses.dataclass(frozen=True)
class Dialogue:
    """A row of any published layout, brought to one form."""

    id: str
    image: bytes | None
    question: str  # the user's turn
    response: str  # the assistant's turn
    source: str = ""
    licence: str = ""
    repairs: tuple[str, ...] = ()  # made while it was read


class Cleaned(NamedTuple):
    """A record, and what was repaired to make it."""

    record: Record
    repairs: tuple[str, ...] = ()


def clean(dialogue: Dialogue, needs_reasoning: bool) -> Cleaned:
    """The record of a dialogue; raises `Rejected`."""
    for name, text, most in (
        ("question", dialogue.question, MAX_QUESTION),
        ("response", dialogue.response, MAX_RESPONSE),
    ):
        if len(text) > most:
            raise Rejected("too long", f"the {name} has {len(text):,} characters; {most:,} at most")
    question = clean_question(_lines(dialogue.question), dialogue.image is not None)
    response = clean_response(_lines(dialogue.response), question.choices)
    if not response.answer:
        raise Rejected("no answer", "nothing is left of the answer without its label")
    if needs_reasoning and not response.reasoning:
        raise Rejected("no reasoning", "no reasoning comes with the answer")
    answer, kind, repairs = response.answer, kind_of(response.answer), []
    if question.choices:
        answer, repairs = choose(response.answer, question.choices)
        kind = "choice"
    try:
        record = Record(
            id=dialogue.id,
            image=dialogue.image,
            question=question.text,
            answer=answer,
            answer_kind=kind,
            choices=question.choices,
            reasoning=response.reasoning,
            source=dialogue.source,
            licence=dialogue.licence,
            provenance={"layout": response.layout},
        )
    except InputError as error:
        raise Rejected("row", str(error)) from None
    try:
        response_text(record, TargetConfig())
    except InputError as error:
        raise Rejected("target", str(error)) from None
    return Cleaned(record, (*dialogue.repairs, *question.repairs, *response.repairs, *repairs))


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
