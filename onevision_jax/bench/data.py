"""The input pipeline's speed, ours beside torch's DataLoader with transformers, on the same files.

Two measurements. On one core: both work in this process, round after round in turn, and what counts
is CPU time, so that other work on the machine slows neither more than the other. With workers:
wall-clock rates once the workers run, and the most memory any worker held.
"""

import contextlib
import dataclasses
import importlib.util
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from onevision_jax.bench import data_peer
from onevision_jax.bench.consumption import H200_FLOPS, MFU, examples_per_second, train_flops
from onevision_jax.convert import read_assets_folder
from onevision_jax.data.filling import Filling
from onevision_jax.data.opening import Some, open_path, write_stand_in
from onevision_jax.data.packing import Packing, unpack
from onevision_jax.data.pipeline import Pipeline
from onevision_jax.data.record import Record
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.data.source import Source
from onevision_jax.model import preset
from onevision_jax.processor import Processor

NUM_COMPARED = 64  # images whose normalised pixels are compared
WARM_UP = 1.0  # seconds from the first batch until the workers' rate is taken


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataBench:
    """What is measured."""

    data: str
    checkpoint: str | None = None  # processor files; None = a stand-in learnt from the data
    records: int = 256  # of a round, spread evenly over the data
    rounds: int = 5
    workers: tuple[int, ...] = (0, 1, 2)
    seconds: float = 5.0  # that each number of workers is measured for
    tokens_per_row: int = 8192
    patch_budgets: tuple[int, ...] = (0, 2560, 5120, 7680, 10240)
    rows_per_batch: int = 2
    peer: bool = True


@dataclasses.dataclass
class Work:
    """What went through a pipeline."""

    examples: int = 0
    images: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def rates(self) -> dict[str, float]:
        """Per second."""
        seconds = max(self.seconds, 1e-9)
        names = ("examples", "images", "tokens")
        return {f"{name}_per_second": getattr(self, name) / seconds for name in names}


@dataclasses.dataclass(frozen=True)
class Wordless:
    """The records of a source with a word for their texts: what is left is the images' work."""

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        record = self.source[index]
        return Record(id=record.id, image=record.image, question="What?", answer="This.")

    def fingerprint(self) -> Mapping[str, int]:
        return self.source.fingerprint()


def run(bench: DataBench) -> dict[str, Any]:
    """All measurements with device, versions and date, as plain JSON."""
    source = open_path(bench.data)
    with contextlib.ExitStack() as stack:
        folder = _folder(bench, source, stack)
        processor = Processor.from_folder(folder)
        some = Some(source, bench.records)
        skipped = _why_no_peer(bench)
        result: dict[str, Any] = {
            "bench": "data",
            "settings": dataclasses.asdict(bench),
            "date": time.strftime("%Y-%m-%d"),
            "host": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
            "versions": _versions(),
            "processor": bench.checkpoint or "stand-in: tokenizer learnt from the data",
            "torchvision": "not installed",
            "peer": skipped or "transformers",
        }
        datasets = {} if skipped else _peers(some, folder)
        if "transformers" in datasets:
            compared = data_peer.largest_difference(
                datasets["transformers"], processor, NUM_COMPARED
            )
            result["equality"] = {"images": compared[0], "largest_difference": compared[1]}
        if "torchvision" in datasets:
            result["torchvision"] = "measured"
        result["one_core"] = _one_core(bench, some, processor, datasets)
        result["one_core_images"] = _one_core(bench, Wordless(some), processor, datasets)
        filling, sizes, dropped = _once(bench, some, processor)
        result |= {"packing": filling.to_json(), "dropped": dropped}
        result["step_7b"] = _step_7b(sizes)
        result["workers"] = _workers(bench, source, processor, datasets)
    return result


def _folder(bench: DataBench, source: Source, stack: contextlib.ExitStack) -> Path:
    if bench.checkpoint:
        return read_assets_folder(bench.checkpoint)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    write_stand_in(source, folder)
    return folder


def _why_no_peer(bench: DataBench) -> str | None:
    if not bench.peer:
        return "peer skipped: --no-peer"
    return None if data_peer.installed() else data_peer.MISSING


def _peers(source: Source, folder: Path) -> dict[str, data_peer.PeerDataset]:
    peers = {"transformers": data_peer.PeerDataset(source, folder)}
    if data_peer.installed("torchvision"):
        peers["torchvision"] = data_peer.PeerDataset(source, folder, "torchvision")
    return peers


def _pipeline(
    bench: DataBench, source: Source, processor: Processor, workers: int, epochs: int | None
) -> Pipeline:
    packing = Packing(bench.tokens_per_row, bench.patch_budgets)
    config = PipelineConfig(
        packing=packing,
        rows_per_batch=bench.rows_per_batch,
        num_shards=max(1, workers),
        shuffle=False,
        num_epochs=epochs,
        num_workers=workers,
    )
    return Pipeline(source, processor, config)


def _work(batch: Any) -> Work:
    segments = batch["segment_ids"]
    images, tokens = batch["image_ids"].max(axis=1, initial=0).sum(), (segments > 0).sum()
    return Work(int(segments.max(axis=1).sum()), int(images), int(tokens))


