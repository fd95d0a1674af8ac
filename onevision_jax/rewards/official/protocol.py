"""What a published protocol is."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any
from typing import Protocol as Typing

from onevision_jax.rewards.grade import Grade


class OfficialGrader(Typing):
    """One response against one gold.

    facts: what the protocol needs beside them, as the benchmark's row holds it: JSON values only,
    because grading happens in another process.
    """

    def __call__(
        self, response: str, gold: str, *, choices: tuple[str, ...], facts: Mapping[str, Any]
    ) -> Grade: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """A published protocol; the texts stand in results.json."""

    grade: OfficialGrader
    extractor: str  # how the answer is found, in one line
    equality: str  # what it is compared by, in one line
    version: str  # name and number; raise it with every change that can move a verdict
    # Loads what the first grading would load, so that no item is charged for it.
    prepare: Callable[[], object] | None = None
