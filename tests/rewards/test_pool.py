"""Workers that hang or die are killed, and only the guilty item suffers."""

import os
import signal
import time

import pytest

from onevision_jax.rewards import GraderPool, Item, grade
from onevision_jax.rewards.pool import Worker, WorkerLost


def items(count: int) -> list[Item]:
    return [Item(f"<answer>{n}</answer>", str(n - n % 3), "number") for n in range(count)]


def test_the_pool_agrees_with_the_call():
    rows = [
        *items(200),
        Item("<answer>2</answer>", "B", "choice", ("1", "2")),
        Item("", "5", "text"),
    ]
    with GraderPool(num_workers=2) as pool:
        pooled = pool.grade_many(rows)
    assert pooled == [
        grade(
            row.response,
            row.gold,
            answer_kind=row.answer_kind,
            choices=row.choices,
            finish_reason=row.finish_reason,
        )
        for row in rows
    ]


def test_a_worker_that_hangs_is_killed():
    """SIGSTOP stands for a grader that never returns."""
    worker = Worker()
    process = worker.start()
    try:
        os.kill(process.pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(WorkerLost, match="deadline"):
            worker.ask(items(3), seconds=0.5)
        assert time.monotonic() - start < 5
        assert process.poll() == -signal.SIGKILL
        assert [g.verdict for g in worker.ask(items(3), seconds=30)] == [
            "correct",
            "wrong",
            "wrong",
        ]
    finally:
        worker.kill()


def test_a_worker_that_dies_is_replaced():
    with GraderPool(num_workers=1, timeout_seconds=30) as pool:
        assert len(pool.grade_many(items(5))) == 5
        worker = pool.idle.get()
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        pool.idle.put(worker)
        assert [g.verdict for g in pool.grade_many(items(2))] == ["correct", "wrong"]


def test_only_the_guilty_item_fails():
    """A worker that stalls whenever it meets one item: its neighbours are still graded."""

    class Moody(Worker):
        def ask(self, items, seconds):
            if any(item.gold == "stall" for item in items):
                os.kill(self.start().pid, signal.SIGSTOP)
            return super().ask(items, seconds)

    with GraderPool(num_workers=1, timeout_seconds=1.0) as pool:
        pool.idle.get()
        pool.idle.put(Moody())
        pool.grade_many(items(1))
        graded = pool.grade_many([items(1)[0], Item("x", "stall", "text"), items(2)[1]])
    assert [g.verdict for g in graded] == ["correct", "grader_failed", "wrong"]


def test_large_items_cross_the_pipe():
    big = Item("x" * 3_000_000 + "<answer>5</answer>", "5", "number")
    with GraderPool(num_workers=1, timeout_seconds=30) as pool:
        assert [g.verdict for g in pool.grade_many([big, big])] == ["correct", "correct"]
