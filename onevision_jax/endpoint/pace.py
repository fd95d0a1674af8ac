"""When the next send may go out: the rate limit, and waits between repeats."""

import asyncio
import datetime
import email.utils
import random
import time
from collections.abc import Mapping

MINUTE = 60.0


class Pace:
    """Even spacing of sends, and a pause for all of them after "too many requests"."""

    def __init__(self, requests_per_minute: float | None):
        self._gap = MINUTE / requests_per_minute if requests_per_minute else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        """Returns when this send may go out."""
        while True:
            now = time.monotonic()
            if now >= self._next:
                self._next = now + self._gap
                return
            await asyncio.sleep(self._next - now)

    def pause(self, seconds: float) -> None:
        """Nothing goes out before that time is over."""
        self._next = max(self._next, time.monotonic() + seconds)


def backoff(attempt: int, base: float, longest: float) -> float:
    """Seconds before repeat `attempt` (0 is the first): doubling, half of it by chance."""
    wait = min(longest, base * 2.0 ** min(attempt, 30))
    return wait * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: `retry-after-ms`, or `Retry-After` (RFC 9110 10.2.3)."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        # A number is digits here: "inf" or "1e9" is no delay.
        if text.replace(".", "", 1).isdigit() and text.isascii() and len(text) < 12:
            return float(text) * unit
    try:
        when = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())
