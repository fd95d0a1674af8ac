"""What a worker does with a record: read, clean, decode its image, measure."""

import dataclasses
import functools
import hashlib
import json
import re
from typing import cast

from onevision_jax.data.building.settings import BuildSettings, BuildSource
from onevision_jax.data.cleaning import Cleaned
from onevision_jax.data.picture_hash import View, view_image
from onevision_jax.data.record import Record, Split, image_hash, split_of
from onevision_jax.data.source import Rejected, Source
from onevision_jax.data.sources.array_record import pack
from onevision_jax.data.sources.conversations import ConversationSource
from onevision_jax.data.sources.mixed import MixedSource
from onevision_jax.data.target import TargetConfig, prompt_messages, response_text
from onevision_jax.errors import InputError
from onevision_jax.processor import Tokenizer, load_image

CHUNK = 32  # records a worker takes at a time
MAX_MESSAGE = 240
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclasses.dataclass(frozen=True)
class Kept:
    """A record that is good by itself."""

    source: int  # which `--source`
    where: str
    record: Record  # without its image
    entry: bytes  # as it is written
    split: Split  # by its own picture alone
    image: str  # SHA-256 of the encoded file; "" = none
    look: View | None  # None: no picture, or one of a single colour
    size: tuple[int, int] | None  # width and height in pixels
    words: int  # of prompt and response
    tokens: int | None
    repairs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Refused:
    """A row that is left out."""

    source: int
    where: str
    id: str
    reason: str
    message: str


def examine(mixture: MixedSource, settings: BuildSettings, start: int) -> list[Kept | Refused]:
    """The rows of a chunk, in order."""
    return [
        examine_one(mixture, settings, index)
        for index in range(start, min(start + CHUNK, len(mixture)))
    ]


def examine_one(mixture: MixedSource, settings: BuildSettings, index: int) -> Kept | Refused:
    """One row of the mixture."""
    place, number = mixture.find(index)
    source = cast(BuildSource, mixture.sources[place])
    where = str(source.locate(number))
    try:
        return measure(read(source, number), settings, place, where)
    except Rejected as rejected:
        return refuse(place, where, rejected)


def refuse(source: int, where: str, rejected: Rejected) -> Refused:
    """The row of the rejects file; its message does not say again where."""
    # Pillow names the stream it read by its address, which differs from run to run.
    message = _ADDRESS.sub("", str(rejected).removeprefix(f"{where}: "))
    return Refused(source, where, rejected.id, rejected.reason, message[:MAX_MESSAGE])


def read(source: Source, number: int) -> Cleaned:
    """The record, and what was repaired."""
    if isinstance(source, ConversationSource):
        return source.read(number)
    record = source[number]
    try:
        response_text(record, TargetConfig())
    except InputError as error:
        raise Rejected("target", str(error), record.id) from None
    return Cleaned(record)


def measure(cleaned: Cleaned, settings: BuildSettings, source: int, where: str) -> Kept:
    """Everything that is counted and compared; raises `Rejected` for an image nobody can decode."""
    record, look, size = cleaned.record, None, None
    if record.image is not None:
        try:
            picture = load_image(record.image)
        except InputError as error:
            raise Rejected("image", str(error), record.id) from None
        look, size = next(iter(view_image(picture)), None), picture.size
    words, tokens = lengths(record, settings.tokenizer)
    return Kept(
        source=source,
        where=where,
        record=dataclasses.replace(record, image=None),
        entry=pack(record),
        split=split_of(record, settings.validation, settings.test),
        image="" if record.image is None else image_hash(record.image),
        look=look,
        size=size,
        words=words,
        tokens=tokens,
        repairs=cleaned.repairs,
    )


def lengths(record: Record, tokenizer: str | None) -> tuple[int, int | None]:
    """(words, tokens) of prompt and response, without the tokens of the image and the template."""
    try:
        content = prompt_messages(record, TargetConfig())[-1]["content"]
    except InputError as error:  # More choices than letters.
        raise Rejected("target", str(error), record.id) from None
    text = f"{content[-1]['text']}\n{response_text(record, TargetConfig())}"
    if tokenizer is None:
        return len(text.split()), None
    try:
        return len(text.split()), len(_tokenizer(tokenizer).encode(text))
    except InputError as error:
        raise Rejected("text", str(error), record.id) from None


@functools.lru_cache(maxsize=1)
def _tokenizer(folder: str) -> Tokenizer:
    return Tokenizer.from_folder(folder)


def identity(kept: Kept) -> str:
    """The same for the same question about the same picture: image, question and choices."""
    return _digest(kept.image, normalise(kept.record.question), *kept.record.choices)


def likeness(kept: Kept) -> str:
    """The same for questions that ask and answer alike, whatever picture they are about."""
    record = kept.record
    choices = (normalise(choice) for choice in record.choices)
    return _digest(normalise(record.question), normalise(record.answer), *choices)


def normalise(text: str) -> str:
    """Lower case, and nothing but letters, digits and signs with single spaces between words."""
    kept = (c if c.isalnum() or c in "+-*/=<>%.^" else " " for c in text.casefold())
    return " ".join(word.strip(".") for word in "".join(kept).split()).strip()


def _digest(*parts: str) -> str:
    text = json.dumps(parts)  # ASCII, and never the same for two lists of parts.
    return hashlib.sha256(text.encode()).hexdigest()[:24]
