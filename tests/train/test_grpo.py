"""Whole runs of GRPO: they learn, they can be killed anywhere, and they say what they saw."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from onevision_jax.checkpoint import load_params, resolve
from onevision_jax.data.record import write_jsonl
from onevision_jax.errors import InputError
from onevision_jax.model import from_folder
from onevision_jax.parallel import ShardingRules, make_mesh
from onevision_jax.train import OptimizerConfig, Setup
from onevision_jax.train.grpo import run
from onevision_jax.train.metrics import read_metrics
from onevision_jax.train.policy_loss import PolicyLossConfig
from onevision_jax.train.saving import Checkpoints

CHILD = Path(__file__).parent / "grpo_child.py"
TIMINGS = {"rollout_seconds", "grading_seconds", "train_seconds", "step_seconds", "compiles"}
spec = importlib.util.spec_from_file_location("grpo_child", CHILD)
assert spec is not None
assert spec.loader is not None
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)


@pytest.fixture(scope="module")
def data(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "train.jsonl"
    write_jsonl(path, records)
    return path


@pytest.fixture(scope="module")
def whole(data, start, tmp_path_factory):
    """Eight steps without a break: (workdir, lines of the console)."""
    workdir = tmp_path_factory.mktemp("whole")
    lines = []
    run(child.short_run(data, start), workdir, lines.append)
    return workdir, lines


def last_checkpoint(workdir, config):
    """(step, {path: array} of its state, data position)."""
    rules = ShardingRules(make_mesh())
    setup = Setup(config, from_folder(workdir / "assets"), rules, config.iterations)
    checkpoints = Checkpoints(workdir, 1)
    step = checkpoints.latest
    assert step is not None
    state, position = checkpoints.restore(step, setup.wanted)
    checkpoints.close()
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return step, {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}, position


def test_a_run_learns_to_be_rewarded(whole, start):
    workdir, lines = whole
    rows = read_metrics(workdir / "metrics.jsonl")
    rewards = [row["reward"] for row in rows]
    print("rewards", rewards)
    assert np.mean(rewards[-2:]) > np.mean(rewards[:2]) + 0.3
    assert rows[-1]["completion_length"] < rows[0]["completion_length"]
    assert f"reward {rewards[-1]:.3f}" in lines[-1]
    before, after = load_params(resolve(start)), load_params(resolve(workdir))
    assert all((np.asarray(after[name]) != np.asarray(before[name])).any() for name in before)


def test_sampler_and_trainer_agree(whole):
    """On the log-probs of every token of every step, in float32."""
    rows = read_metrics(whole[0] / "metrics.jsonl")
    most = [row["logprob_difference_max"] for row in rows]
    print("log-prob difference", max(most))
    assert 0 < max(most) <= 1e-4
    assert all(0 <= row["logprob_difference_mean"] <= row["logprob_difference_max"] for row in rows)
    assert [row["importance_weight"] for row in rows] == pytest.approx([1] * 8, abs=1e-4)
    assert all(row["clip_fraction"] == row["kl"] == 0 for row in rows)


def test_every_step_and_some_samples_are_written_down(whole):
    workdir, lines = whole
    rows = read_metrics(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert {row["compiles"] for row in rows} == {1}
    assert all(row["micro_batches"] >= 1 and row["prompts"] == 4 for row in rows)
    assert all(row["entropy"] > 0 and row["grad_norm"] > 0 for row in rows)
    assert "compiling included" in lines[1]
    assert json.loads((workdir / "config.json").read_text())["group_size"] == 4
    assert resolve(workdir).step == 8
    samples = read_metrics(workdir / "samples.jsonl")
    assert [s["step"] for s in samples] == [step for step in (1, 5, 8) for _ in range(8)]
    for group in range(0, len(samples), 4):
        four = samples[group : group + 4]
        assert len({s["id"] for s in four}) == 1
        assert sum(s["advantage"] for s in four) == pytest.approx(0, abs=1e-4)


def test_killed_and_resumed_is_the_same_run(data, start, whole, tmp_path):
    words = [sys.executable, str(CHILD), str(tmp_path), str(data), str(start), "6"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert {s["step"] for s in read_metrics(tmp_path / "samples.jsonl")} == {1, 5}
    lines = []
    config = child.short_run(data, start)
    run(config, tmp_path, lines.append)
    assert lines[0].endswith("checkpoints/4")
    assert [line.split()[1] for line in lines[1:]] == ["5/8", "6/8", "7/8", "8/8"]
    rows, others = (read_metrics(path / "metrics.jsonl") for path in (whole[0], tmp_path))
    cut = [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]
    assert cut == [{k: v for k, v in row.items() if k not in TIMINGS} for row in others]
    samples = [(path / "samples.jsonl").read_bytes() for path in (whole[0], tmp_path)]
    assert samples[0] == samples[1]
    (step, state, position), again = (last_checkpoint(p, config) for p in (whole[0], tmp_path))
    assert (step, position) == (again[0], again[2])
    assert state.keys() == again[1].keys()
    assert any("optimizer" in name for name in state)
    for name, array in state.items():
        np.testing.assert_array_equal(array, again[1][name], err_msg=name)


def test_a_finished_run_does_nothing(data, start, whole):
    names = ("metrics.jsonl", "samples.jsonl")
    before = [(whole[0] / name).read_bytes() for name in names]
    lines = []
    run(child.short_run(data, start), whole[0], lines.append)
    assert lines[-1] == "nothing to do: step 8 of 8 is done"
    assert [(whole[0] / name).read_bytes() for name in names] == before


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"first_prompts": 2}, "first_prompts None, but now it is 2; set it back"),
        ({"shuffle": False}, "shuffle = True, but now it is False; set it back"),
    ],
)
def test_other_prompts_are_refused_in_a_begun_workdir(
    data, start, whole, tmp_path, changes, answer
):
    shutil.copytree(whole[0], tmp_path / "run")
    with pytest.raises(InputError) as caught:
        run(child.short_run(data, start, num_steps=9, **changes), tmp_path / "run")
    assert answer in str(caught.value)


@pytest.fixture(scope="module")
def careful(data, start, tmp_path_factory):
    """Three steps of two updates each, held to the start, on the same three prompts."""
    config = child.short_run(
        data,
        start,
        num_steps=3,
        iterations=2,
        first_prompts=3,
        loss=PolicyLossConfig(kl_weight=0.05, clip_low=0.02, clip_high=0.02),
        optimizer=OptimizerConfig(peak_lr=6e-3, warmup_steps=6),
    )
    workdir = tmp_path_factory.mktemp("careful")
    run(config, workdir, lambda line: None)
    return config, workdir


def test_the_distance_to_the_start_is_measured(careful):
    """From a reference that stays where the run started."""
    kl = [row["kl"] for row in read_metrics(careful[1] / "metrics.jsonl")]
    print("kl", kl)
    assert abs(kl[0]) <= 1e-6
    assert kl[1] > 1e-5
    assert kl[2] > kl[1]


def test_a_step_takes_as_many_updates_as_it_was_told(careful):
    config, workdir = careful
    rows = read_metrics(workdir / "metrics.jsonl")
    print("clip_fraction", [row["clip_fraction"] for row in rows])
    assert all(0 < row["clip_fraction"] < 1 for row in rows)
    assert [row["lr"] for row in rows] == pytest.approx([1e-3, 3e-3, 5e-3])  # Every second update.
    step, state, position = last_checkpoint(workdir, config)
    assert (step, int(state[".step"]), position["turn"]) == (3, 6, 0)
    lines = []
    run(config, workdir, lines.append)
    assert lines[-1] == "nothing to do: step 3 of 3 is done"


def test_the_same_prompts_are_asked_again(careful):
    samples = read_metrics(careful[1] / "samples.jsonl")
    asked = [s["id"] for s in samples[::4]]
    assert len(set(asked)) <= 3
    assert asked[0] != asked[1]
