"""What a run asked, and what its answers cost."""

import dataclasses
from typing import Any

from onevision_jax.endpoint.cache import Stored
from onevision_jax.endpoint.settings import EndpointConfig


@dataclasses.dataclass
class Accounting:
    """Counts of one run.

    `requests`, `cached` and `retries` are of this run: sends, answers found on disk, and sends that
    repeat an earlier one. The others are of all answers, whichever run got them, so a run that was
    killed ends with the same figures, but for what the kill itself lost.
    """

    price_in: float | None = None
    price_out: float | None = None
    requests: int = 0
    cached: int = 0
    retries: int = 0
    refused: int = 0  # requests the server will never answer, where the caller lets them pass
    possibly_charged_twice: int = 0  # sends without a usable answer that may cost all the same
    answers: int = 0
    unmetered: int = 0  # answers whose tokens the server did not say
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @classmethod
    def of(cls, config: EndpointConfig) -> "Accounting":
        """Empty counts with the prices of an endpoint."""
        return cls(price_in=config.price_in, price_out=config.price_out)

    @classmethod
    def sum(cls, first: "Accounting", second: "Accounting") -> "Accounting":
        """Both together; they have the same prices."""
        prices = ("price_in", "price_out")
        counts = [field.name for field in dataclasses.fields(cls) if field.name not in prices]
        total = {name: getattr(first, name) + getattr(second, name) for name in counts}
        return cls(price_in=first.price_in, price_out=first.price_out, **total)

    def add(self, stored: Stored) -> None:
        """Counts one answer."""
        self.answers += 1
        self.possibly_charged_twice += stored.lost
        used = (stored.reply.prompt_tokens, stored.reply.completion_tokens)
        if used[0] is None or used[1] is None:
            self.unmetered += 1
            return
        self.prompt_tokens += used[0]
        self.completion_tokens += used[1]

    @property
    def cost(self) -> float | None:
        """In the currency of the prices; None without prices, or where tokens are not known."""
        if self.price_in is None or self.price_out is None or self.unmetered:
            return None
        spent = self.price_in * self.prompt_tokens + self.price_out * self.completion_tokens
        return spent / 1e6

    def to_json(self) -> dict[str, Any]:
        """For results.json; tokens and cost are null where the server did not say all of them."""
        known = not self.unmetered
        return {
            "requests": self.requests,
            "cached": self.cached,
            "retries": self.retries,
            "refused": self.refused,
            "possibly_charged_twice": self.possibly_charged_twice,
            "prompt_tokens": self.prompt_tokens if known else None,
            "completion_tokens": self.completion_tokens if known else None,
            "cost": self.cost,
        }
