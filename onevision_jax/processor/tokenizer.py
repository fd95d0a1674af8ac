"""The folder's own tokenizer.json, through the `tokenizers` library.

Special tokens written in a text are parsed as such (as transformers does); no token is added in
front or behind. Nothing is downloaded.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tokenizers

from onevision_jax.errors import InputError
from onevision_jax.processor import folder

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Text to ids and back."""

    backend: tokenizers.Tokenizer
    """Truncation and padding switched off."""
    special_tokens: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Names a chat template may use, e.g. {"eos_token": "<|im_end|>"}."""
    stop_ids: tuple[int, ...] = ()
    """Ids that end an answer: generation_config.json, else the tokenizer's eos_token."""
    pad_id: int = 0
    """Id written into padding; masked, so its value never matters to the model."""

    @classmethod
    def from_folder(cls, path: str | pathlib.Path) -> "Tokenizer":
        """Reads tokenizer.json, tokenizer_config.json and generation_config.json of a folder.

        Raises:
            InputError: tokenizer.json is missing or damaged.
        """
        path = pathlib.Path(path)
        file = path / "tokenizer.json"
        text = folder.read_text(file)
        if text is None:
            raise InputError(f"{file} does not exist; copy the checkpoint's tokenizer.json there")
        try:
            backend = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # The library raises bare Exception.
            raise InputError(f"{file} is not a tokenizer file ({error}); replace it") from error
        backend.no_truncation()
        backend.no_padding()

        settings = folder.read_json(path / "tokenizer_config.json") or {}
        special_tokens = _special_tokens(settings)
        generation = folder.read_json(path / "generation_config.json") or {}
        stop_ids = _ids(generation.get("eos_token_id"), path / "generation_config.json")
        if not stop_ids and "eos_token" in special_tokens:
            eos = backend.token_to_id(special_tokens["eos_token"])
            stop_ids = () if eos is None else (eos,)
        pad = backend.token_to_id(special_tokens.get("pad_token", ""))
        return cls(backend, special_tokens, stop_ids, 0 if pad is None else pad)

    @property
    def vocab_size(self) -> int:
        """Ids in use, added tokens included (the embedding table may have more rows)."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> np.ndarray:
        """int32 [T] ids of a text; raises InputError for text that is not valid Unicode."""
        try:
            ids = self.backend.encode(text).ids
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(
                "the text holds a lone surrogate, which is not Unicode; decode it as UTF-8 first"
            ) from error
        return np.asarray(ids, np.int32)

    def decode(self, ids: Iterable[int] | np.ndarray, *, skip_special: bool = False) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD, unknown ids become nothing."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    def token_id(self, token: str) -> int:
        """The id of one token; raises InputError when the vocabulary does not have it."""
        found = self.backend.token_to_id(token)
        if found is None:
            raise InputError(f"tokenizer.json has no token {token!r}; use the checkpoint's own")
        return found

    def ids_of(self, *tokens: str) -> list[int]:
        """The ids of those of these tokens that the vocabulary has."""
        found = (self.backend.token_to_id(token) for token in tokens)
        return [token_id for token_id in found if token_id is not None]

    def token(self, token_id: int) -> str | None:
        """The token of an id in the vocabulary's own spelling, None for an unused id."""
        return self.backend.id_to_token(int(token_id))

    def stream(self, *, skip_special: bool = False) -> "TextStream":
        """A new incremental detokeniser."""
        return TextStream(self, skip_special=skip_special)


class TextStream:
    """Turns ids into text one at a time and never shows half a character.

    The pieces of `push` followed by `flush` concatenate to `decode` of all ids. A trailing U+FFFD
    may be the start of a character whose other bytes are still to come, so it is held back.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = False):
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._ids: list[int] = []  # Since the last complete character, and one piece of context.
        self._context = 0  # How many of them are context: already shown.
        self._shown = 0  # Characters of their text already shown.

    def push(self, token_id: int) -> str:
        """The text that the next id makes certain; often one token's, sometimes empty."""
        self._ids.append(int(token_id))
        text = self._decode(self._ids)
        complete = not text.endswith(REPLACEMENT)
        certain = text if complete else text[: -len(REPLACEMENT)]
        piece = certain[self._shown :]
        self._shown = max(self._shown, len(certain))
        if complete and piece:  # Forget what lies before this piece; keep the piece as context.
            self._ids = self._ids[self._context :]
            self._context = len(self._ids)
            self._shown = len(self._decode(self._ids))
        return piece

    def flush(self) -> str:
        """What was held back at the end; the stream then starts afresh."""
        piece = self._decode(self._ids)[self._shown :]
        self._ids, self._context, self._shown = [], 0, 0
        return piece

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special=self._skip_special)


def _special_tokens(settings: dict[str, Any]) -> dict[str, Any]:
    """The *_token entries of tokenizer_config.json, each spelt as a string or as an object."""
    found: dict[str, Any] = {}
    for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        value = settings.get(f"{name}_token")
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            found[f"{name}_token"] = value
    return found


def _ids(value: Any, file: pathlib.Path) -> tuple[int, ...]:
    """eos_token_id is one id, a list of ids, or absent."""
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise InputError(f"{file} has eos_token_id {value!r}; give an integer or a list of them")
    return tuple(ids)
