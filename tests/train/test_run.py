"""Whole runs: killed and resumed they are the same run; what does not fit is one sentence."""

import dataclasses
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from onevision_jax.checkpoint import identify, load_params, resolve
from onevision_jax.data.record import write_jsonl
from onevision_jax.errors import InputError
from onevision_jax.model import from_folder, preset
from onevision_jax.parallel import ShardingRules, make_mesh
from onevision_jax.train import Setup
from onevision_jax.train.metrics import read_metrics
from onevision_jax.train.saving import Checkpoints, prepare_workdir, remove_for_good
from onevision_jax.train.scratch import ScratchConfig, write_scratch
from onevision_jax.train.sft import train

CHILD = Path(__file__).parent / "child.py"
TIMINGS = {"tokens_per_second", "step_seconds", "data_seconds", "compiles"}
spec = importlib.util.spec_from_file_location("train_child", CHILD)
assert spec is not None
assert spec.loader is not None
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)


@pytest.fixture(scope="module")
def data(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    write_jsonl(folder / "train.jsonl", records)
    return folder / "train.jsonl"


@pytest.fixture(scope="module")
def whole(data, start, tmp_path_factory):
    """Four steps without a break: (workdir, lines of the console)."""
    workdir = tmp_path_factory.mktemp("whole")
    lines = []
    train(child.short_run(start), workdir, child.make_batches(data, start), lines.append)
    return workdir, lines


def wanted(config, start):
    rules = ShardingRules(make_mesh())
    return Setup(config, from_folder(start / "assets"), rules).wanted


def same_run(one, other, start):
    """Bit for bit: state and data position of the last checkpoint, all numbers but times."""
    rows, others = (read_metrics(workdir / "metrics.jsonl") for workdir in (one, other))
    cut = [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]
    assert cut == [{k: v for k, v in row.items() if k not in TIMINGS} for row in others]
    found = []
    for workdir in (one, other):
        checkpoints = Checkpoints(workdir, 1)
        step = checkpoints.latest
        assert step is not None
        found.append(checkpoints.restore(step, wanted(child.short_run(start), start)))
        checkpoints.close()
    (state, position), (other_state, other_position) = found
    assert position == other_position
    arrays, other_arrays = by_leaf(state), by_leaf(other_state)
    assert arrays.keys() == other_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, other_arrays[name], err_msg=name)


def by_leaf(state):
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def test_killed_and_resumed_is_the_same_run(data, start, whole, tmp_path):
    words = [sys.executable, str(CHILD), str(tmp_path), str(data), str(start), "3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    lines = []
    train(child.short_run(start), tmp_path, child.make_batches(data, start), lines.append)
    assert lines[0].endswith("checkpoints/2")
    assert [line.split()[1] for line in lines[1:]] == ["3/4", "4/4"]
    same_run(whole[0], tmp_path, start)


def test_a_run_learns_reports_and_leaves_a_checkpoint_others_read(whole, start):
    workdir, lines = whole
    rows = read_metrics(workdir / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0]["lr"] == pytest.approx(5e-4)
    assert {row["compiles"] for row in rows} == {1}
    assert all(row["tokens"] > row["response_tokens"] > 0 and row["patches"] > 0 for row in rows)
    assert all(0 < row["token_padding"] < 1 and row["step_seconds"] > 0 for row in rows)
    assert "compiling included" in lines[1]
    assert "ETA 0:00" in lines[-1]
    assert json.loads((workdir / "config.json").read_text())["optimizer"]["peak_lr"] == 1e-3
    found = resolve(workdir)
    assert found.step == 4
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["4"]  # keep=1
    before, after = load_params(resolve(start)), load_params(found)
    assert all((np.asarray(after[name]) != np.asarray(before[name])).any() for name in before)
    names = sorted(path.name for path in (start / "assets").iterdir())
    assert names == sorted(path.name for path in identify(workdir).assets.iterdir())


def test_a_finished_run_does_nothing(data, start, whole):
    before = (whole[0] / "metrics.jsonl").read_bytes()
    lines = []
    train(child.short_run(start), whole[0], child.make_batches(data, start), lines.append)
    assert lines[-1] == "nothing to do: step 4 of 4 is done"
    assert (whole[0] / "metrics.jsonl").read_bytes() == before


def test_data_that_end_early_end_the_run_with_a_checkpoint(data, start, tmp_path, settings):
    class OneBatch:
        def __init__(self):
            self.left = 1
            self.inner = child.make_batches(data, start)(None)

        def __next__(self):
            if not self.left:
                raise StopIteration
            self.left -= 1
            return next(self.inner)

        def __iter__(self):
            return self

        def empty(self):
            return self.inner.empty()

        def get_state(self):
            return {"left": self.left}

        def set_state(self, state):
            self.left = state["left"]

    lines = []
    train(child.short_run(start), tmp_path, lambda rules: OneBatch(), lines.append)
    assert "the data ended after step 1 of 4" in lines
    assert resolve(tmp_path).step == 1


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    return tmp_path / "run"


def test_a_checkpoint_of_another_model_is_refused(start, copy, tmp_path):
    config = child.short_run(start)
    other = dataclasses.replace(
        preset("debug"), text=dataclasses.replace(preset("debug").text, num_layers=1)
    )
    write_scratch(tmp_path / "other", ["a b c"], ScratchConfig(shape=other))
    with pytest.raises(InputError, match=r"describes another model than .*; give a new --workdir"):
        prepare_workdir(copy, tmp_path / "other")
    checkpoints = Checkpoints(copy, 1)
    with pytest.raises(InputError, match=r"checkpoints/4 was written for another model \(.* has"):
        checkpoints.restore(4, wanted(config, tmp_path / "other"))
    frozen = dataclasses.replace(config.optimizer, freeze=("vision",))
    with pytest.raises(InputError, match="another optimizer or other frozen parts"):
        checkpoints.restore(4, wanted(dataclasses.replace(config, optimizer=frozen), start))
    checkpoints.close()


def test_a_workdir_in_use_is_refused(data, start, tmp_path):
    refused = []

    def say(line):
        with pytest.raises(InputError, match="is in use by another run"):
            train(child.short_run(start), tmp_path, child.make_batches(data, start))
        refused.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(child.short_run(start), tmp_path, child.make_batches(data, start), say)
    assert refused


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for one checkpoint, where mounting one is permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)]
    if not shutil.which("mount") or subprocess.run(options, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_the_checkpoint_before(start, whole, copy, small_disk):
    shutil.copytree(copy, small_disk / "run")
    checkpoints = Checkpoints(small_disk / "run", 1)
    state, position = checkpoints.restore(4, wanted(child.short_run(start), start))
    free = shutil.disk_usage(small_disk).free
    (small_disk / "others").write_bytes(b"x" * (free - 200_000))

    def save():
        checkpoints.save(5, state, position)
        checkpoints.wait()

    with pytest.raises(InputError, match=r"checkpoints/5 cannot be written: the disk is full"):
        save()
    checkpoints.close()
    assert [path.name for path in (small_disk / "run" / "checkpoints").iterdir()] == ["4"]
    same_run(whole[0], small_disk / "run", start)


def test_what_a_late_writer_leaves_of_a_failed_save_is_removed_too(tmp_path):
    left = tmp_path / "5.orbax-checkpoint-tmp" / "model"
    left.mkdir(parents=True)
    late = threading.Timer(0.3, lambda: left.mkdir(parents=True))
    late.start()
    remove_for_good(tmp_path, "5.orbax-checkpoint-tmp*")
    late.join()
    assert not list(tmp_path.iterdir())
