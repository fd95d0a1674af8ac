"""Grading in processes that can be killed.

The strict grader is bounded by design; this is the second lock, and what a slower extension (a
symbolic library, a judge) runs behind. Each worker is a fresh interpreter that reads one JSON line
per batch and answers with one; a batch that misses its deadline costs the worker its life, and its
items are tried again one by one, so that only the guilty one becomes `grader_failed`.

Plain subprocesses rather than `multiprocessing`: nothing is pickled, the caller's main module is
not imported again, and no state of an accelerator is forked.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from onevision_jax.rewards.grade import AnswerKind, Grade, Verdict, grade
from onevision_jax.rewards.official import PROTOCOLS

BATCH = 64
START_SECONDS = 60.0
PROGRAM = "from onevision_jax.rewards.pool import serve; serve()"


@dataclass(frozen=True)
class Item:
    """What one grading needs.

    protocol: a key of `PROTOCOLS` for a published protocol, which reads choices and facts (JSON
    values); "" for the strict grader, which reads answer kind, choices and finish reason.
    """

    response: str
    gold: str
    answer_kind: AnswerKind
    choices: tuple[str, ...] = ()
    finish_reason: str | None = None
    protocol: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class WorkerLost(RuntimeError):
    """The worker missed its deadline or died; it has been killed."""


class Worker:
    """One grading process, started when first used."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.pending = b""
        self.prepared: set[str] = set()

    def start(self) -> subprocess.Popen[bytes]:
        """A ready process; the wait for its start is not charged to an item."""
        if self.process is None:
            root = str(Path(__file__).parents[2])
            path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
            )
            os.set_blocking(self.pipes()[0], False)
            self.receive(time.monotonic() + START_SECONDS)
        return self.process

    def pipes(self) -> tuple[int, int]:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        return self.process.stdin.fileno(), self.process.stdout.fileno()

    def ask(self, items: Sequence[Item], seconds: float) -> list[Grade]:
        """Grades of the items; raises WorkerLost after `seconds`."""
        self.start()
        for name in {item.protocol for item in items} - self.prepared:
            if name not in PROTOCOLS or PROTOCOLS[name].prepare is None:
                continue
            self.send(json.dumps(name).encode() + b"\n", time.monotonic() + START_SECONDS)
            self.receive(time.monotonic() + START_SECONDS)
            self.prepared.add(name)
        deadline = time.monotonic() + seconds
        self.send(json.dumps([asdict(item) for item in items]).encode() + b"\n", deadline)
        return [Grade(**row) for row in json.loads(self.receive(deadline))]

    def send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self.wait(self.pipes()[0], selectors.EVENT_WRITE, deadline)
            try:
                view = view[os.write(self.pipes()[0], view) :]
            except BrokenPipeError as error:
                self.kill()
                raise WorkerLost("the grading process died") from error

    def receive(self, deadline: float) -> bytes:
        while b"\n" not in self.pending:
            self.wait(self.pipes()[1], selectors.EVENT_READ, deadline)
            data = os.read(self.pipes()[1], 1 << 20)
            if not data:
                self.kill()
                raise WorkerLost("the grading process died")
            self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        return line

    def wait(self, descriptor: int, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                self.kill()
                raise WorkerLost("the grading process missed its deadline and was killed")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
        self.process, self.pending = None, b""
        self.prepared = set()


class GraderPool:
    """Grades many items in `num_workers` processes, each item in at most `timeout_seconds`.

    A context manager; usable from any thread. Results keep the order of the items.
    """

    def __init__(self, num_workers: int = 2, timeout_seconds: float = 5.0) -> None:
        self.timeout_seconds = timeout_seconds
        self.threads = ThreadPoolExecutor(num_workers, thread_name_prefix="grader")
        self.idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for _ in range(num_workers):
            self.idle.put(Worker())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes."""
        self.threads.shutdown()
        while not self.idle.empty():
            self.idle.get().kill()

    def grade_many(self, items: Iterable[Item]) -> list[Grade]:
        """One grade per item, in order."""
        rows = list(items)
        batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
        return [one for batch in self.threads.map(self._batch, batches) for one in batch]

    def _batch(self, items: list[Item]) -> list[Grade]:
        worker = self.idle.get()
        try:
            try:
                return worker.ask(items, self.timeout_seconds)
            except WorkerLost:
                return [self._one(worker, item) for item in items]
        finally:
            self.idle.put(worker)

    def _one(self, worker: Worker, item: Item) -> Grade:
        try:
            return worker.ask([item], self.timeout_seconds)[0]
        except WorkerLost as error:
            verdict: Verdict = "grader_failed"
            return Grade(verdict, None, str(error))


def serve() -> None:
    """The worker's loop: a line of items in, a line of grades out, until the input closes.

    A line that is a name loads what that protocol needs; its answer is a line, too.
    """
    out = sys.stdout.buffer
    out.write(b"ready\n")
    out.flush()
    for line in sys.stdin.buffer:
        rows = json.loads(line)
        if isinstance(rows, str):
            load(rows)
            rows = []
        grades = [asdict(grade_item(Item(**row))) for row in rows]
        out.write(json.dumps(grades).encode() + b"\n")
        out.flush()


def load(protocol: str) -> None:
    """What the protocol's first grading would load; an error comes again with every item."""
    found = PROTOCOLS.get(protocol)
    if found is not None and found.prepare is not None:
        with contextlib.suppress(Exception):
            found.prepare()


def grade_item(item: Item) -> Grade:
    """By the item's protocol; an error inside a published one becomes `grader_failed`."""
    choices = tuple(item.choices)
    if not item.protocol:
        return grade(
            item.response,
            item.gold,
            answer_kind=item.answer_kind,
            choices=choices,
            finish_reason=item.finish_reason,
        )
    try:
        protocol = PROTOCOLS[item.protocol]
        return protocol.grade(item.response, item.gold, choices=choices, facts=item.facts)
    except Exception as error:  # Not hidden: it becomes a verdict of its own, with its cause.
        return Grade("grader_failed", None, f"{type(error).__name__}: {error}"[:300])