def _theirs(dataset: data_peer.PeerDataset, workers: int) -> Generator[Work, None, None]:
    """The same records over and over, in batches of eight: about what a row of ours holds."""
    for batch in data_peer.batches(dataset, 8, workers, 1 + 1_000_000 // len(dataset)):
        grids = batch["image_grid_thw"]
        images = 0 if grids is None else len(grids)
        yield Work(batch["num_examples"], images, batch["num_tokens"])


def _take(works: Iterator[Work], done: Callable[[Work], bool], clock: Callable[[], float]) -> Work:
    """Work until `done`, on a clock."""
    total, began = Work(), clock()
    while not done(total):
        work = next(works)
        total.examples += work.examples
        total.images += work.images
        total.tokens += work.tokens
        total.seconds = clock() - began
    return total


def _one_core(
    bench: DataBench,
    source: Source,
    processor: Processor,
    datasets: dict[str, data_peer.PeerDataset],
) -> dict[str, Any]:
    """CPU time of interleaved rounds; the first, which warms up, is not counted."""
    ours = _pipeline(bench, source, processor, 0, None).batches()
    runs: dict[str, Iterator[Work]] = {"onevision": map(_work, ours)}
    for name, dataset in datasets.items():
        runs[name] = _theirs(dataclasses.replace(dataset, source=source), 0)
    rounds: dict[str, list[Work]] = {name: [] for name in runs}
    for number in range(bench.rounds + 1):
        for name, works in runs.items():
            work = _take(works, lambda total: total.examples >= bench.records, time.process_time)
            if number:
                rounds[name].append(work)
    found: dict[str, Any] = {}
    for name, works in rounds.items():
        costs = [1e3 * work.seconds / work.examples for work in works]
        middle = sorted(works, key=lambda work: work.seconds / work.examples)[len(works) // 2]
        found[name] = {
            "cpu_ms_per_example": costs,
            "median_cpu_ms_per_example": statistics.median(costs),
            **middle.rates(),
        }
    mine = found["onevision"]["cpu_ms_per_example"]
    for name in found.keys() - {"onevision"}:
        pairs = zip(mine, found[name]["cpu_ms_per_example"], strict=True)
        found[name]["ratio"] = statistics.median(their / our for our, their in pairs)
    return found


def _once(
    bench: DataBench, source: Source, processor: Processor
) -> tuple[Filling, list[tuple[int, int]], dict[str, int]]:
    """How full the batches of one epoch are, (tokens, patches) of each example, what is dropped."""
    filling, sizes = Filling(), []
    with contextlib.closing(_pipeline(bench, source, processor, 0, 1).batches()) as batches:
        for batch in batches:
            filling.add_batch(batch)
            sizes += [(len(one.tokens), len(one.patches)) for one in unpack(batch)]
        return filling, sizes, batches.dropped.counts


def _step_7b(sizes: list[tuple[int, int]]) -> dict[str, float]:
    """What SFT of the 7B on one H200 eats of these examples."""
    config = preset("7b")
    rate = examples_per_second(config, sizes)
    return {
        "assumed_flops_per_second": H200_FLOPS * MFU,
        "flops_per_example": train_flops(config, sizes) / len(sizes),
        "examples_per_second": rate,
        "tokens_per_second": rate * sum(tokens for tokens, _ in sizes) / len(sizes),
    }


def _workers(
    bench: DataBench,
    source: Source,
    processor: Processor,
    datasets: dict[str, data_peer.PeerDataset],
) -> list[dict[str, Any]]:
    """Wall-clock rates and memory for each number of workers."""
    rows = []
    for count in bench.workers:
        with contextlib.closing(
            _pipeline(bench, source, processor, count, None).batches()
        ) as batches:
            rows.append(
                {"name": "onevision", "workers": count, **_rate(bench, map(_work, batches))}
            )
        for name, dataset in datasets.items():
            endless = dataclasses.replace(dataset, source=source)
            works = _theirs(endless, count)
            rows.append({"name": name, "workers": count, **_rate(bench, works)})
            works.close()
    return rows


def _rate(bench: DataBench, works: Iterator[Work]) -> dict[str, Any]:
    """Work per second of the wall clock after the first batch and a warm-up."""
    before = _children()
    next(works)
    begin = time.perf_counter() + WARM_UP
    while time.perf_counter() < begin:
        next(works)

    clock = time.perf_counter
    total = _take(works, lambda total: total.seconds >= bench.seconds, clock)
    memory = [peak for child in _children() - before if (peak := _peak_mib(child)) is not None]
    return {**total.rates(), "peak_mib_of_a_worker": max(memory, default=None)}


def _children() -> set[int]:
    """Ids of this process's children; none where the system has no /proc."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= set(map(int, task.read_text().split()))
    return found


def _peak_mib(process: int) -> float | None:
    """The most memory a process held so far (VmHWM)."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None


def _versions() -> dict[str, str]:
    names = ("grain", "numpy", "pillow", "tokenizers", "torch", "torchvision", "transformers")
    modules = {"pillow": "PIL"}
    return {n: version(n) for n in names if importlib.util.find_spec(modules.get(n, n))}
