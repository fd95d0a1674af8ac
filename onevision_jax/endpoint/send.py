"""One request over the wire, once: its answer, or what went wrong and whether to repeat it."""

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from onevision_jax.endpoint.pace import retry_after
from onevision_jax.endpoint.reply import BadReply, Reply, error_code, error_text, read_reply
from onevision_jax.endpoint.settings import KEY_VARIABLE, EndpointConfig, hide, is_loopback
from onevision_jax.errors import InputError

CONNECT_SECONDS = 20.0
NOT_CHARGED = (429, 500, 503)  # Other 5xx come from a gateway whose backend may have answered.
AGAIN = (408, 409, 425, 429)  # and every 5xx
REFUSED = (400, 413, 415, 422)  # about this request; the next one may pass
REMEDIES = {
    401: f"check the key in {KEY_VARIABLE}",
    402: "the account has no credit",
    403: f"the key in {KEY_VARIABLE} may not use this model",
    404: "check the URL, which ends with /v1 mostly, and the model's name",
    405: "check the URL, which ends with /v1 mostly",
}


@dataclasses.dataclass(eq=False, kw_only=True)
class Failure(Exception):
    """One send without a usable answer."""

    sentence: str
    again: bool  # whether a repeat can help
    charged: bool  # whether it may be charged all the same
    wait: float | None = None  # seconds the server asks for
    busy: bool = False  # "too many requests": all wait
    refused: bool = False  # this request alone is at fault


def import_httpx() -> ModuleType:
    """The HTTP library, or InputError naming the extra."""
    try:
        import httpx
    except ImportError:
        raise InputError(
            "asking an endpoint needs httpx; run pip install 'onevision-jax[endpoint]'"
        ) from None
    return httpx


def open_client(config: EndpointConfig, key: str) -> Any:
    """An httpx.AsyncClient. Redirects are not followed: the key goes to one address only."""
    httpx = import_httpx()
    # Encodings are declined, so that a small body cannot unpack into a huge one.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    limits = httpx.Limits(max_connections=config.concurrency)
    timeout = httpx.Timeout(config.timeout, connect=min(CONNECT_SECONDS, config.timeout), pool=None)
    # A proxy of the environment is not for this machine's own servers.
    trust = not is_loopback(config.url)
    return httpx.AsyncClient(headers=headers, limits=limits, timeout=timeout, trust_env=trust)


async def send(client: Any, config: EndpointConfig, body: Mapping[str, Any], key: str) -> Reply:
    """The answer; raises Failure."""
    httpx = import_httpx()
    try:
        # httpx limits every single read; a server that trickles needs a limit of the whole.
        async with asyncio.timeout(config.timeout):
            async with client.stream("POST", config.address, json=body) as response:
                data = await _read(response, config.max_bytes)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        text = f"no connection to {config.url} ({_words(error)})"
        raise Failure(sentence=text, again=True, charged=False) from None
    except (TimeoutError, httpx.TimeoutException):
        text = f"no answer within {config.timeout:g} s"
        raise Failure(sentence=text, again=True, charged=True) from None
    except httpx.TransportError as error:
        text = f"the connection broke ({_words(error)})"
        raise Failure(sentence=text, again=True, charged=True) from None
    except BadReply as error:
        raise Failure(sentence=str(error), again=True, charged=True) from None
    if response.status_code != 200:
        raise _refusal(response.status_code, response.headers, data, key)
    kind = response.headers.get("content-type", "")
    return _reply(data, key, stream=kind.startswith("text/event-stream"))


async def _read(response: Any, limit: int) -> bytes:
    """The body as sent, up to `limit` bytes."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise BadReply(f"the answer is encoded as {encoding[:20]!r}, which was not asked for")
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > limit:
            raise BadReply(f"the answer is longer than {limit} bytes")
    return bytes(data)


def _reply(data: bytes, key: str, *, stream: bool) -> Reply:
    try:
        found = read_reply(data, stream=stream)
    except BadReply as error:
        sentence = hide(str(error), key)
        raise Failure(sentence=sentence, again=True, charged=True) from None
    text, reasoning = hide(found.text, key), hide(found.reasoning, key)
    return dataclasses.replace(found, text=text, reasoning=reasoning)


def _refusal(status: int, headers: Mapping[str, str], data: bytes, key: str) -> Failure:
    """An answer with an error's status, as the sentence a user reads."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    said = hide(error_text(found), key)
    parts = [f"the server answers {status}", f" ({said})" if said else ""]
    if status in REMEDIES:
        parts.append(f": {REMEDIES[status]}")
    elif 300 <= status < 400:
        parts.append(": it is at another address; give that one")
    spent = error_code(found) == "insufficient_quota"  # 429 as well, but waiting does not help.
    return Failure(
        sentence="".join(parts),
        again=(status in AGAIN or status >= 500) and not spent,
        charged=status >= 500 and status not in NOT_CHARGED,
        wait=retry_after(headers),
        busy=status == 429,
        refused=status in REFUSED,
    )


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:120]
