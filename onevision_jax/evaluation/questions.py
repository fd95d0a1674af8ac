"""What is asked and what counts as right: one row of a benchmark, whichever file it came from."""

import base64
import binascii
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onevision_jax.data.record import Record, read_image
from onevision_jax.errors import InputError
from onevision_jax.rewards import AnswerKind

MAX_BASE64 = 96 << 20  # characters of one image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """One row of a benchmark. Images are read when they are needed, so a damaged one costs one."""

    id: str
    question: str  # may be empty where stored answers are graded
    answer: str
    answer_kind: AnswerKind
    choices: tuple[str, ...] = ()
    image: str | None = None  # path below the file's folder
    image_base64: str = ""  # or the encoded file itself, as TSV and parquet files hold it
    formal_text: str = ""  # an exact description of the image, where the data has one
    formal_language: str = ""
    # What results are broken down by: tier, subject, ... Several values where a row has several.
    dimensions: Mapping[str, str | tuple[str, ...]] = dataclasses.field(default_factory=dict)
    cluster: str = ""  # rows that share an image or a family of questions; "" = on its own
    # What the published protocol of its benchmark needs beside the gold: precision, unit, ...
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folder: Path

    def image_bytes(self) -> bytes | None:
        """The encoded image file; raises InputError where it cannot be read."""
        if self.image_base64:
            return decode_image(self.image_base64)
        return None if self.image is None else read_image(self.image, self.folder)

    def record(self) -> Record:
        """With the image's bytes; raises InputError where the row cannot be asked."""
        return Record(
            id=self.id,
            image=self.image_bytes(),
            question=self.question,
            answer=self.answer,
            answer_kind=self.answer_kind,
            choices=self.choices,
            formal_text=self.formal_text,
            formal_language=self.formal_language,
        )


def decode_image(text: str) -> bytes:
    """The bytes behind base64 text, a `data:` prefix allowed; raises InputError."""
    if len(text) > MAX_BASE64:
        raise InputError(f"field 'image' is longer than {MAX_BASE64 >> 20} MiB of base64")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"field 'image' is no base64 ({error})") from None
    if not data:
        raise InputError("field 'image' holds no bytes")
    return data


def text_field(row: Mapping[str, Any], name: str, *, required: bool = True) -> str:
    """A field as text, numbers included; "" where an optional one is missing or null."""
    value = row.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        raise InputError(f"field {name!r} must be a {'non-empty ' if required else ''}string")
    return value
