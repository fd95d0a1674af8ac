"""A record -> the arrays of one training sequence, or of one prompt.

Letters: T tokens, P patches.

    tokens        prompt prompt prompt r1 r2 r3 end      the prompt ends with the assistant's header
    targets       prompt prompt r1     r2 r3 end pad     what comes next
    loss_weights  0      0      1      1  1  1   0       1 where the target is part of the response

Prompt and response are tokenised apart, so that the prompt's ids are those the model is given when
it answers.

An example over the row's size is refused or shrunk, never cut: when the text fits, the image is
prepared again with as many pixels as there is room for, down to the processor's `min_pixels`;
what still does not fit is left out as "too long".
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from PIL.Image import Image

from onevision_jax.data.record import Record
from onevision_jax.data.source import Reason, Rejected
from onevision_jax.data.target import TargetConfig, prompt_messages, response_text
from onevision_jax.errors import InputError
from onevision_jax.processor import (
    Example,
    Processor,
    ProcessorConfig,
    collect_images,
    load_image,
)
from onevision_jax.processor.image import ImageSource

Result = TypeVar("Result")

CHARACTERS_PER_TOKEN = 32
"""Text longer than this many characters per token of room is refused before it is tokenised."""


@dataclasses.dataclass(frozen=True)
class TrainingExample(Example):
    """One sequence with what it should predict."""

    targets: np.ndarray
    """int32 [T]: the next token; `pad_id` at the last place."""
    loss_weights: np.ndarray
    """float32 [T]: 1 where the target is a token of the response or its end token, else 0."""


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One question as the model is given it, and the record it was made from."""

    record: Record
    example: Example


