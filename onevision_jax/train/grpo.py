"""GRPO: sample answers, reward them, and make what was better than its siblings more likely.

A step: take P prompts, draw G completions of each from the current policy, grade them, give each
token of a completion its group-relative advantage (`advantage`), and take one optimizer step (or
`iterations` of them) on the clipped policy loss (`policy_loss`), a sum over all completion tokens
of the step with weights that add up over the whole step, so that no cut into micro-batches changes
it.

Where this differs from the GRPO paper: no reference model and no KL by default (as TRL, DAPO and
others since); tokens share the loss alike ("token"), not completions; importance weights correct
what sampler and trainer disagree on, which is measured on every step; a grader that fails masks the
sample instead of rewarding it with 0; vision tokens can neither be drawn nor take probability.
Left out: a critic, an entropy bonus, replay of old samples, dynamic resampling of idle groups.

A run is its workdir: starting it again goes on from the newest checkpoint, bit for bit on the same
mesh, since draws depend on (seed, step, place) alone.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from onevision_jax import config as settings
from onevision_jax.convert import read_assets_folder
from onevision_jax.data.encode import Encode, Prompt
from onevision_jax.data.packing import Packing
from onevision_jax.data.prompts import PromptConfig, PromptIterator
from onevision_jax.data.sources import open_source
from onevision_jax.data.target import TargetConfig
from onevision_jax.errors import InputError
from onevision_jax.model import from_folder
from onevision_jax.parallel import ShardingRules, make_mesh
from onevision_jax.parallel.prefetch import to_devices
from onevision_jax.processor import Processor
from onevision_jax.rewards import GraderPool, RewardConfig
from onevision_jax.rollout import Sampling
from onevision_jax.train.advantage import Scale
from onevision_jax.train.metrics import Console, MetricsFile, grpo_line
from onevision_jax.train.pass_rates import PassRateConfig, PassRates
from onevision_jax.train.policy import Policy
from onevision_jax.train.policy_loss import PolicyLossConfig
from onevision_jax.train.rollouts import (
    Aggregation,
    Sample,
    Scoring,
    as_row,
    micro_batches,
    roll_out,
    summarise,
)
from onevision_jax.train.saving import Checkpoints, owned, prepare_workdir
from onevision_jax.train.settings import RunConfig, check_counts
from onevision_jax.train.setup import Setup
from onevision_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRPOConfig(RunConfig):
    """A whole run of GRPO (`onevision grpo`)."""

    # Files of records, as for SFT; question, image, choices and answer are used, reasoning is not.
    data: tuple[str, ...]
    # How prompts are worded; as in the SFT before it.
    target: TargetConfig = dataclasses.field(default_factory=TargetConfig)
    shuffle: bool = True
    # None goes on for ever.
    num_epochs: int | None = None
    # Only the first so many usable prompts, again and again (an overfitting check); None = all.
    first_prompts: int | None = None
    # Bounds on the size of images; None takes those of the checkpoint's processor.
    min_pixels: int | None = None
    max_pixels: int | None = None
    # Whether prompts that are always or never answered rightly are asked again.
    pass_rates: PassRateConfig = dataclasses.field(default_factory=PassRateConfig)

    prompts_per_step: int = 16
    group_size: int = 8
    sampling: Sampling = dataclasses.field(default_factory=lambda: Sampling(temperature=1.0))
    max_new_tokens: int = 1024
    rewards: RewardConfig = dataclasses.field(default_factory=RewardConfig)
    # What the distance to the group's mean is divided by, see `advantage`.
    scale: Scale = "group"
    # How tokens share the loss, see `rollouts`.
    aggregation: Aggregation = "token"
    loss: PolicyLossConfig = dataclasses.field(default_factory=PolicyLossConfig)
    # Optimizer steps on the samples of one step.
    iterations: int = 1
    # Prompt + completion are packed into rows of this size; a prompt may take what the room for
    # the completion leaves of it.
    packing: Packing = dataclasses.field(default_factory=Packing)
    # Rows whose gradients are computed at a time, over all devices.
    rows_per_micro_batch: int = 8
    # Samples of every so many steps are written to samples.jsonl (the first two groups).
    samples_every: int = 10

    def __post_init__(self):
        super().__post_init__()
        check_counts(
            self,
            (
                "prompts_per_step",
                "max_new_tokens",
                "iterations",
                "rows_per_micro_batch",
                "samples_every",
            ),
        )
        if self.group_size < 2:
            raise InputError(f"group_size is {self.group_size}; a group needs 2 or more")
        if self.sampling.temperature <= 0:
            raise InputError("sampling.temperature is 0: all of a group would be the same; give 1")
        if self.first_prompts is not None and self.first_prompts < 1:
            raise InputError(f"first_prompts is {self.first_prompts}; give 1 or more, or none")
        if self.packing.tokens_per_row <= self.max_new_tokens:
            raise InputError(
                f"packing.tokens_per_row {self.packing.tokens_per_row} leaves no room for a prompt "
                f"beside max_new_tokens {self.max_new_tokens}; lengthen the rows"
            )


def run(config: GRPOConfig, workdir: Path, say: Callable[[str], None] = print) -> None:
    """Trains to `num_steps`, or until the prompts end; goes on where the workdir stands.

    Raises InputError when workdir, checkpoint, data and settings do not go together.
    """
    if jax.process_count() > 1:
        raise InputError("GRPO runs on the devices of one process; start a single one")
    with owned(workdir):
        rules = ShardingRules(make_mesh(fsdp=config.mesh.fsdp, tensor=config.mesh.tensor))
        if config.rows_per_micro_batch % rules.rows_multiple():
            raise InputError(
                f"rows_per_micro_batch {config.rows_per_micro_batch} does not divide over "
                f"{rules.rows_multiple()} rows of devices; make it a multiple"
            )
        assets = prepare_workdir(workdir, config.checkpoint)
        settings.write(config, workdir / "config.json")
        processor = Processor.from_folder(
            read_assets_folder(config.checkpoint),
            min_pixels=config.min_pixels,
            max_pixels=config.max_pixels,
        )
        prompts = Prompts(config, processor)
        setup = Setup(config, from_folder(assets), rules, config.iterations)
        checkpoints = Checkpoints(workdir, config.keep)
        try:
            state = setup.first_state(checkpoints, prompts.set_state, say)
            policy = Policy(setup, config.loss, config.sampling, processor)
            _loop(config, policy, state, prompts, checkpoints, workdir, say)
        finally:
            checkpoints.close()
            if config.pass_rates.settled_after is not None:
                say(str(prompts.pass_rates))
            if prompts.dropped.total():
                say(f"records left out: {prompts.dropped}")


def _loop(
    config: GRPOConfig,
    policy: Policy,
    state: TrainState,
    prompts: "Prompts",
    checkpoints: Checkpoints,
    workdir: Path,
    say: Callable[[str], None],
) -> None:
    step = first = int(state.step) // config.iterations
    metrics = MetricsFile(workdir / "metrics.jsonl", step)
    samples_file = MetricsFile(workdir / "samples.jsonl", step)
    console = Console(config.num_steps, config.log_every, say, grpo_line)
    one_step = functools.partial(_step, config, policy, prompts)
    prompts.pass_rates.write(workdir)  # What a killed run wrote beyond its checkpoint is dropped.

    def save() -> None:
        checkpoints.save(step, state, prompts.get_state())
        prompts.pass_rates.write(workdir)

    try:
        with GraderPool() as graders:
            while step < config.num_steps:
                asked = prompts.take(config.prompts_per_step)
                if not asked:
                    why = "are all settled" if prompts.all_settled else "ended"
                    say(f"the prompts {why} after step {step} of {config.num_steps}")
                    break
                state, samples, row = one_step(state, asked, step, graders)
                step += 1
                prompts.pass_rates.add(samples, step)
                metrics.write(row)
                console.step(row)
                if step % config.samples_every == 0 or step in (1, config.num_steps):
                    for sample in samples[: 2 * config.group_size]:
                        samples_file.write(as_row(step, sample))
                if step % config.save_every == 0 or step == config.num_steps:
                    save()
        if step == first:
            say(f"nothing to do: step {step} of {config.num_steps} is done")
        elif step != config.num_steps and step % config.save_every:
            save()
        checkpoints.wait()
    finally:
        metrics.close()
        samples_file.close()


def _step(
    config: GRPOConfig,
    policy: Policy,
    prompts: "Prompts",
    state: TrainState,
    asked: list[Prompt],
    step: int,
    graders: GraderPool,
) -> tuple[TrainState, list[Sample], dict[str, Any]]:
    """(state, samples, row of metrics.jsonl) of step number `step` + 1."""
    began = time.monotonic()
    groups = roll_out(
        policy.sampler(state),
        asked,
        group_size=config.group_size,
        sampling=config.sampling,
        max_new_tokens=config.max_new_tokens,
        seed=(config.seed, step),
    )
    rolled = time.monotonic()
    scoring = Scoring(
        processor=prompts.encode.processor,
        rewards=config.rewards,
        scale=config.scale,
        aggregation=config.aggregation,
        max_new_tokens=config.max_new_tokens,
    )
    samples = scoring(asked, groups, graders)
    scored = time.monotonic()
    keep_idle = config.loss.kl_weight > 0
    parts = [
        to_devices(arrays, policy.rules)
        for arrays in micro_batches(
            samples, prompts.encode, config.packing, config.rows_per_micro_batch, keep_idle
        )
    ]
    state, numbers = policy.update(state, parts, config.iterations)
    done = time.monotonic()
    row = {
        "step": step + 1,
        **numbers,
        **summarise(samples, config.group_size),
        "prompts": len(asked),
        "skipped_prompts": prompts.num_skipped,
        "micro_batches": len(parts),
        "rollout_seconds": round(rolled - began, 4),
        "grading_seconds": round(scored - rolled, 4),
        "train_seconds": round(done - scored, 4),
        "step_seconds": round(done - began, 4),
        "compiles": policy.num_compiles,
    }
    return state, samples, row


class Prompts:
    """The prompts of a run, a step's at a time, with a position that can be saved."""

    def __init__(self, config: GRPOConfig, processor: Processor):
        source = open_source(config.data)
        longest = config.packing.tokens_per_row - config.max_new_tokens
        most = config.packing.patches_per_row
        self.encode = Encode(processor, config.target, config.packing.tokens_per_row, most)
        self._iterator = PromptIterator(
            source,
            processor,
            PromptConfig(
                target=config.target,
                max_tokens=longest,
                max_patches=most,
                shuffle=config.shuffle,
                seed=config.seed,
                num_epochs=config.num_epochs,
            ),
        )
        self._first_prompts = config.first_prompts
        self._fixed: list[Prompt] | None = None
        self._turn = 0
        self.pass_rates = PassRates(config.pass_rates)
        self.num_skipped = 0  # since the step before
        self.all_settled = False
        # Every prompt has its turn in two epochs' length, wherever it begins.
        self._patience = 2 * len(source) * config.pass_rates.longest_wait
        if config.first_prompts is not None:
            self._fixed = list(_first(self._iterator, config.first_prompts))

    @property
    def dropped(self) -> Any:
        """Records left out so far, and why."""
        return self._iterator.dropped

    def take(self, count: int) -> list[Prompt]:
        """The next prompts that are not settled; fewer at the end of the data."""
        chosen: list[Prompt] = []
        self.num_skipped = skipped_in_a_row = 0
        while len(chosen) < count:
            prompt = self._next()
            if prompt is None:
                break
            if self.pass_rates.admits(prompt.record):
                chosen.append(prompt)
                skipped_in_a_row = 0
                continue
            self.num_skipped += 1
            skipped_in_a_row += 1
            if skipped_in_a_row >= self._patience:
                self.all_settled = not chosen
                break
        return chosen

    def _next(self) -> Prompt | None:
        if self._fixed is None:
            return next(self._iterator, None)
        prompt = self._fixed[self._turn]
        self._turn = (self._turn + 1) % len(self._fixed)
        return prompt

    def get_state(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "first_prompts": self._first_prompts,
            "turn": self._turn,
            "iterator": self._iterator.get_state(),
            "pass_rates": self.pass_rates.get_state(),
        }

    def set_state(self, state: Any) -> None:
        """Goes on behind the prompts of a state; raises InputError when it is of other prompts."""
        if state["first_prompts"] != self._first_prompts:
            raise InputError(
                f"the workdir's run has first_prompts {state['first_prompts']}, but now it is "
                f"{self._first_prompts}; set it back, or start a new workdir"
            )
        self._turn = int(state["turn"])
        self.pass_rates.set_state(state.get("pass_rates", {}))
        self._iterator.set_state(state["iterator"])


def _first(iterator: Iterator[Prompt], count: int) -> Iterator[Prompt]:
    for _, prompt in zip(range(count), iterator, strict=False):
        yield prompt
