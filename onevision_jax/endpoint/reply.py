"""What a server says: an answer, read with suspicion, or the reason why there is none."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

QUOTE = 200  # characters of a server's own words in an error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer."""

    text: str
    reasoning: str = ""  # where a server parts the thinking from the answer
    finish_reason: str | None = None  # "length" where generation was cut
    prompt_tokens: int | None = None  # None where the server does not say
    completion_tokens: int | None = None


class BadReply(ValueError):
    """An answer with status 200 that cannot be used."""


def read_reply(body: bytes, *, stream: bool = False) -> Reply:
    """The first choice of a chat completion; raises BadReply saying what is wrong with it.

    stream: the body is a stream of events, which some servers send unasked (`transformers serve`
        4.57 knows nothing else).
    """
    try:
        found = _join_events(body) if stream else json.loads(body)
    except (ValueError, RecursionError):
        raise BadReply("the answer is no JSON, or only the beginning of it") from None
    if not isinstance(found, dict):
        raise BadReply("the answer is no JSON object")
    if found.get("error"):  # Some gateways report errors with status 200.
        raise BadReply(f"the server says: {error_text(found)}")
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise BadReply("the answer has no choices[0].message")
    usage = found.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    finish = choice.get("finish_reason")
    return Reply(
        text=_text(message),
        reasoning=_clean(message.get("reasoning_content") or message.get("reasoning")),
        finish_reason=finish if isinstance(finish, str) else None,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _join_events(body: bytes) -> dict[str, Any]:
    """The events of a stream as the one completion they are parts of; ValueError if it was cut."""
    lines = body.decode("utf-8", "replace").split("\n")
    datas = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    events = [json.loads(data) for data in datas if data and data != "[DONE]"]
    events = [event for event in events if isinstance(event, dict)]
    joined = {name: event[name] for event in events for name in ("usage", "error") if name in event}
    listed = [event["choices"] for event in events if isinstance(event.get("choices"), list)]
    choices = [some[0] for some in listed if some and isinstance(some[0], dict)]
    deltas = [delta for choice in choices if isinstance(delta := choice.get("delta"), dict)]
    message = {
        name: "".join(text for delta in deltas if isinstance(text := delta.get(name), str))
        for name in ("content", "reasoning_content")
    }
    finish = next((end for choice in choices if (end := choice.get("finish_reason"))), None)
    if not (finish or "[DONE]" in datas or joined.get("error")):
        raise ValueError("the stream has no end")
    return joined | {"choices": [{"message": message, "finish_reason": finish}]}


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(_clean(part) for part in parts)
    if isinstance(content, str):
        return _clean(content)
    if content is None and message.get("role", "assistant") == "assistant":
        return _clean(message.get("refusal"))  # Nothing, or a sentence that refuses.
    raise BadReply("the answer's message has no text")


def _clean(text: Any) -> str:
    """Text that a UTF-8 file can hold: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8") if isinstance(text, str) else ""


def _count(value: Any) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
    return value if usable else None


def error_text(found: Any) -> str:
    """The server's own words about an error, in one short line; "" where there are none."""
    error = found.get("error", found.get("detail")) if isinstance(found, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    if message is None and isinstance(found, dict):
        message = found.get("message")
    text = message if isinstance(message, str) else json.dumps(message) if message else ""
    shown = "".join(c if c.isprintable() else " " for c in _clean(text)[: 4 * QUOTE])
    return " ".join(shown.split())[:QUOTE]


def error_code(found: Any) -> str:
    """`error.code` or `error.type` of an answer, "" where there is none."""
    error = found.get("error") if isinstance(found, dict) else None
    codes = [error.get("code"), error.get("type")] if isinstance(error, dict) else []
    return next((code for code in codes if isinstance(code, str)), "")
