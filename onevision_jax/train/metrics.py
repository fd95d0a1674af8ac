"""Numbers of a run: `metrics.jsonl`, one object a step, and a line on the console now and then."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from onevision_jax.types import Batch


class MetricsFile:
    """Appends one JSON object a step; what a killed run wrote beyond its checkpoint is dropped."""

    def __init__(self, path: Path | None, last_step: int):
        """path: None writes nothing, for all processes of a run but the first.

        last_step: of the checkpoint the run goes on from; 0 for a new run.
        """
        self._file = None
        if path is None:
            return
        kept = [row for row in read_metrics(path) if row["step"] <= last_step]
        scratch = path.with_name(f".{path.name}.incomplete")
        scratch.write_text("".join(f"{json.dumps(row)}\n" for row in kept), encoding="utf-8")
        scratch.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends and flushes one row; numbers that are not finite become null."""
        if self._file is None:
            return
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        self._file.write(json.dumps(clean) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; [] when there is none, a torn last line is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is no JSON") from None
    return rows


def count_batch(batch: Batch) -> dict[str, jax.Array]:
    """What a batch holds: real tokens and patches, trained tokens, and the share of padding."""
    real, patches = batch.segment_ids != 0, batch.image_ids != 0
    counts = {
        "tokens": real.sum(),
        "patches": patches.sum(),
        "token_padding": 1 - real.mean(),
        "patch_padding": 1 - patches.sum() / max(patches.size, 1),
    }
    if batch.loss_weights is not None:
        counts["response_tokens"] = (batch.loss_weights != 0).sum()
    return counts


@dataclasses.dataclass
class Console:
    """A line every so many steps, and after the first and the last: rates and time left.

    The first step of this process compiles, so it counts for no rate.
    """

    num_steps: int
    every: int
    say: Callable[[str], None]
    describe: Callable[[Mapping[str, Any]], str]  # what a row says besides step and time

    def __post_init__(self):
        self._timed: tuple[int, float] | None = None  # first step and when it was done

    def step(self, row: Mapping[str, Any]) -> None:
        """row: of metrics.jsonl."""
        step, now = row["step"], time.monotonic()
        if self._timed is None:
            self._timed = (step, now)
            self._print(row, None)
        elif step % self.every == 0 or step == self.num_steps:
            begun, since = self._timed
            self._print(row, (now - since) / (step - begun))

    def _print(self, row: Mapping[str, Any], seconds_per_step: float | None) -> None:
        width = len(str(self.num_steps))
        left = "compiling included"
        if seconds_per_step is not None:
            seconds = (self.num_steps - row["step"]) * seconds_per_step
            left = f"{seconds_per_step:.3g} s/step  ETA {clock(seconds)}"
        step = f"step {row['step']:{width}}/{self.num_steps}"
        self.say(f"{step}  {self.describe(row)}  {left}")


def sft_line(row: Mapping[str, Any]) -> str:
    """What a step of SFT says on the console."""
    return (
        f"loss {row['loss']:.4f}  grad {row['grad_norm']:.3g}  lr {row['lr']:.2e}  "
        f"{row['tokens_per_second']:,.0f} tokens/s  {row['patches']:,} patches  "
        f"padding {row['token_padding']:.0%}"
    )


def grpo_line(row: Mapping[str, Any]) -> str:
    """What a step of GRPO says on the console."""
    return (
        f"reward {row['reward']:.3f}  accuracy {row['accuracy']:.0%}  format {row['format']:.0%}  "
        f"length {row['completion_length']:.0f}  cut {row['clipped_ratio']:.0%}  "
        f"entropy {row['entropy']:.3f}  grad {row['grad_norm']:.3g}  lr {row['lr']:.2e}  "
        f"rollout {row['rollout_seconds']:.1f} s  training {row['train_seconds']:.1f} s"
    )


def clock(seconds: float) -> str:
    """h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
