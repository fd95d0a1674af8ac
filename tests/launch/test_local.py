"""Two processes on this machine train what one trains, and end together."""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from onevision_jax.checkpoint import load_params, resolve
from onevision_jax.data.record import write_jsonl
from onevision_jax.train.metrics import read_metrics

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "launch" / "local.sh"
NUM_DEVICES = 4  # over all processes of a run
NO_GLOO = re.compile("make_gloo_tcp_collectives|unimplemented.*gloo", re.IGNORECASE)
CONFIG = """
from onevision_jax.config import defaults
from onevision_jax.train.scratch import ScratchConfig
from onevision_jax.train.sft import SFTConfig


def get_config():
    config = defaults(SFTConfig)
    config.checkpoint = "start"
    config.scratch = defaults(ScratchConfig)
    config.scratch.init_scale = 0.2
    config.scratch.num_merges = 60
    config.data = ("train.jsonl",)
    config.num_steps = 4
    config.save_every = 2
    config.log_every = 1
    config.model.dtype = "float32"
    config.optimizer.peak_lr = 1e-3
    config.optimizer.warmup_steps = 2
    # A key's bias has no gradient but what rounding leaves; the usual eps makes full steps of it.
    config.optimizer.eps = 1e-4
    config.pipeline.rows_per_batch = 8
    config.pipeline.num_shards = 4
    config.pipeline.packing.tokens_per_row = 320
    config.pipeline.packing.patch_budgets = (128, 192)
    config.pipeline.packing.window = 8
    return config
"""


