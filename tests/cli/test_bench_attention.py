"""`onevision bench attention`: what it counts, what it checks, and that it leaves nobody out."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from onevision_jax.bench import attention, attention_runs
from onevision_jax.bench.attention_problems import (
    Inputs,
    Problem,
    draw,
    exact,
    grpo_ranges,
    only_rows,
    text_problems,
    vision_problems,
)
from onevision_jax.bench.peaks import floor_seconds, peak_of
from onevision_jax.cli.main import main
from onevision_kernels.attention import range_attention
from onevision_kernels.attention.ranges import visible

SMALL = Problem("small GRPO", 4, 2, 16, True, grpo_ranges(5, 3, 4), None)


def test_grpo_rows_see_the_prompt_and_themselves():
    problem = SMALL
    seen = np.asarray(visible(jnp.asarray(problem.ranges), jnp.arange(17), jnp.arange(17), True))
    assert seen[0, 3].nonzero()[0].tolist() == [0, 1, 2, 3]
    assert seen[0, 10].nonzero()[0].tolist() == [0, 1, 2, 3, 4, 9, 10]
    assert problem.visible_pairs() == seen.sum()
    assert problem.flops(backward=False) == 4 * seen.sum() * 4 * 16


@pytest.mark.parametrize("problem", [*text_problems("3b", tiny=True), *vision_problems(tiny=True)])
def test_visible_pairs_are_those_of_the_mask(problem):
    index = jnp.arange(problem.num_tokens)
    seen = visible(jnp.asarray(problem.ranges), index, index, problem.causal)
    assert problem.visible_pairs() == int(seen.sum())
    if problem.segments:
        assert sum(problem.segments) == problem.num_tokens
        assert len(set(problem.segments)) == 1


def test_full_size_shapes_are_the_models_own():
    shapes = [
        (p.name, p.num_heads, p.num_kv_heads, p.head_dim) for p in text_problems("7b", tiny=False)
    ]
    assert ("7b packed 8 x 1024", 28, 4, 128) in shapes
    windows, full = vision_problems(tiny=False)
    assert (windows.num_heads, windows.head_dim, windows.num_tokens) == (16, 80, 8192)
    assert windows.visible_pairs() == 8192 * 64
    assert full.visible_pairs() == 2 * 4096**2


def results_of(problem: Problem, inputs: Inputs, d_out, ranges):
    def attend(q, k, v):
        return range_attention(q, k, v, jnp.asarray(ranges), causal=problem.causal).out

    return attention_runs.JaxRun(attend, inputs).results(d_out)


def test_the_check_accepts_the_right_answer_and_no_other():
    inputs = draw(SMALL, "float32", 0)
    wanted = exact(SMALL, inputs)
    d_out = only_rows(inputs.d_out, wanted.rows)
    right = attention.compare(results_of(SMALL, inputs, d_out, SMALL.ranges), wanted)
    assert attention.wrong(right, "float32") is None
    assert right["out_max"] < 1e-5
    blind = np.array(SMALL.ranges)
    blind[..., 2:] = 0  # An answer that does not see itself.
    errors = attention.compare(results_of(SMALL, inputs, d_out, blind), wanted)
    assert "WRONG" in (attention.wrong(errors, "float32") or "")
    swapped = inputs._replace(k=inputs.k[:, :, ::-1])  # The wrong kv head for every query head.
    errors = attention.compare(results_of(SMALL, swapped, d_out, SMALL.ranges), wanted)
    assert attention.wrong(errors, "float32")
    assert attention.wrong({"out_max": float("nan"), "grad_rel_rms": 0.0}, "float32")
    assert attention.wrong({"out_max": 0.0, "grad_rel_rms": 0.5}, "bfloat16")


def test_floors():
    peak = peak_of("NVIDIA H200")
    assert peak is not None
    assert floor_seconds(989e12, 1.0, peak) == 1.0
    assert floor_seconds(1.0, 9.6e12, peak) == 2.0
    assert peak_of("TPU v6 lite") == peak_of("TPU v6e")
    assert peak_of("TPU v5 lite") != peak_of("TPU v5p") == peak_of("TPU v5")
    assert peak_of("cpu") is None


def test_a_contestant_that_breaks_is_named_and_the_others_go_on(monkeypatch):
    def broken(problem, inputs):
        raise RuntimeError("no such kernel\nand more")

    def cheat(problem, inputs):
        return attention_runs.JaxRun(lambda q, k, v: q, inputs)

    ours = attention_runs.contestants()["onevision xla"]
    field = {"onevision xla": ours, "broken": broken, "cheat": cheat}
    monkeypatch.setattr(attention, "contestants", lambda: field)
    bench = attention.AttentionBench(tiny=True, rounds=2, dtype="float32")
    result = attention.measure(SMALL, bench)
    assert result["skipped"]["broken"] == "failed: RuntimeError: no such kernel"
    assert result["skipped"]["cheat"].startswith("WRONG: out differs by ")
    for found in result["passes"].values():
        assert list(found) == ["onevision xla"]
        times = found["onevision xla"]["seconds"]
        assert len(times) == 2
        assert min(times) > 0


def test_command(tmp_path, capsys, monkeypatch):
    out = tmp_path / "attention.json"
    monkeypatch.setattr(attention, "text_problems", lambda model, tiny: [SMALL])
    monkeypatch.setattr(attention, "vision_problems", lambda tiny: [])
    words = ["--preset", "7b", "--rounds", "2", "--out", str(out)]
    assert main(["bench", "attention", *words]) == 0
    shown = capsys.readouterr().out
    (result,) = json.loads(out.read_text())["results"]
    assert result["settings"]["tiny"]
    assert "splash (jax)         not timed: needs a TPU, this is cpu" in shown
    everybody = set(attention_runs.contestants())
    assert everybody == set(result["errors"]) | set(result["skipped"])
    assert {"onevision xla", "onevision reference"} <= set(result["errors"])
    assert all(name in shown for name in everybody)
    assert main(["bench", "attention", "--rounds", "0"]) == 1
    assert "rounds is 0, expected 1 or more" in capsys.readouterr().err
