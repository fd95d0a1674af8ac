"""`onevision doctor` tells the truth about the environment that the tests run in."""

import json
import sys
from importlib import metadata

import jax
import pytest

from onevision_jax.cli import doctor
from onevision_jax.cli.main import main


@pytest.fixture
def report(capsys):
    assert main(["doctor", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_report_matches_this_process(report):
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["packages"]["jax"] == jax.__version__
    assert report["packages"]["pillow"] == metadata.version("pillow")
    assert [device["platform"] for device in report["devices"]] == ["cpu"] * 8
    assert report["problems"] == []


@pytest.mark.parametrize("op", ["attention", "decode", "logprob"])
def test_one_implementation_of_each_op_is_active(report, op):
    active = [name for name, state in report[op].items() if state.startswith("active")]
    assert len(active) == 1
    assert all(report[op].values())


def test_extras_are_those_of_the_package(report):
    assert {"cuda", "tpu", "parity", "test", "aot"} <= report["extras"].keys()
    # pytest is running, so it is never among what is missing.
    assert not any(line.startswith("pytest>=") for line in report["extras"]["test"]["missing"])
    for name, extra in report["extras"].items():
        assert extra["install"].endswith(f"[{name}]'")
        assert "-m pip install" in extra["install"]


def test_table_says_what_the_json_says(report, capsys):
    assert main(["doctor"]) == 0
    table = capsys.readouterr().out
    assert f"jax               {jax.__version__}" in table
    assert "8 x cpu (cpu)" in table
    assert "problem" not in table
    assert all(name in table for name in report["attention"])


def test_missing_and_wrong_versions_are_told_apart(monkeypatch):
    versions = {"torch": None, "transformers": "5.1.0"}
    real = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: versions.get(name, real(name)))
    unmet = doctor.unmet_requirements("onevision-jax", "parity")
    assert "torch==2.13.0" in unmet
    assert "transformers==4.57.6 (found 5.1.0)" in unmet


def test_equal_devices_share_a_line():
    h200 = {"kind": "NVIDIA H200", "platform": "gpu", "memory_bytes": 105 * 2**30}
    lines = doctor.device_lines([{"id": index, **h200} for index in range(8)])
    assert lines == ["8 x NVIDIA H200 (gpu), 105.0 GiB each for jax"]


def test_an_idle_accelerator_is_a_problem(monkeypatch, capsys, tmp_path):
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(doctor, "ACCELERATOR_FILES", {"cuda": str(tmp_path / "nvidia[0-9]*")})
    monkeypatch.delenv("JAX_PLATFORMS")
    assert main(["doctor"]) == 1
    assert "yet jax runs on the CPU; try:" in capsys.readouterr().out


def test_a_jax_that_does_not_start_is_reported(monkeypatch, capsys):
    def fail():
        raise RuntimeError("no backend here")

    monkeypatch.setattr(jax, "local_devices", fail)
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == [
        "jax does not start: no backend here"
    ]