def make_records():
    """Those of tests/train."""
    path = ROOT / "tests" / "train" / "conftest.py"
    spec = importlib.util.spec_from_file_location("train_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rng = np.random.default_rng(0)
    return [module.make_record(number, rng) for number in range(48)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_jsonl(folder / "train.jsonl", make_records())
    (folder / "config.py").write_text(CONFIG)
    return folder


def start(folder, *words, devices=1, variables=None):
    """local.sh with these words, as a process of `folder`."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        **(variables or {}),
    }
    return subprocess.Popen(
        [str(LOCAL), *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=300):
    """(exit code, stdout, stderr)."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.terminate()  # so does local.sh then with its processes
    return process.returncode, out, err


def train(folder, count, workdir):
    """The lines of the console of `onevision sft` in so many processes."""
    words = [str(count), "onevision", "sft", "--config", "config.py", "--workdir", workdir]
    code, out, err = finish(start(folder, *words, devices=NUM_DEVICES // count))
    if code and NO_GLOO.search(err):
        pytest.skip("this jax has no gloo collectives between CPUs")
    assert code == 0, out + err
    return [line for line in out.splitlines() if "[Gloo]" not in line]


@pytest.fixture(scope="module")
def two(folder):
    """Four steps of two processes, which also make the model: the lines of the console."""
    return train(folder, 2, "two")


@pytest.fixture(scope="module")
def one(folder, two):
    """The same in one process."""
    return train(folder, 1, "one")


def position(workdir):
    return json.loads((workdir / "checkpoints" / "4" / "data" / "data.json").read_text())


def same_run(one, other):
    """Losses and parameters to 1e-5, batches and data position exactly."""
    rows, others = (read_metrics(workdir / "metrics.jsonl") for workdir in (one, other))
    assert [row["step"] for row in rows] == [row["step"] for row in others] == [1, 2, 3, 4]
    for row, another in zip(rows, others, strict=True):
        assert row["loss"] == pytest.approx(another["loss"], rel=1e-5)
        for name in ("tokens", "response_tokens", "patches", "patch_padding"):
            assert row[name] == another[name]
    params, others = (load_params(resolve(workdir)) for workdir in (one, other))
    assert params.keys() == others.keys()
    total = np.sqrt(sum(np.linalg.norm(array) ** 2 for array in params.values()))
    for name, array in params.items():
        distance = np.linalg.norm(np.asarray(array) - np.asarray(others[name]))
        assert distance <= 1e-5 * (np.linalg.norm(array) + 1e-6 * total), name
    assert position(one) == position(other)


def test_two_processes_train_what_one_trains(folder, one, two):
    same_run(folder / "one", folder / "two")
    # One of them speaks, and what it says is what a single process says.
    said = [re.sub(r"\d[\d.,]* tokens/s|  [^ ]* s/step.*", "", line) for line in two]
    assert sum("step 1/4" in line for line in said) == 1
    assert sum("making a model from nothing" in line for line in said) == 1
    assert said[0] == "waiting for 1 of 2 processes at " + said[0].split()[-1]
    same = [line for line in said[1:] if "making a model" not in line]
    assert same == [re.sub(r"\d[\d.,]* tokens/s|  [^ ]* s/step.*", "", line) for line in one]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_any_number_of_processes_goes_on(folder, one, two, before, after):
    workdir = folder / f"{before}_then_{after}"
    shutil.copytree(folder / ("two" if before == 2 else "one"), workdir)
    shutil.rmtree(workdir / "checkpoints" / "4")
    lines = train(folder, after, workdir.name)
    assert any(line.endswith("checkpoints/2") for line in lines)
    assert not any("step 2/4" in line for line in lines)
    same_run(folder / "one", workdir)


FAIL = """
echo $$ > "pid$ONEVISION_PROCESS_ID"
while ! [ -s pid0 -a -s pid1 ]; do sleep 0.1; done
[ "$ONEVISION_PROCESS_ID" = 0 ] || exit 7
sleep 600 & wait
"""


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def pids(folder):
    """Of the two processes, once both have written theirs down."""
    files = [folder / "pid0", folder / "pid1"]
    while not all(file.is_file() and file.read_text() for file in files):
        time.sleep(0.05)
    return [int(file.read_text()) for file in files]


def test_one_that_fails_ends_the_other_and_gives_its_code(tmp_path):
    began = time.monotonic()
    code, _, _ = finish(start(tmp_path, "2", "bash", "-c", FAIL))
    assert code == 7
    assert time.monotonic() - began < 60
    assert not any(is_alive(pid) for pid in pids(tmp_path))


def test_ending_the_script_ends_the_processes(tmp_path):
    process = start(tmp_path, "2", "bash", "-c", FAIL.replace("exit 7", "true"))
    both = pids(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    assert not any(is_alive(pid) for pid in both)


def test_where_no_script_watches_one_that_fails_ends_the_other_too(folder, two):
    """Process 1 finds no data; the one that waits for it sees the connection break."""
    words = ["sft", "--config", "config.py", "--workdir", "none"]
    script = (
        'if [ "$ONEVISION_PROCESS_ID" = 1 ]; then set -- "$@" --config.data=nothing.jsonl; fi\n'
        '"$@"; echo "$ONEVISION_PROCESS_ID ended with $?"; sleep 600 & wait'
    )
    process = start(folder, "2", "bash", "-c", script, "bash", "onevision", *words, devices=2)
    assert process.stdout is not None
    ended, times = {}, []
    for line in process.stdout:
        if found := re.match(r"(\d) ended with (\d+)", line):
            ended[found[1]] = int(found[2])
            times.append(time.monotonic())
        if len(ended) == 2:
            break
    assert times[1] - times[0] < 60
    process.terminate()
    _, _, err = finish(process)
    assert ended["1"] == 1
    assert ended["0"] != 0
    assert "nothing.jsonl" in err


def test_usage_and_a_single_process(tmp_path):
    for words in ([], ["--help"], ["2"], ["two", "true"], ["0", "true"]):
        code, _, err = finish(start(tmp_path, *words))
        assert code == 2
        assert "launch/local.sh 2 onevision sft --config" in err
    script = 'echo "${ONEVISION_NUM_PROCESSES-none} $1"; exit 3'
    code, out, _ = finish(start(tmp_path, "1", "bash", "-c", script, "bash", "a b"))
    assert (code, out) == (3, "none a b\n")


def test_gpus_are_shared_out(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf '0\\n1\\n2\\n3\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JAX_PLATFORMS": ""}
    script = ["bash", "-c", 'echo "$ONEVISION_PROCESS_ID: $CUDA_VISIBLE_DEVICES"']
    _, out, _ = finish(start(tmp_path, "2", *script, variables=variables))
    assert sorted(out.splitlines()) == ["0: 0,1", "1: 2,3"]
    variables["CUDA_VISIBLE_DEVICES"] = "5,7"
    _, out, _ = finish(start(tmp_path, "2", *script, variables=variables))
    assert sorted(out.splitlines()) == ["0: 5", "1: 7"]
    code, _, err = finish(start(tmp_path, "3", *script, variables=variables))
    assert code == 2
    assert "2 GPUs cannot be shared by 3 processes" in err
