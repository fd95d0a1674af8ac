"""Answers on disk, a file each, under the SHA-256 of what was asked.

An answer is flushed to the disk before it is used, so a kill at any moment loses none that arrived.
Beside it lies, while a request is under way, a mark that counts its sends: a mark without an answer
is a request that may have been charged and has to be sent again.
"""

import dataclasses
import json
import os
import uuid
from pathlib import Path
from typing import Any

from onevision_jax.endpoint.reply import Reply
from onevision_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """An answer and how many earlier sends of it went unanswered."""

    reply: Reply
    lost: int


class ReplyCache:
    """A folder of answers; several runs may use it one after the other."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def find(self, key: str) -> Stored | None:
        """The answer stored under a key; raises InputError where its file is damaged."""
        path = self._path(key)
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            return Stored(reply=Reply(**row["reply"]), lost=int(row["lost"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path} is no stored answer; remove it to ask again") from None

    def add(self, key: str, model: str, reply: Reply) -> Stored:
        """Stores an answer for good, and only then takes its mark away."""
        stored = Stored(reply=reply, lost=max(0, self.sends(key) - 1))
        row = {"model": model, "lost": stored.lost, "reply": dataclasses.asdict(reply)}
        self._write(self._path(key), row, flush=True)
        self._mark(key).unlink(missing_ok=True)
        return stored

    def sends(self, key: str) -> int:
        """Sends so far that may have been charged, the one under way included."""
        try:
            row = json.loads(self._mark(key).read_text(encoding="utf-8"))
            return int(row["sends"])
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self._mark(key)} is damaged; remove it") from None

    def mark(self, key: str, sends: int) -> None:
        """Notes the number of such sends, before the next one goes out."""
        if sends:
            # Not flushed: it outlives a kill; after a power cut a count may be one too low.
            self._write(self._mark(key), {"sends": sends}, flush=False)
        else:
            self._mark(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"

    def _mark(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.sent.json"

    def _write(self, path: Path, row: dict[str, Any], *, flush: bool) -> None:
        """Whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        with scratch.open("w", encoding="utf-8") as file:
            json.dump(row, file, ensure_ascii=False)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        scratch.replace(path)
        if flush:
            _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """A new name is durable only once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
