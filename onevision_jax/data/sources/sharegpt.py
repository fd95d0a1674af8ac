"""LLaMA-Factory's sharegpt files: `messages` of user and assistant, `images` as a list of paths.

This is the form R1-Onevision was trained from (role and content as tags). Files with the default
tags of LLaMA-Factory (`conversations` of human and gpt, from and value) are read too. Paths of
images start at the file's folder unless another is given, as with LLaMA-Factory's `media_dir`.
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

NAME = "sharegpt"


def read_row(row: Mapping[str, Any], folder: str, spare_id: str) -> Dialogue:
    """The dialogue of a row; raises `Rejected`."""
    if "messages" in row or "conversations" not in row:
        turns = read_turns(row, "messages", ("role", "content"), "user", {"assistant"})
    else:
        turns = read_turns(row, "conversations", ("from", "value"), "human", {"gpt"})
    question, response, system = turns
    repairs = ("system prompt",) * (system or bool(row.get("system")))
    image = one_image(row.get("images"), folder)
    return Dialogue(row_id(row) or spare_id, image, question, response, NAME, "", repairs)


def open_sharegpt(path: str, image_folder: str | None = None) -> ConversationSource:
    """The rows of a file, of a folder's files, or of what a pattern matches."""
    paths = find_files(path, (".json", ".jsonl"))
    return ConversationSource(JsonRows(paths), read_row, image_folder)
