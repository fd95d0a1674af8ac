"""Many requests, a few at a time: repeated where that can help, stored before they are used."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from onevision_jax.endpoint.accounting import Accounting
from onevision_jax.endpoint.cache import ReplyCache, Stored
from onevision_jax.endpoint.pace import Pace, backoff
from onevision_jax.endpoint.reply import Reply
from onevision_jax.endpoint.request import ChatRequest
from onevision_jax.endpoint.send import Failure, open_client, send
from onevision_jax.endpoint.settings import EndpointConfig, read_key
from onevision_jax.errors import InputError

Refused = Literal["stop", "skip"]


def complete(
    requests: Iterable[ChatRequest],
    config: EndpointConfig,
    cache: ReplyCache,
    progress: Callable[[int], None] = lambda done: None,
    *,
    refused: Refused = "stop",
) -> tuple[dict[str, Reply], Accounting]:
    """The reply to every request, by its id, and what was asked and spent.

    What the cache holds is not asked again. Requests are drawn from the iterable as they are
    needed, so their images are not all in memory. progress(done) is called after each answer.

    refused: what happens when the server rejects a request for what is in it (status 400, 413, 415
        or 422): `stop`, or `skip` it, count it and leave it out of the replies.

    Raises InputError, once the requests under way have ended, when one of them cannot be answered;
    the answers that came are kept, and the same call goes on from there.
    """
    run = _Run(config, cache, progress, refused)
    asyncio.run(run.all(iter(requests)))
    if run.error is not None:
        raise run.error
    return run.replies, run.accounting


class _Run:
    """The state of one `complete`; everything happens in one thread."""

    def __init__(
        self,
        config: EndpointConfig,
        cache: ReplyCache,
        progress: Callable[[int], None],
        refused: Refused,
    ):
        self.config = config
        self.cache = cache
        self.progress = progress
        self.refused = refused
        self.api_key = read_key(config.url)
        self.pace = Pace(config.requests_per_minute)
        self.accounting = Accounting.of(config)
        self.replies: dict[str, Reply] = {}
        self.error: Exception | None = None
        self.client: Any = None
        self.busy: dict[str, asyncio.Lock] = {}  # by key: equal requests wait for one another
        self.counted: set[str] = set()  # keys; equal requests are charged once
        self.done = 0

    async def all(self, requests: Iterator[ChatRequest]) -> None:
        """As many workers as requests may be under way."""
        async with (
            open_client(self.config, self.api_key) as self.client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(self.config.concurrency):
                group.create_task(self.work(requests))

    async def work(self, requests: Iterator[ChatRequest]) -> None:
        """Takes requests until there are none left or something is wrong."""
        while self.error is None:
            try:
                request = next(requests, None)
                if request is None:
                    return
                await self.one(request)
            except Exception as error:  # The others end in peace; `complete` raises the first.
                self.error = self.error or error

    async def one(self, request: ChatRequest) -> None:
        """The reply to one request, from the cache or from the server."""
        key = request.key(self.config.model)
        async with self.busy.setdefault(key, asyncio.Lock()):
            stored = self.cache.find(key)
            if stored is None:
                stored = await self.ask(request, key)
            else:
                self.accounting.cached += 1
        self.done += 1
        if stored is not None:
            if key not in self.counted:
                self.accounting.add(stored)
                self.counted.add(key)
            self.replies[request.id] = stored.reply
        self.progress(self.done)

    async def ask(self, request: ChatRequest, key: str) -> Stored | None:
        """Sends until there is an answer or no hope; None where a refusal is let pass."""
        body = request.body(self.config.model)
        for attempt in range(self.config.retries + 1):
            try:
                return await self.send(body, key, repeat=attempt > 0)
            except Failure as failure:
                if failure.refused and self.refused == "skip":
                    self.accounting.refused += 1
                    return None
                wait = self.wait(failure, attempt)
                if wait is None:
                    raise self.give_up(request, failure, attempt + 1) from None
                if failure.busy:
                    self.pace.pause(wait)
            await asyncio.sleep(wait)
        raise AssertionError("unreachable: the last attempt has no wait")

    async def send(self, body: dict[str, Any], key: str, *, repeat: bool) -> Stored:
        """One send, marked on disk before it goes out."""
        await self.pace.wait()
        lost = self.cache.sends(key)
        self.cache.mark(key, lost + 1)
        self.accounting.requests += 1
        self.accounting.retries += repeat or lost > 0
        try:
            reply = await send(self.client, self.config, body, self.api_key)
        except Failure as failure:
            if not failure.charged:
                self.cache.mark(key, lost)
            raise
        # A slow disk must not hold up the others' clocks.
        return await asyncio.to_thread(self.cache.add, key, self.config.model, reply)

    def wait(self, failure: Failure, attempt: int) -> float | None:
        """Seconds until the next attempt, None where there is none."""
        if not failure.again or attempt == self.config.retries or self.error is not None:
            return None
        wait = backoff(attempt, self.config.backoff, self.config.longest_wait)
        if failure.wait is not None:
            wait = max(wait, failure.wait)
        return wait if wait <= self.config.longest_wait else None

    def give_up(self, request: ChatRequest, failure: Failure, sends: int) -> InputError:
        """The sentence for the user."""
        text = f"{request.id}: {failure.sentence}"
        if failure.again:
            text += f", sent {sends} times" if sends > 1 else ", sent once"
            if failure.wait is not None and failure.wait > self.config.longest_wait:
                text += f"; the server asks to wait {failure.wait:.0f} s"
        kept = len(self.replies)
        return InputError(f"{text}; {kept} answers are kept, run the same command to go on")
