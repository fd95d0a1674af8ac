"""`onevision bench logprob` times and checks every contestant, and counts useful work only."""

import importlib.util
import json

import numpy as np
import pytest

from onevision_jax.bench.logprob import PASSES, LogprobBench, work
from onevision_jax.cli.main import main


def test_tiny_run(tmp_path, capsys):
    out = tmp_path / "logprob.json"
    words = ["--tiny", "--preset", "3b", "--tokens", "24", "--rounds", "2", "--out", str(out)]
    assert main(["bench", "logprob", *words]) == 0
    report = json.loads(out.read_text())
    (result,) = report["runs"]
    assert result["shape"] == {"N": 24, "D": 512, "V": 9496}
    peers = [name for name in ("torch", "tokamax") if name not in result["skipped"]]
    assert ("torch" in peers) == (importlib.util.find_spec("torch") is not None)
    for name in PASSES:
        table = result["results"][name]
        assert set(table) == {"onevision, xla", "all logits, XLA", *peers}
        flops = 24 * 512 * 9496 * (6 if "backward" in name else 2)
        for who, found in table.items():
            assert len(found["seconds"]) == 2
            rate = flops / np.median(found["seconds"]) / 1e12
            assert found["tflops_per_second"] == pytest.approx(rate)
            # Those that sum in float32 are exact to that; torch rounds its logits to bfloat16.
            assert found["max_error"] <= (1e-3 if "XLA" in who or "xla" in who else 0.2)
    shown = capsys.readouterr().out
    assert "onevision, tpu skipped: needs a TPU" in shown
    assert "24 tokens, width 512, vocabulary 9496" in shown


def test_bytes_count_every_array_once():
    bench = LogprobBench(preset="7b", tokens=16_384)
    assert bench.shape == (16_384, 3584, 152_064)
    arrays = 2 * (16_384 * 3584 + 3584 * 152_064)
    assert work(bench, backward=False) == (2 * 16_384 * 3584 * 152_064, arrays + 8 * 16_384)
    assert work(bench, backward=True)[1] == 3 * arrays + 16 * 16_384


def test_bad_numbers_are_one_sentence(capsys):
    assert main(["bench", "logprob", "--tokens", "0"]) == 1
    assert capsys.readouterr().err == "onevision: --tokens is 0; write 1 or more\n"
