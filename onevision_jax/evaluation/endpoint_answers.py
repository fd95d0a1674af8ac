"""The answers of a chat server to questions, as `answers` has those of a checkpoint.

Every answer lies in a cache before it is used, under all that decides it, so a killed run goes on
where it stopped and no answer that arrived is asked for again.
"""

import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from onevision_jax.endpoint import (
    ChatRequest,
    EndpointConfig,
    ReplyCache,
    complete,
)
from onevision_jax.endpoint.client import Refused
from onevision_jax.endpoint.request import media_type
from onevision_jax.errors import InputError
from onevision_jax.evaluation.answers import PARTIAL, Store, check_samples, shown
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.score import Response
from onevision_jax.evaluation.task import plain_prompt
from onevision_jax.evaluation.wording import fingerprint
from onevision_jax.processor import load_image

CACHE = ".replies"  # below the output folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointAnswerConfig:
    """How the answers are made; the names are those of `AnswerConfig`."""

    endpoint: EndpointConfig
    images: Literal["real", "blank", "none"] = "real"
    temperature: float = 0.0
    max_new_tokens: int = 512
    num_samples: int = 1  # of every question
    # Sample s of row i draws with seed + i * num_samples + s; not sent at temperature 0.
    seed: int = 0
    instruction: str = ""  # last line of every prompt
    cache: Path | None = None  # None = a hidden folder of the output folder
    refused: Refused = "stop"  # "skip": a question the server rejects has no response

    def __post_init__(self):
        check_samples(self.num_samples, self.temperature)


def answer_through_endpoint(
    questions: Sequence[Question],
    config: EndpointAnswerConfig,
    folder: Path,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, tuple[Response, ...]], dict[str, Any]]:
    """The responses to every question, by id, and the counts of `Accounting.to_json`.

    questions: as they are asked, see `worded`.
    progress(done, total) is called after each answer. Raises InputError naming the row that cannot
    be asked, when the server cannot be used, or when `folder` holds answers made under other
    settings.
    """
    Store(folder / PARTIAL, _settings(questions, config)).read()
    replies, accounting = complete(
        _requests(questions, config),
        config.endpoint,
        ReplyCache(config.cache or folder / CACHE),
        lambda done: progress(done // config.num_samples, len(questions)),
        refused=config.refused,
    )
    responses = {
        question.id: tuple(
            Response(text=reply.text, finish_reason=reply.finish_reason, sample=sample)
            for sample in range(config.num_samples)
            if (reply := replies.get(_request_id(question, sample))) is not None
        )
        for question in questions
    }
    return {name: said for name, said in responses.items() if said}, accounting.to_json()


def _request_id(question: Question, sample: int) -> str:
    return f"{question.id} sample {sample}" if sample else question.id


def _requests(questions: Sequence[Question], config: EndpointAnswerConfig) -> Iterator[ChatRequest]:
    for place, question in enumerate(questions):
        messages = _messages(question, config)
        for sample in range(config.num_samples):
            # At temperature 0 nothing is drawn; some servers reject the field.
            seed = config.seed + place * config.num_samples + sample
            yield ChatRequest(
                id=_request_id(question, sample),
                messages=messages,
                temperature=config.temperature,
                max_tokens=config.max_new_tokens,
                options={"seed": seed} if config.temperature > 0 else {},
            )


def _messages(question: Question, config: EndpointAnswerConfig) -> list[dict[str, Any]]:
    """The user's turn, the image in front of the text as in `prompt_messages`."""
    lines = (plain_prompt(question), config.instruction)
    text = "\n".join(line for line in lines if line)
    try:
        image = shown(question.record(), config.images).image
        part = None if image is None else _sendable(image)
    except InputError as error:
        raise InputError(f"row {question.id!r}: {error}") from None
    if not text and part is None:
        raise InputError(f"row {question.id!r} has neither a question nor an image to ask about")
    if part is None:  # Servers of text models often take nothing but a string.
        return [{"role": "user", "content": text}]
    content: list[dict[str, Any]] = [{"type": "image", "image": part}]
    if text:
        content.append({"type": "text", "text": text})
    return [{"role": "user", "content": content}]


def _sendable(data: bytes) -> bytes:
    """The file itself where servers read its kind, else the same pixels as PNG."""
    image = load_image(data)  # A damaged file is one clear sentence here, not an error of a server.
    if media_type(data) is not None:
        return data
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _settings(questions: Sequence[Question], config: EndpointAnswerConfig) -> dict[str, Any]:
    """What must not change between two runs that share a folder."""
    return {
        "questions": len(questions),
        "texts": fingerprint(questions),
        "checkpoint": None,
        "endpoint": config.endpoint.url,
        "model": config.endpoint.model,
        "images": config.images,
        "temperature": config.temperature,
        "max_new_tokens": config.max_new_tokens,
        "num_samples": config.num_samples,
        "seed": config.seed,
        "instruction": config.instruction,
    }
