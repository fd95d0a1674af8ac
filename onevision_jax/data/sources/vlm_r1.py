"""VLM-R1's JSON lines: `id`, `image` (a path), `conversations` of human and gpt.

As its loader (`grpo_jsonl.py`) has it: the response is the bare answer, a string or a number,
perhaps inside <answer> tags; paths of images start at a folder given beside the file (here, unless
given, the file's own). Rows with several images are refused: a record holds one.
"""

from collections.abc import Mapping
from typing import Any

from onevision_jax.data.cleaning import Dialogue
from onevision_jax.data.sources.conversations import (
    ConversationSource,
    one_image,
    read_turns,
    row_id,
)
from onevision_jax.data.sources.files import find_files
from onevision_jax.data.sources.json_rows import JsonRows

NAME = "vlm-r1"


def read_row(row: Mapping[str, Any], folder: str, spare_id: str) -> Dialogue:
    """The dialogue of a row; raises `Rejected`."""
    question, response, system = read_turns(
        row, "conversations", ("from", "value"), "human", {"gpt", "assistant"}
    )
    image = one_image(row.get("image"), folder)
    repairs = ("system prompt",) * system
    return Dialogue(row_id(row) or spare_id, image, question, response, NAME, "", repairs)


def open_vlm_r1(path: str, image_folder: str | None = None) -> ConversationSource:
    """The rows of a file, of a folder's files, or of what a pattern matches."""
    paths = find_files(path, (".jsonl", ".json"))
    return ConversationSource(JsonRows(paths), read_row, image_folder)
