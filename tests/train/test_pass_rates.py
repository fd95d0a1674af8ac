"""Pass rates: counted by the real grader, kept over epochs and restarts, used to choose prompts."""

import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onevision_jax.data.encode import Encode
from onevision_jax.data.sources.array_record import open_writer, pack
from onevision_jax.data.target import TargetConfig
from onevision_jax.errors import InputError
from onevision_jax.processor import Processor
from onevision_jax.rewards import GraderPool, RewardConfig
from onevision_jax.rollout import Completion
from onevision_jax.train.grpo import Prompts, run
from onevision_jax.train.metrics import read_metrics
from onevision_jax.train.pass_rates import FILE, PassRateConfig, PassRates
from onevision_jax.train.rollouts import Scoring

CHILD = Path(__file__).parent / "grpo_child.py"
spec = importlib.util.spec_from_file_location("grpo_child_of_pass_rates", CHILD)
assert spec is not None
assert spec.loader is not None
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)


@pytest.fixture(scope="module")
def samples(pipeline, records):
    """Four of each: gold 0 answered rightly, at times, never; and what no grader can use."""
    encode = Encode(pipeline.processor, TargetConfig(), 320, 192)
    plain = dataclasses.replace(
        records[0], answer="0", provenance={"difficulty": 2}, tier="college"
    )
    odd = dataclasses.replace(plain, answer="5 cm", answer_kind="choice", choices=("x", "y"))
    ids = ("always", "sometimes", "never", "odd")
    asked = [encode.prompt(dataclasses.replace(odd if id == "odd" else plain, id=id)) for id in ids]

    def complete(number: int) -> Completion:
        text = f"<think>a</think>\n<answer>{number}</answer>"
        tokens = [*encode.processor.tokenizer.encode(text).tolist(), encode.end_id]
        return Completion(token_ids=tokens, logprobs=[-1.0] * len(tokens), finish_reason="stop")

    right, wrong = complete(0), complete(7)
    groups = [[right] * 4, [right, wrong, wrong, right], [wrong] * 4, [right] * 4]
    scoring = Scoring(
        processor=encode.processor,
        rewards=RewardConfig(),
        scale="group",
        aggregation="token",
        max_new_tokens=40,
    )
    with GraderPool(num_workers=1, timeout_seconds=60) as graders:
        return {
            id: scoring([prompt], [group], graders)
            for id, prompt, group in zip(ids, asked, groups, strict=True)
        }


def test_counts_are_those_of_the_grader(samples, tmp_path):
    rates = PassRates()
    for step, id in ((1, "always"), (2, "sometimes"), (3, "never"), (3, "odd"), (9, "always")):
        rates.add(samples[id], step)
    found = {
        id: (one := rates[id]) and (one.attempts, one.correct, one.last_step) for id in samples
    }
    assert found == {
        "always": (8, 8, 9),
        "sometimes": (4, 2, 2),
        "never": (4, 0, 3),
        "odd": (0, 0, 3),  # The grader failed: that says nothing about the prompt.
    }
    rates.write(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert [row["id"] for row in rows] == ["always", "never", "odd", "sometimes"]
    assert [row["pass_rate"] for row in rows] == [1.0, 0.0, None, 0.5]
    assert {(row["tier"], row["difficulty"]) for row in rows} == {("college", 2)}
    assert str(rates) == (
        "pass rates of 4 prompts: 1 never right, 1 always right, 1 sometimes right, 1 not graded"
    )
    again = PassRates()
    again.set_state(json.loads(json.dumps(rates.get_state())))
    assert again.get_state() == rates.get_state()


def turns(rates, samples, id, count):
    record = samples[id][0].prompt.record
    return [rates.admits(record) for _ in range(count)]


def test_settled_prompts_are_passed_over(samples):
    rates = PassRates(PassRateConfig(settled_after=8))
    for id in samples:
        rates.add(samples[id], 1)
    assert all(all(turns(rates, samples, id, 5)) for id in samples)  # After 4 samples none is.
    for id in samples:
        rates.add(samples[id], 2)
    asked = {id: sum(turns(rates, samples, id, 5)) for id in samples}
    assert asked == {"always": 0, "sometimes": 5, "never": 0, "odd": 5}
    assert rates.skipped == 10
    assert "10 turns passed over" in str(rates)
    # One that is answered after all is asked again.
    shared = PassRates(PassRateConfig(settled_after=4, settled_share=0.4))
    shared.add(samples["never"], 1)
    assert turns(shared, samples, "never", 10) == [False, False, True, False, True] * 2
    right = [dataclasses.replace(s, prompt=samples["never"][0].prompt) for s in samples["always"]]
    shared.add(right, 2)
    assert all(turns(shared, samples, "never", 5))


def test_by_default_all_are_asked(samples):
    rates = PassRates()
    for step in range(9):
        rates.add(samples["never"], step)
    assert all(turns(rates, samples, "never", 9))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"settled_after": 0}, "settled_after is 0; give 1 or more"),
        ({"settled_share": 1.0}, "settled_share is 1.0; give 0 or more, below 1"),
        ({"settled_share": float("nan")}, "settled_share is nan"),
    ],
)
def test_bad_settings(changes, complaint):
    with pytest.raises(InputError, match=complaint):
        PassRateConfig(**changes)


