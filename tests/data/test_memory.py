"""Memory stays flat: 100,000 examples through two workers."""

import os

import numpy as np
import psutil
import pytest

from onevision_jax.data.packing import Packing
from onevision_jax.data.pipeline import Pipeline, PipelineConfig
from onevision_jax.data.record import Record, write_jsonl
from onevision_jax.data.source import JsonlSource

NUM_EXAMPLES = 100_000
NUM_RECORDS = 2_000
WARM_UP = 20_000  # examples until tables, caches and the allocator's arenas have their size
MAX_BYTES_AN_EXAMPLE = 100  # 8 MB over the rest; one leaked image of 64 px would be 12,288


def processes() -> dict[int, psutil.Process]:
    """This process and its workers (not multiprocessing's helper that tracks shared memory)."""
    me = psutil.Process(os.getpid())
    found = [me, *(c for c in me.children() if "spawn_main" in " ".join(c.cmdline()))]
    return {process.pid: process for process in found}


@pytest.fixture
def path(tmp_path, png):
    """Images of 64 px, one in twenty of them damaged, so that complaints are made as well."""
    rows = []
    for number in range(NUM_RECORDS):
        image = png(64, 64, number)
        if number % 20 == 0:
            image = image[: len(image) // 2]
        text = f"First, a is {number}. " * (number % 7)
        rows.append(Record(f"r{number}", image, "What is shown?", str(number), reasoning=text))
    write_jsonl(tmp_path / "train.jsonl", rows)
    return tmp_path / "train.jsonl"


@pytest.mark.long
def test_memory_is_flat_over_100_000_examples(path, processor):
    config = PipelineConfig(
        packing=Packing(tokens_per_row=1024, patch_budgets=(0, 256, 512), window=32),
        rows_per_batch=4,
        num_shards=2,
        num_workers=2,
    )
    samples: list[tuple[int, dict[int, int]]] = []
    with Pipeline(JsonlSource((str(path),)), processor, config).batches() as batches:
        next(batches)
        watched = processes()
        assert len(watched) == 3
        while batches.num_examples < NUM_EXAMPLES:
            next(batches)
            if not samples or batches.num_examples - samples[-1][0] >= 1000:
                rss = {pid: process.memory_info().rss for pid, process in watched.items()}
                samples.append((batches.num_examples, rss))
        dropped = batches.dropped.counts
    assert dropped["image"] > NUM_EXAMPLES // 25
    steady = [sample for sample in samples if sample[0] >= WARM_UP]
    seen = np.array([count for count, _ in steady], np.float64)
    for pid in watched:
        memory = np.array([rss[pid] for _, rss in steady], np.float64)
        slope = np.polyfit(seen - seen[0], memory, 1)[0]
        print(f"{memory[0] / 2**20:.0f} -> {memory[-1] / 2**20:.0f} MiB, {slope:.1f} bytes/example")
        assert slope < MAX_BYTES_AN_EXAMPLE, (pid, os.getpid(), slope, memory[::10])
