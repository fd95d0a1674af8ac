"""`onevision bench decode` runs, checks what it times, and keeps every round."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from onevision_jax.bench.decode import DecodeBench, float64_rows, inputs, unique_bytes
from onevision_jax.cli.main import main
from onevision_jax.errors import InputError

SMALL = ["--prompts", "1", "--answers", "2", "--prompt-tokens", "70", "--answer-tokens", "9"]


def test_decode(tmp_path, capsys):
    out = tmp_path / "decode.json"
    words = [*SMALL, "--preset", "7b", "--rounds", "2", "--steps", "1", "--out", str(out)]
    assert main(["bench", "decode", *words]) == 0
    (run,) = json.loads(out.read_text())["runs"]
    assert run["heads"] == {"query": 28, "kv": 4, "width": 128}
    assert {"shared, xla", "un-shared, xla"} <= set(run["results"])
    assert run["skipped"]["shared, gpu"].startswith("needs a Hopper GPU")
    for name, found in run["results"].items():
        assert found["max_error"] < 2e-2
        times = run["seconds_a_step"][name]
        assert len(times) == 2
        assert found["us_a_step"] == pytest.approx(1e6 * np.median(times))
        expected = run["unique_kv_bytes"] / np.median(times) / 1e9
        assert found["unique_gb_per_second"] == pytest.approx(expected)
    shown = capsys.readouterr().out
    assert "1 prompts of 70 tokens x 2 answers of 1 to 9" in shown
    assert "skipped: needs a Hopper GPU" in shown


def test_bytes_and_the_check_are_of_true_lengths():
    bench = DecodeBench(model="3b", prompts=2, answers=2, prompt_tokens=5, answer_tokens=3)
    q, cache = inputs(bench)
    slots = 2 * 5 + int(cache.lengths.sum())
    assert unique_bytes(cache) == 2 * slots * 2 * 128 * 2
    rows = np.asarray([3])
    before = float64_rows(q, cache, rows)
    unseen = cache._replace(
        prompt_v=cache.prompt_v.at[:, :, :, : 64 - 5].set(jnp.nan),
        answer_k=cache.answer_k.at[:, :, :, 3:].set(jnp.nan),
    )
    assert (float64_rows(q, unseen, rows) == before).all()
    seen = cache._replace(prompt_v=cache.prompt_v.at[:, 1, :, -1].add(1))
    assert (float64_rows(q, seen, rows) != before).any()


def test_bad_numbers_are_one_sentence(capsys):
    with pytest.raises(InputError, match="rounds is 0, expected 1 or more"):
        DecodeBench(rounds=0)
    assert main(["bench", "decode", "--prompts", "0"]) == 1
    assert capsys.readouterr().err == "onevision: prompts is 0, expected 1 or more\n"
