"""Rows that hold a conversation, read as records: published layouts through `data.cleaning`."""

import base64
import binascii
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onevision_jax.data.cleaning import Cleaned, Dialogue, clean
from onevision_jax.data.record import MAX_IMAGE_BYTES, Record
from onevision_jax.data.remote import plain
from onevision_jax.data.source import Place, Rejected, read_file
from onevision_jax.data.sources.json_rows import JsonRows
from onevision_jax.data.sources.parquet import ParquetRows

Layout = Callable[[Mapping[str, Any], str, str], Dialogue]
"""(row, folder of its images, id where the row has none) -> dialogue; raises `Rejected`."""


@dataclasses.dataclass(frozen=True)
class ConversationSource:
    """The rows of one published layout. Rows that cannot be cleaned raise `Rejected`."""

    rows: JsonRows | ParquetRows
    layout: Layout = dataclasses.field(repr=False)
    image_folder: str | None = None  # where paths of images start; None = beside their file
    needs_reasoning: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Record:
        return self.read(index).record

    def read(self, index: int) -> Cleaned:
        """The record of a number, and what was repaired to make it."""
        where = self.rows.locate(index)
        id = ""
        try:
            row = self.rows.read(index)
            id = row_id(row)
            folder = plain(self.image_folder or self.rows.folder(index))
            spare = f"{Path(where.file).stem}-{where.row.split()[1]}"
            return clean(self.layout(row, folder, spare), self.needs_reasoning)
        except Rejected as rejected:
            raise Rejected(rejected.reason, f"{where}: {rejected}", id) from None

    def locate(self, index: int) -> Place:
        """The file and row of a number."""
        return self.rows.locate(index)

    def fingerprint(self) -> dict[str, int]:
        return self.rows.fingerprint()


def row_id(row: Mapping[str, Any]) -> str:
    """The row's id, a string or a whole number; "" without one."""
    id = row.get("id")
    return str(id) if isinstance(id, str | int) and not isinstance(id, bool) else ""


def read_turns(
    row: Mapping[str, Any], field: str, keys: tuple[str, str], human: str, assistants: set[str]
) -> tuple[str, str, bool]:
    """(question, response, whether a system prompt was left out) of a list of turns.

    keys: the names of a turn's role and text. A number as response counts as its text.
    """
    turns = row.get(field)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Rejected("row", f"field {field!r} is missing or no list of turns")
    said = [(turn.get(keys[0]), turn.get(keys[1])) for turn in turns]
    system = bool(said) and said[0][0] == "system"
    said = said[system:]
    roles = [role for role, _ in said]
    if len(said) != 2 or roles[0] != human or roles[1] not in assistants:
        shown = ", ".join(str(role)[:20] for role in roles[:4]) or "none"
        raise Rejected("turns", f"the turns are {shown}; expected {human}, {max(assistants)}")
    question, response = said[0][1], said[1][1]
    if isinstance(response, int | float) and not isinstance(response, bool):
        response = str(response)
    return _text(human, question), _text(roles[1], response), system


def _text(role: str, text: Any) -> str:
    if not isinstance(text, str):
        raise Rejected("row", f"the turn of {role} is {type(text).__name__}, not a string")
    return text


def one_image(value: Any, folder: str) -> bytes | None:
    """The image of a path, a list of one path, or nothing; several are refused."""
    if isinstance(value, list):
        if len(value) > 1:
            raise Rejected("images", f"the row has {len(value)} images; a record holds one")
        value = value[0] if value else None
    return None if value is None else read_file(value, folder)


def decode_image(value: Any) -> tuple[bytes | None, list[str]]:
    """The bytes of an image in base64, perhaps with a data-URI prefix, and the repairs."""
    if isinstance(value, dict):  # The image type of Hugging Face's parquet files.
        value = value.get("bytes")
    if value is None:
        return None, []
    repairs = []
    if isinstance(value, str):
        if len(value) > MAX_IMAGE_BYTES * 3 // 2:
            raise Rejected("image file", f"the image is larger than {MAX_IMAGE_BYTES >> 20} MiB")
        if value[:5].lower() == "data:":
            head, comma, value = value.partition(",")
            if not comma or not head.lower().endswith(";base64"):
                raise Rejected("image file", "the data URI of the image is not in base64")
            repairs.append("data-URI prefix")
        try:
            value = base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise Rejected("image file", f"the image is no base64 text ({error})") from None
    if not isinstance(value, bytes):
        raise Rejected("image file", f"the image is {type(value).__name__}; expected base64 text")
    if not value:
        raise Rejected("image file", "the image is empty")
    if len(value) > MAX_IMAGE_BYTES:
        raise Rejected("image file", f"the image is larger than {MAX_IMAGE_BYTES >> 20} MiB")
    return value, repairs