@pytest.fixture(scope="module")
def shards(records, tmp_path_factory):
    """Two ArrayRecord files of ten records, as `onevision data build` writes them."""
    folder = tmp_path_factory.mktemp("set") / "train"
    folder.mkdir()
    for number, part in enumerate((records[:6], records[6:10])):
        writer = open_writer(folder / f"{number:05d}.arrayrecord")
        for record in part:
            writer.write(pack(dataclasses.replace(record, provenance={"difficulty": 1})))
        writer.close()
    return folder


def read_rates(workdir):
    return [json.loads(line) for line in (workdir / FILE).read_text().splitlines()]


def test_a_run_ends_when_all_prompts_are_settled(shards, start, records, tmp_path):
    """From ArrayRecord. A random model is never right, so each prompt is asked once."""
    lines = []
    config = child.short_run(shards, start, pass_rates=PassRateConfig(settled_after=4))
    run(config, tmp_path, lines.append)
    assert "the prompts are all settled after step 3 of 8" in lines
    assert "pass rates of 10 prompts: 10 never right; " in lines[-1]
    rows = read_rates(tmp_path)
    assert {row["id"] for row in rows} == {record.id for record in records[:10]}
    steps = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["prompts"] for row in steps[:2]] == [4, 4]
    assert steps[0]["skipped_prompts"] == steps[1]["skipped_prompts"] == 0
    # Step 3 reaches into the second epoch, and may ask again what it has not graded yet.
    assert sum(row["attempts"] for row in rows) == 4 * sum(row["prompts"] for row in steps)
    assert {(row["correct"], row["difficulty"]) for row in rows} == {(0, 1)}
    assert all(row["attempts"] in (4, 8) for row in rows)


def test_the_choice_goes_on_from_a_state(shards, start, samples):
    """Every state of a chain of steps gives the rest of the chain, from ArrayRecord."""
    config = child.short_run(
        shards, start, pass_rates=PassRateConfig(settled_after=4, settled_share=0.3)
    )
    processor = Processor.from_folder(start / "assets")

    def ask(prompts, step):
        """A step's prompts; those of even numbers are never answered rightly, others at times."""
        asked = prompts.take(3)
        for prompt in asked:
            kind = "sometimes" if int(prompt.record.id[1:]) % 2 else "never"
            graded = [dataclasses.replace(s, prompt=prompt) for s in samples[kind]]
            prompts.pass_rates.add(graded, step)
        return [prompt.record.id for prompt in asked], prompts.num_skipped

    whole = Prompts(config, processor)
    states, steps = [], []
    for step in range(16):
        states.append(json.loads(json.dumps(whole.get_state())))
        steps.append(ask(whole, step))
    assert sum(skipped for _, skipped in steps) == whole.pass_rates.skipped > 5
    for step in range(0, 16, 3):
        again = Prompts(config, processor)
        again.set_state(states[step])
        assert [ask(again, s) for s in range(step, 16)] == steps[step:]
        assert again.get_state() == whole.get_state()


@pytest.mark.long
def test_killed_and_resumed_counts_the_same(shards, start, tmp_path):
    """Killed in step 6, two behind its checkpoint: the same prompts are chosen, the same file."""
    changes = {"pass_rates": PassRateConfig(settled_after=4, settled_share=0.5)}
    config = child.short_run(shards, start, **changes)
    run(config, tmp_path / "whole", lambda line: None)
    words = [sys.executable, str(CHILD), str(tmp_path / "cut"), str(shards), str(start), "6", "0.5"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = read_rates(tmp_path / "cut")
    assert max(row["last_step"] for row in before) == 4
    run(config, tmp_path / "cut", lambda line: None)
    whole, cut = (tmp_path / name / FILE for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    counts = [(row["attempts"], row["skipped"]) for row in read_rates(tmp_path / "whole")]
    assert sum(attempts for attempts, _ in counts) == 8 * 4 * 4
    assert sum(skipped for _, skipped in counts) > 10
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut")]
    names = ("reward", "loss", "grad_norm", "skipped_prompts", "prompts")
    assert [[row[n] for n in names] for row in rows[0]] == [
        [row[n] for n in names] for row in rows[1]
    ]
    # Every settled prompt is asked in every second turn of its.
    asked = np.array([attempts for attempts, _ in counts]) // 4
    assert asked.max() - asked.min() <= 1
