"""How far a conversion is, and what it took."""

import contextlib
import dataclasses
import re
import threading
from collections.abc import Callable
from pathlib import Path

# Called after each piece: bytes done, bytes in all, what was done last.
Progress = Callable[[int, int, str], None]


def silent(done_bytes: int, total_bytes: int, name: str) -> None:
    """Shows nothing."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What a conversion did."""

    tensors: int  # in the Hugging Face folder
    parameters: int
    bytes: int  # written
    seconds: float
    notes: tuple[str, ...] = ()


_ANONYMOUS = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)


def anonymous_bytes() -> int | None:
    """Memory of this process that no file backs; None where the system does not tell (not Linux).

    Memory-mapped files are left out: the system drops those pages whenever it needs the room.
    """
    with contextlib.suppress(OSError):
        if found := _ANONYMOUS.search(Path("/proc/self/status").read_text()):
            return int(found[1]) * 1024
    return None


class PeakMemory:
    """The largest `anonymous_bytes` seen inside a `with`, sampled by a thread."""

    def __init__(self, interval: float = 0.01):
        """interval: seconds between samples."""
        self.bytes = anonymous_bytes()
        self.start_bytes = self.bytes
        self._interval = interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._done.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        now = anonymous_bytes()
        if now is not None and self.bytes is not None:
            self.bytes = max(self.bytes, now)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()
        self._sample()
