"""Killed for good at random points and gone on with: the same batches, byte for byte.

Processes are ended by SIGKILL while they, and the workers they started, are busy; what survives is
the state they saved last. Then the same with 1, 2 and 4 processes that take over from each other.
"""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from onevision_jax.data.pipeline import Batch
from onevision_jax.data.record import write_jsonl
from onevision_jax.data.shards import merge_states

from .emit import digests, make_pipeline

CONFIG = {
    "packing": {"tokens_per_row": 400, "patch_budgets": [0, 200, 400], "window": 4},
    "rows_per_batch": 4,
    "num_shards": 4,
    "num_epochs": None,
    "seed": 3,
}
PATIENCE = 300  # seconds for a batch; a process starts in two on an idle core


@dataclasses.dataclass
class Run:
    """A run that is stopped and started; its folders, and what it should yield."""

    place: Path
    data: str
    model: str
    reference: Iterator[Batch]
    """The uninterrupted run."""
    width: int
    """Patches of a row at most."""
    digests: list[tuple[str, list[str]]] = dataclasses.field(default_factory=list)

    def expected(self, number: int) -> tuple[str, list[str]]:
        """Digests of a batch of the uninterrupted run, counted from 1."""
        while len(self.digests) < number:
            self.digests.append(digests(next(self.reference), self.width))
        return self.digests[number - 1]

    def start(self, index=0, count=1, workers=0, state=None) -> subprocess.Popen:
        folder = self.folder(index, count)
        folder.mkdir(exist_ok=True)
        settings = {
            "config": {**CONFIG, "num_workers": workers},
            "data": self.data,
            "model": self.model,
            "folder": str(folder),
            "log": str(folder / "log"),
            "index": index,
            "count": count,
            "state": state,
        }
        path = folder / "settings.json"
        path.write_text(json.dumps(settings))
        script = Path(__file__).with_name("emit.py")
        return subprocess.Popen([sys.executable, str(script), str(path)])

    def folder(self, index: int, count: int) -> Path:
        return self.place / f"{index}of{count}"

    def saved(self, index=0, count=1) -> dict[int, Path]:
        """States by their number of batches."""
        return {
            int(p.stem): p for p in self.folder(index, count).glob("*.json") if p.stem[0] != "s"
        }

    def check(self, index=0, count=1) -> set[int]:
        """Compares everything that one process wrote down; the batches it saw."""
        seen = set()
        for line in (self.folder(index, count) / "log").read_text().splitlines():
            number, whole, rows = json.loads(line)
            expected = self.expected(number)
            assert rows == expected[1][index::count], (number, index, count)
            assert count > 1 or whole == expected[0], number
            seen.add(number)
        return seen


def kill(process: subprocess.Popen) -> None:
    """SIGKILL; the workers must notice by themselves."""
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, f"workers outlive their process: {alive}"


def wait_for(done, processes: list[subprocess.Popen]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert all(process.poll() is None for process in processes), "a process ended by itself"
        assert time.monotonic() < end, "no batch comes"
        time.sleep(0.01)


@pytest.fixture
def run(tmp_path, model_folder, records):
    data = tmp_path / "data" / "train.jsonl"
    write_jsonl(data, records)
    settings = {"config": CONFIG, "data": str(data), "model": str(model_folder)}
    pipeline = make_pipeline(settings)
    width = pipeline.config.packing.patches_per_row
    return Run(tmp_path, str(data), str(model_folder), pipeline.batches(), width)


def kill_and_resume(run: Run, kills: int, workers: list[int], seed: int) -> None:
    """One process after the other, each killed within a few batches of where it began."""
    rng = random.Random(seed)
    state, done = None, 0
    for number in range(kills):
        process = run.start(workers=workers[number % len(workers)], state=state)
        try:
            target = done + rng.randint(1, 4)
            wait_for(lambda target=target: target in run.saved(), [process])
            time.sleep(rng.random() * 0.1)  # Anywhere within a batch, or the saving of its state.
        finally:
            kill(process)
        done = max(run.saved())
        state = json.loads(run.saved()[done].read_text())
    assert run.check() >= set(range(1, done + 1))


def test_killed_processes_with_workers_go_on_where_they_were(run):
    kill_and_resume(run, kills=2, workers=[2], seed=0)


@pytest.mark.long
def test_killed_at_50_points(run):
    kill_and_resume(run, kills=50, workers=[0, 1, 2, 4], seed=1)


def take_over(run: Run, counts: list[int], workers: int, seed: int) -> None:
    """So many processes at a time, all killed, then others from the merged state."""
    rng = random.Random(seed)
    state, done = None, 0
    for count in counts:
        processes = [run.start(index, count, workers, state) for index in range(count)]
        target = done + rng.randint(1, 5)
        try:
            wait_for(
                lambda target=target, count=count: all(
                    target in run.saved(index, count) for index in range(count)
                ),
                processes,
            )
        finally:
            for process in processes:
                kill(process)
        parts = [json.loads(run.saved(i, count)[target].read_text()) for i in range(count)]
        state, done = merge_states(parts), target
    for count in set(counts):
        for index in range(count):
            run.check(index, count)
    # Every row of every batch up to the last, by whoever owned it then.
    assert done >= len(counts)


def test_1_then_2_then_4_processes(run):
    take_over(run, counts=[1, 2, 4], workers=0, seed=0)


@pytest.mark.long
def test_processes_with_workers_take_over_from_each_other(run):
    take_over(run, counts=[1, 2, 4, 2, 1, 4, 1], workers=1, seed=1)
