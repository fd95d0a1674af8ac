"""Supervised fine-tuning: minimise -log p(response token | everything before it).

The loss of a step is the weighted mean over all response tokens of the whole batch, on all devices
and in all parts of an accumulated step; prompt, image and padding tokens weigh nothing. Attention
stays inside each example of a packed row. No dropout, no label smoothing, no auxiliary loss.

A run is its workdir: starting it again goes on from the newest checkpoint, with any number of
processes that divides the data shards. Process 0 writes; all take part in checkpoints.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onevision_jax import config as settings
from onevision_jax.convert import read_assets_folder
from onevision_jax.data.pipeline import BatchIterator, Pipeline
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.data.shards import merge_states
from onevision_jax.data.sources import open_source
from onevision_jax.errors import InputError
from onevision_jax.model import QwenVL, from_folder
from onevision_jax.parallel import ShardingRules, make_mesh, on_mesh
from onevision_jax.parallel.prefetch import HostBatches, Prefetch, data_process, gather_states
from onevision_jax.parallel.processes import call_apart, is_first, wait_for_all
from onevision_jax.processor import Processor
from onevision_jax.train.losses import cross_entropy_sum
from onevision_jax.train.metrics import Console, MetricsFile, count_batch, sft_line
from onevision_jax.train.saving import Checkpoints, owned, prepare_workdir
from onevision_jax.train.scratch import ScratchConfig, scratch_texts, write_scratch
from onevision_jax.train.settings import TrainConfig
from onevision_jax.train.setup import Setup
from onevision_jax.train.state import TrainState, accumulate, split_rows
from onevision_jax.types import Batch

MAX_SKIPPED = 10  # steps in a row without finite gradients before a run gives up


@dataclasses.dataclass(frozen=True, kw_only=True)
class SFTConfig(TrainConfig):
    """A whole run of supervised fine-tuning, data included (`onevision sft`)."""

    # Files of records (JSONL, ArrayRecord), folders of them or patterns: what `onevision synth` and
    # `onevision data build` write.
    data: tuple[str, ...]
    pipeline: PipelineConfig = dataclasses.field(default_factory=PipelineConfig)
    # Bounds on the size of images; None takes those of the checkpoint's processor.
    min_pixels: int | None = None
    max_pixels: int | None = None
    # Where `checkpoint` does not exist yet: make a small random model with its own tokenizer there.
    scratch: ScratchConfig | None = None


def run(config: SFTConfig, workdir: Path, say: Callable[[str], None] = print) -> None:
    """`train` on the records of the config, packed."""
    source = open_source(config.data)
    if config.scratch is not None and is_first() and not Path(config.checkpoint).exists():
        say(f"making a model from nothing in {config.checkpoint}")
        texts = list(scratch_texts(source, config.pipeline.target))
        call_apart(write_scratch, config.checkpoint, texts, config.scratch)
    wait_for_all("the checkpoint is there")
    processor = Processor.from_folder(
        read_assets_folder(config.checkpoint),
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
    )
    pipeline = Pipeline(source, processor, config.pipeline)
    say(str(pipeline))
    opened: list[BatchIterator] = []

    def make_batches(rules: ShardingRules) -> BatchIterator:
        index, count = data_process(rules)
        opened.append(pipeline.batches(process_index=index, process_count=count))
        return opened[0]

    try:
        train(config, workdir, make_batches, say)
    finally:
        for batches in opened:
            if batches.dropped.total():
                share = " of the share of process 0" if jax.process_count() > 1 else ""
                say(f"records left out{share}: {batches.dropped}")
            batches.close()


class Trainer:
    """The compiled step."""

    def __init__(self, config: TrainConfig, setup: Setup):
        self.setup = setup
        self._config = config
        self.num_compiles = 0  # how often the step was traced: once for every shape of a batch
        self.compiled_step = jax.jit(
            on_mesh(setup.rules, self._make_step()),
            donate_argnums=0,
            out_shardings=(setup.places, setup.rules.replicated()),
        )

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        """(next state, numbers of the step); batch: on the mesh. The old state is gone."""
        return self.compiled_step(state, batch)

    def gradients(self, state: TrainState, batch: Batch) -> tuple[jax.Array, Any]:
        """(loss, gradients in float32), to be traced under `on_mesh`."""
        if batch.loss_weights is None:
            raise InputError("the batch has no loss_weights; training needs them")
        setup = self.setup
        total = batch.loss_weights.sum()
        total = jnp.where(total > 0, total, 1.0)

        def loss(model: QwenVL, part: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
            return cross_entropy_sum(model, part, setup.split) / total, {}

        parts = split_rows(batch, self._config.accumulation, setup.rules)
        value, _, grads = accumulate(loss, setup.graphdef, state, parts, setup.places.trainable)
        return value, grads

    def _make_step(self) -> Callable:
        def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
            self.num_compiles += 1
            loss, grads = self.gradients(state, batch)
            after, numbers = self.setup.after(state, grads)
            return after, {"loss": loss, **numbers, **count_batch(batch)}

        return step


def train(
    config: TrainConfig,
    workdir: Path,
    make_batches: Callable[[ShardingRules], HostBatches],
    say: Callable[[str], None] = print,
) -> None:
    """Trains to `num_steps`, or until the batches end; goes on where the workdir stands.

    make_batches: from the mesh to this process's batches, such as those of `data.Pipeline`.
    Raises InputError when workdir, checkpoint and settings do not go together.
    """
    with owned(workdir):
        rules = ShardingRules(make_mesh(fsdp=config.mesh.fsdp, tensor=config.mesh.tensor))
        model_config = from_folder(prepare_workdir(workdir, config.checkpoint))
        if is_first():
            settings.write(config, workdir / "config.json")
        setup = Setup(config, model_config, rules)
        checkpoints = Checkpoints(workdir, config.keep)
        try:
            batches = Prefetch(make_batches(rules), rules)
            state = setup.first_state(checkpoints, batches.set_state, say)
            rows = workdir / "metrics.jsonl" if is_first() else None
            metrics = MetricsFile(rows, int(state.step))
            try:
                _loop(config, Trainer(config, setup), state, batches, checkpoints, metrics, say)
            finally:
                metrics.close()
        finally:
            checkpoints.close()


def _loop(
    config: TrainConfig,
    trainer: Trainer,
    state: TrainState,
    batches: Prefetch,
    checkpoints: Checkpoints,
    metrics: MetricsFile,
    say: Callable[[str], None],
) -> None:
    """Steps, one ahead of the numbers: while a step runs, the one before it is reported."""
    console = Console(config.num_steps, config.log_every, say, sft_line)
    report = _Report(trainer, console, metrics)
    step = first = int(state.step)
    while step < config.num_steps:
        began = time.monotonic()
        try:
            batch = next(batches)
        except StopIteration:
            say(f"the data ended after step {step} of {config.num_steps}")
            break
        waited = time.monotonic() - began
        state, numbers = trainer.step(state, batch)
        step += 1
        report.flush()
        report.pending = (step, numbers, waited)
        if step % config.save_every == 0 or step == config.num_steps:
            report.flush()
            checkpoints.save(step, state, _position(batches))
    report.flush()
    if step == first:
        say(f"nothing to do: step {step} of {config.num_steps} is done")
    elif checkpoints.latest != step and step != config.num_steps and step % config.save_every:
        checkpoints.save(step, state, _position(batches))
    checkpoints.wait()


def _position(batches: Prefetch) -> Any:
    """Where all processes stand in the data, as one state that any number of them can use."""
    states = gather_states(batches.get_state())
    return states[0] if len(states) == 1 else merge_states(states)


class _Report:
    """Turns the numbers of a finished step into a row of metrics and a line on the console."""

    def __init__(self, trainer: Trainer, console: Console, metrics: MetricsFile):
        self.pending: tuple[int, dict[str, jax.Array], float] | None = None
        self._trainer, self._console, self._metrics = trainer, console, metrics
        self._last = time.monotonic()
        self._skipped = 0

    def flush(self) -> None:
        """Waits for the pending step, if there is one, and reports it."""
        if self.pending is None:
            return
        (step, numbers, waited), self.pending = self.pending, None
        values = {name: value.item() for name, value in jax.device_get(numbers).items()}
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        row = {
            "step": step,
            **values,
            "tokens_per_second": round(values["tokens"] / seconds, 1),
            "step_seconds": round(seconds, 4),
            "data_seconds": round(waited, 4),
            "compiles": self._trainer.num_compiles,
        }
        self._metrics.write(row)
        self._console.step(row)
        self._skipped = 0 if np.isfinite(values["grad_norm"]) else self._skipped + 1
        if self._skipped >= MAX_SKIPPED:
            raise InputError(
                f"the gradients of the last {MAX_SKIPPED} steps (to step {step}) were not finite "
                "and were skipped; lower optimizer.peak_lr or look at the data of these steps"
            )
