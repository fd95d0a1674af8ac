"""One request: the conversation, how it is decoded, and the key its answer is stored under."""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from onevision_jax.errors import InputError

KEY_VERSION = 1  # raise it when what is sent for the same fields changes
# First bytes of the image files that chat servers read.
SIGNATURES = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
RESERVED = ("model", "messages", "temperature", "max_tokens", "stream", "n")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """A conversation that ends with the user's turn.

    messages: as `Processor` takes them: `content` is a string or a list of
        `{"type": "text", "text": str}` and `{"type": "image", "image": bytes}`.
    options: further fields of the request's body, such as `top_p`, `seed`, `response_format`.
    sample: number of the draw, where one prompt is to be answered several times.
    """

    id: str  # for messages to the user
    messages: Sequence[Mapping[str, Any]]
    temperature: float = 0.0
    max_tokens: int = 512
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sample: int = 0

    def body(self, model: str) -> dict[str, Any]:
        """The JSON that is sent, images as data URIs."""
        taken = sorted(set(self.options) & set(RESERVED))
        if taken:
            raise InputError(f"options holds {taken[0]!r}, which has a field of its own")
        return {
            "model": model,
            "messages": [_convert(message, _as_uri) for message in self.messages],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            **self.options,
        }

    def key(self, model: str) -> str:
        """SHA-256, in hex, of everything that decides the answer; images by their bytes."""
        described = {
            "version": KEY_VERSION,
            "model": model,
            "messages": [_convert(message, _as_digest) for message in self.messages],
            "temperature": float(self.temperature),
            "max_tokens": self.max_tokens,
            "options": dict(self.options),
            "sample": self.sample,
        }
        text = json.dumps(described, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def media_type(data: bytes) -> str | None:
    """The type of an image file that servers read, None for any other bytes."""
    for name, starts in SIGNATURES.items():
        if data.startswith(starts) and (name != "image/webp" or data[8:12] == b"WEBP"):
            return name
    return None


def _convert(message: Mapping[str, Any], image: Any) -> dict[str, Any]:
    content = message["content"]
    if not isinstance(content, str):
        content = [image(part["image"]) if part["type"] == "image" else part for part in content]
    return {"role": message["role"], "content": content}


def _as_uri(data: bytes) -> dict[str, Any]:
    kind = media_type(data)
    if kind is None:
        raise InputError("the image is no PNG, JPEG, GIF or WebP file; convert it")
    text = base64.b64encode(data).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{text}"}}


def _as_digest(data: bytes) -> dict[str, Any]:
    return {"type": "image", "sha256": hashlib.sha256(data).hexdigest()}
