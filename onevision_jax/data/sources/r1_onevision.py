"""The published R1-Onevision rows: `id`, `image` in base64, `conversations` human and assistant.

Parquet as on the hub, or the same rows as a JSON array or JSON lines. Layout and defects: the
data set's card, and issue 5 of the authors' repository. The data set is Apache-2.0.
"""

from collections.abc import Mapping
from typing import Any

from onevision_jax.data.cleaning import Dialogue
from onevision_jax.data.source import Rejected
from onevision_jax.data.sources.conversations import (
    ConversationSource,
    decode_image,
    read_turns,
    row_id,
)
from onevision_jax.data.sources.files import find_files
from onevision_jax.data.sources.json_rows import JsonRows
from onevision_jax.data.sources.parquet import ParquetRows

NAME = "r1-onevision"
COLUMNS = ("id", "image", "conversations")


def read_row(row: Mapping[str, Any], folder: str, spare_id: str) -> Dialogue:
    """The dialogue of a row; raises `Rejected`. An image is never a path here."""
    del folder, spare_id
    id = row_id(row)
    if not id.strip():
        raise Rejected("row", "field 'id' is missing")
    if "image" not in row:
        raise Rejected("row", "field 'image' is missing")
    # Other exports of the same rows say "gpt", as LLaVA's files do.
    question, response, system = read_turns(
        row, "conversations", ("from", "value"), "human", {"assistant", "gpt"}
    )
    image, repairs = decode_image(row["image"])
    repairs += ["system prompt"] * system
    return Dialogue(id, image, question, response, NAME, "Apache-2.0", tuple(repairs))


def open_r1_onevision(path: str) -> ConversationSource:
    """The rows of a file, of a folder's files, or of what a pattern matches."""
    paths = find_files(path, (".parquet", ".jsonl", ".json"))
    parquet = [name for name in paths if name.endswith(".parquet")]
    rows = ParquetRows(tuple(parquet), COLUMNS) if parquet else JsonRows(paths)
    return ConversationSource(rows, read_row, needs_reasoning=True)