@dataclasses.dataclass(frozen=True)
class Encode:
    """Records to arrays that fit a row. A value that can be sent to another process."""

    processor: Processor = dataclasses.field(repr=False)
    target: TargetConfig = dataclasses.field(default_factory=TargetConfig)
    max_tokens: int = 2048
    """Tokens of one sequence; of one prompt."""
    max_patches: int = 4096
    """Patches of one sequence: 4 make a vision token."""

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_patches"):
            if getattr(self, name) < 0 + (name == "max_tokens"):
                raise InputError(f"data setting {name} is {getattr(self, name)}; give 1 or more")

    def train(self, record: Record) -> TrainingExample:
        """The training sequence of a record; raises `Rejected`."""
        response = _guard("target", response_text, record, self.target)
        self._check_text({"answer": response})
        response_ids = _guard("text", self.processor.tokenizer.encode, response)
        response_ids = np.append(response_ids, np.int32(self.end_id)).astype(np.int32)
        return self.respond(self._prompt(record, len(response_ids)), response_ids)

    def prompt(self, record: Record) -> Prompt:
        """The prompt of a record, without a response; raises `Rejected`."""
        return Prompt(record, self._prompt(record, 0))

    @functools.cached_property
    def end_id(self) -> int:
        """The token that ends a response: the tokenizer's eos_token, else its first stop id."""
        tokenizer = self.processor.tokenizer
        eos = tokenizer.ids_of(str(tokenizer.special_tokens.get("eos_token", "")))
        ends = [*eos, *tokenizer.stop_ids]
        if not ends:
            raise InputError(
                "the tokenizer has no end token: give eos_token in tokenizer_config.json or "
                "eos_token_id in generation_config.json"
            )
        return int(ends[0])

    @functools.cached_property
    def _special(self) -> re.Pattern[str]:
        added = self.processor.tokenizer.backend.get_added_tokens_decoder().values()
        names = [re.escape(token.content) for token in added if token.special]
        return re.compile("|".join(names) or r"(?!)")

    def _prompt(self, record: Record, room: int) -> Example:
        """The prompt, `room` tokens short of `max_tokens`."""
        messages = _guard("text", prompt_messages, record, self.target)
        self._check_text({"question": record.question, "choices": "\n".join(record.choices)})
        images = collect_images(messages)
        text = _guard("text", self.processor.render, messages)
        tokens = _guard("text", self.processor.tokenizer.encode, text)
        num_text = len(tokens) - len(images)  # A placeholder is an image's own token.
        num_units = min(self.max_tokens - room - num_text, self.max_patches // self._per_unit)
        if num_units < len(images) or num_text + room > self.max_tokens:
            raise Rejected(
                "too long",
                f"record {record.id!r} has {num_text + room} tokens of text"
                f"{' and an image' if images else ''} for rows of {self.max_tokens} tokens and "
                f"{self.max_patches} patches; lengthen the rows",
            )
        return self._fit(record, tokens, images, num_units)

    def _fit(
        self, record: Record, tokens: np.ndarray, images: Sequence[ImageSource], num_units: int
    ) -> Example:
        """The example, its image (there is at most one) on no more than `num_units` tokens.

        The size is chosen before the image is cut, so that one which shrinks is resized only once.
        """
        pictures = [_guard("image", load_image, image) for image in images]
        processor = self.processor
        if _num_units(processor.config, pictures) > num_units:
            config = _smaller(processor.config, num_units)
            if config is None or _num_units(config, pictures) > num_units:
                raise Rejected(
                    "too long",
                    f"record {record.id!r} leaves room for {num_units} vision tokens, but its "
                    "image needs more even at min_pixels; lengthen the rows or lower min_pixels",
                )
            processor = dataclasses.replace(processor, config=config)
        return _guard("text", processor.process_tokens, tokens, pictures)

    def respond(self, prompt: Example, response: np.ndarray) -> TrainingExample:
        """Appends a response to a prompt."""
        num_prompt, num_response = len(prompt.tokens), len(response)
        tokens = np.concatenate([prompt.tokens, response])
        places = prompt.next_position + np.arange(num_response, dtype=np.int32)
        loss_weights = np.zeros(len(tokens), np.float32)
        loss_weights[num_prompt - 1 : -1] = 1.0
        pad = np.int32(self.processor.tokenizer.pad_id)
        return TrainingExample(
            tokens=tokens,
            positions=np.concatenate(
                [prompt.positions, np.broadcast_to(places, (3, num_response))], axis=1
            ).astype(np.int32),
            vision_index=np.append(prompt.vision_index, np.full(num_response, -1)).astype(np.int32),
            patches=prompt.patches,
            patch_positions=prompt.patch_positions,
            image_ids=prompt.image_ids,
            window_ids=prompt.window_ids,
            next_position=prompt.next_position + num_response,
            targets=np.append(tokens[1:], pad),
            loss_weights=loss_weights,
        )

    def _check_text(self, parts: dict[str, str]) -> None:
        """Refuses text that would be read as control tokens, and text that cannot fit."""
        limit = self.max_tokens * CHARACTERS_PER_TOKEN
        for name, text in parts.items():
            if len(text) > limit:
                raise Rejected(
                    "too long", f"field {name!r} has {len(text)} characters, over {limit}; cut it"
                )
            found = self._special.search(text)
            if found:
                raise Rejected(
                    "text",
                    f"field {name!r} holds {found.group()}, a control token; remove it",
                )

    @property
    def _per_unit(self) -> int:
        return self.processor.config.merge_size**2


def _num_units(config: ProcessorConfig, pictures: Sequence[Image]) -> int:
    return sum(config.num_units(picture.height, picture.width) for picture in pictures)


def _smaller(config: ProcessorConfig, num_units: int) -> ProcessorConfig | None:
    """The same with images of `num_units` tokens at most; None below its min_pixels."""
    max_pixels = num_units * config.factor**2
    if max_pixels < config.min_pixels:
        return None
    return dataclasses.replace(config, max_pixels=max_pixels)


def _guard(reason: Reason, function: Callable[..., Result], *arguments: object) -> Result:
    """Calls a function; what it refuses is left out for this reason."""
    try:
        return function(*arguments)
    except InputError as error:
        raise Rejected(reason, str(error)) from error
