"""Which server, and how hard it may be asked. The key comes from the environment, and stays."""

import dataclasses
import ipaddress
import math
import os
from urllib.parse import urlsplit

from onevision_jax.errors import InputError

KEY_VARIABLE = "OPENAI_API_KEY"
SHORTEST_SECRET = 8  # A placeholder such as "x" is not hidden: it would blot out real text.


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """An OpenAI-compatible server and the limits of this client.

    Raises InputError for a URL or a number that cannot be used.
    """

    url: str  # up to and with /v1
    model: str
    concurrency: int = 8  # requests under way at a time
    requests_per_minute: float | None = None  # sends, repeats included; None = no limit
    retries: int = 5  # repeats of one request, after its first send
    timeout: float = 300.0  # seconds from a send to the last byte of its answer
    backoff: float = 1.0  # seconds before the first repeat; it doubles, up to `longest_wait`
    longest_wait: float = 120.0  # seconds; a server that asks for more ends the run
    price_in: float | None = None  # per million prompt tokens, in any currency
    price_out: float | None = None  # per million generated tokens
    max_bytes: int = 4 << 20  # of one answer

    def __post_init__(self) -> None:
        check_url(self.url)
        if not self.model.strip():
            raise InputError("the model's name is empty; give the name that the server knows")
        for name in ("concurrency", "timeout", "backoff", "longest_wait", "max_bytes"):
            _check(name, getattr(self, name), above=True)
        _check("requests_per_minute", self.requests_per_minute, above=True)
        for name in ("retries", "price_in", "price_out"):
            _check(name, getattr(self, name), above=False)

    @property
    def address(self) -> str:
        """Where chat completions are asked."""
        return self.url.rstrip("/") + "/chat/completions"


def _check(name: str, value: float | None, *, above: bool) -> None:
    if value is None:
        return
    if not math.isfinite(value) or value < 0 or (above and value == 0):
        raise InputError(f"{name} is {value}; give a number {'above' if above else 'from'} 0")


def check_url(url: str) -> None:
    """Raises InputError unless it is an http or https address that is safe to send a key to."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # A bad port shows only when it is read.
    except ValueError:
        raise InputError("the endpoint's URL cannot be read; give http(s)://HOST:PORT/v1") from None
    if parts.username is not None or parts.password is not None:
        # The URL is not repeated here: it may hold a secret.
        raise InputError(
            f"the endpoint's URL holds a user name or password; put the key into {KEY_VARIABLE}"
        )
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or " " in url:
        raise InputError(f"the endpoint {url!r} is no http or https URL; give http(s)://HOST/v1")
    if parts.query or parts.fragment:
        raise InputError(f"the endpoint {url!r} has a query or fragment; end it with the path")
    if parts.scheme == "http" and not _is_near(host):
        raise InputError(f"the endpoint {url!r} would be sent the key in clear text; use https")


def is_loopback(url: str) -> bool:
    """Whether the server is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_near(host: str) -> bool:
    """This machine, a private address, or a bare name of a local network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host


def read_key(url: str) -> str:
    """The key, "" where a loopback server needs none; raises InputError without its value."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key and not is_loopback(url):
        raise InputError(f"{KEY_VARIABLE} is not set; {urlsplit(url).hostname} wants a key in it")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"{KEY_VARIABLE} holds blanks or characters that no header may hold")
    return key


def hide(text: str, key: str) -> str:
    """The text without the key, should a server have repeated it."""
    return text.replace(key, "***") if len(key) >= SHORTEST_SECRET else text
