"""`onevision bench step`: compiles for absent devices, and says what it cannot compile."""

import json

import pytest

from onevision_jax.cli.main import main


@pytest.mark.aot
@pytest.mark.parametrize("topology", ["v6e:2x2", "h200:2"])
def test_bench_step(topology, tmp_path, capsys):
    out = tmp_path / "step.json"
    words = ["--preset", "debug", "--topology", topology, "--tokens", "256", "--patches", "256"]
    names = ["--attention", "xla", "--attention", "reference", "--attention", "none-such"]
    assert main(["bench", "step", *words, *names, "--json", str(out)]) == 1
    printed = capsys.readouterr().out
    assert "'none-such' is none of" in printed
    report = json.loads(out.read_text())
    xla, dense = (report["implementations"][name] for name in ("xla", "reference"))
    # The dense reference keeps its scores for the backward pass; float32 [4 heads, 256, 256] a row.
    assert dense["temp_bytes"] > xla["temp_bytes"] > 0
    assert xla["argument_bytes"] == dense["argument_bytes"] > 0
    assert xla["fits"]
    assert (xla["flops"] is not None) == (topology != "h200:2")


def test_sizes_below_one_are_refused(capsys):
    assert main(["bench", "step", "--tokens", "0"]) == 1
    assert "--tokens is 0" in capsys.readouterr().err
