"""From drawn completions to rewards, advantages and micro-batches, with the real grader."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from onevision_jax.data.encode import Encode
from onevision_jax.data.packing import Packing, unpack
from onevision_jax.data.target import TargetConfig
from onevision_jax.rewards import GraderPool, RewardConfig
from onevision_jax.rollout import Completion
from onevision_jax.train.rollouts import (
    Aggregation,
    Scoring,
    as_row,
    micro_batches,
    summarise,
    token_weights,
)

PACKING = Packing(tokens_per_row=320, patch_budgets=(192,))
RIGHT, WRONG = "<think>a</think>\n<answer>0</answer>", "<think>a</think>\n<answer>7</answer>"
UNPARSED = "nobody can say"
CUT = "First, a is 0, so the answer is 0"  # Right if it were not cut.
MAX_NEW_TOKENS = 40


@pytest.fixture(scope="module")
def graders():
    with GraderPool(num_workers=1, timeout_seconds=60) as pool:
        yield pool


@pytest.fixture(scope="module")
def encode(pipeline):
    return Encode(pipeline.processor, TargetConfig(), 320, 192)


def complete(encode, text, reason="stop") -> Completion:
    """Logprobs tell every token from every other."""
    ids = encode.processor.tokenizer.encode(text).tolist()
    ids += [encode.end_id] if reason == "stop" else []
    rng = np.random.default_rng(len(text))
    return Completion(
        token_ids=ids, logprobs=rng.uniform(-3, 0, len(ids)).tolist(), finish_reason=reason
    )


def make_scoring(encode, **changes) -> Scoring:
    fields = {"scale": "group", "aggregation": "token", "max_new_tokens": MAX_NEW_TOKENS}
    fields["rewards"] = RewardConfig(mask_truncated=changes.pop("mask_truncated", False))
    return Scoring(processor=encode.processor, **{**fields, **changes})


@pytest.fixture(scope="module")
def asked(encode, records):
    """Gold 0; another with gold 0; a choice whose gold is none of them, which no grader can use."""
    odd = dataclasses.replace(records[2], answer="5 cm", answer_kind="choice", choices=("x", "y"))
    plain = dataclasses.replace(records[1], answer="0")
    return [encode.prompt(record) for record in (records[0], plain, odd)]


@pytest.fixture(scope="module")
def groups(encode):
    mixed = [complete(encode, t) for t in (RIGHT, WRONG, UNPARSED)]
    mixed.append(complete(encode, CUT, "length"))
    wrong = [complete(encode, WRONG) for _ in range(4)]
    return [mixed, wrong, mixed]


@pytest.fixture(scope="module")
def samples(encode, asked, groups, graders):
    return make_scoring(encode)(asked, groups, graders)


def against_siblings(rewards):
    rewards = np.asarray(rewards)
    return (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)


def test_completions_are_graded_and_compared(samples, asked, groups):
    verdicts = [s.reward.grade.verdict for s in samples]
    assert verdicts[:4] == ["correct", "wrong", "unparsed", "truncated"]
    assert verdicts[4:8] == ["wrong"] * 4
    assert verdicts[8:] == ["grader_failed"] * 3 + ["truncated"]
    assert [s.reward.total for s in samples[:8]] == pytest.approx([1.0, 0.1, 0, 0, *[0.1] * 4])
    advantages = [s.advantage for s in samples]
    assert advantages[:4] == pytest.approx(against_siblings([1.0, 0.1, 0, 0]), rel=1e-5)
    assert advantages[4:8] == [0] * 4
    assert [s.response for s in samples[:2]] == [RIGHT, WRONG]  # Without the end token.
    assert [id(s.prompt) for s in samples] == [id(p) for p in asked for _ in range(4)]
    assert [s.completion for s in samples] == [c for group in groups for c in group]


def test_what_the_grader_cannot_judge_takes_no_part(samples):
    failed = [s for s in samples if s.reward.grade.verdict == "grader_failed"]
    assert len(failed) == 3
    assert all((s.reward.masked, s.advantage, s.weight) == (True, 0, 0) for s in failed)
    alone = samples[11]  # Cut before its answer, and without a sibling that counts.
    assert (alone.reward.masked, alone.advantage) == (False, 0)
    assert alone.weight > 0
    counted = [s for s in samples if not s.reward.masked]
    tokens = sum(len(s.completion.token_ids) for s in counted)
    assert {s.weight for s in counted} == {1 / tokens}


def test_cut_completions_are_masked_on_request(encode, asked, groups, graders):
    scoring = make_scoring(encode, mask_truncated=True, scale="none", aggregation="sequence")
    samples = scoring(asked[:1], groups[:1], graders)
    mean = 1.1 / 3
    assert [s.advantage for s in samples] == pytest.approx([1 - mean, 0.1 - mean, -mean, 0])
    assert [s.reward.masked for s in samples] == [False, False, False, True]
    lengths = [len(s.completion.token_ids) for s in samples]
    want = [1 / (3 * lengths[i]) for i in range(3)]
    assert [s.weight for s in samples] == pytest.approx([*want, 0])


def test_weights_are_those_of_trl():
    """On the same losses as its dapo, grpo and dr_grpo, each written out."""
    rng = np.random.default_rng(0)
    lengths = np.array([3, 1, 7, 4])
    losses = [rng.normal(size=length) for length in lengths]
    every = np.ones(4, bool)
    want: dict[Aggregation, float] = {
        "token": sum(loss.sum() for loss in losses) / lengths.sum(),
        "sequence": sum(loss.mean() for loss in losses) / 4,
        "constant": sum(loss.sum() for loss in losses) / (4 * 10),
    }
    for aggregation, value in want.items():
        weights = token_weights(lengths, every, aggregation, 10)
        got = sum(w * loss.sum() for w, loss in zip(weights, losses, strict=True))
        assert got == pytest.approx(value)


@pytest.mark.parametrize(
    ("aggregation", "total"), [("token", 1), ("sequence", 1), ("constant", 0.5)]
)
def test_weights_leave_out_what_is_masked(aggregation, total):
    lengths, counted = np.array([3, 100, 7]), np.array([True, False, True])
    weights = token_weights(lengths, counted, aggregation, 10)
    assert weights[1] == 0
    assert (weights * lengths).sum() == pytest.approx(total)
    assert (token_weights(lengths, np.zeros(3, bool), aggregation, 10) == 0).all()


@pytest.fixture(scope="module")
def marked(encode, records, graders):
    """24 samples, every one with an advantage of its own; two idle, two masked."""
    rng = np.random.default_rng(1)
    asked = [encode.prompt(record) for record in records[:6]]
    groups = [[complete(encode, "ab " * int(rng.integers(1, 40))) for _ in range(4)] for _ in asked]
    samples = make_scoring(encode)(asked, groups, graders)
    number = iter(range(1, 25))
    samples = [dataclasses.replace(s, advantage=next(number) / 8, weight=0.5) for s in samples]
    for place, change in ((3, "advantage"), (9, "advantage"), (5, "weight"), (20, "weight")):
        samples[place] = dataclasses.replace(samples[place], **{change: 0.0})
    return samples


@pytest.mark.parametrize("keep_idle", [False, True])
@pytest.mark.parametrize("rows", [2, 4])
def test_every_counted_token_is_trained_once_where_it_is_the_target(
    marked, encode, rows, keep_idle
):
    used = [s for s in marked if s.weight and (keep_idle or s.advantage)]
    assert len(used) == (22 if keep_idle else 20)
    wanted = Counter()
    for s in used:
        wanted[(s.advantage, *s.prompt.example.tokens.tolist(), *s.completion.token_ids)] += 1
    by_advantage = {s.advantage: s for s in used if s.advantage}
    found = Counter()
    batches = list(micro_batches(marked, encode, PACKING, rows, keep_idle))
    assert len(batches) > 1
    for batch in batches:
        assert batch["tokens"].shape == (rows, 320)
        assert batch["patches"].shape == (rows, 192, 588)
        fields = ("advantages", "sampler_logprobs", "loss_weights")
        assert all(batch[name].dtype == np.float32 for name in fields)
        assert all((batch[name][batch["loss_weights"] == 0] == 0).all() for name in fields)
        segments = batch["segment_ids"]
        for row, segment in {(r, int(segments[r, t])) for r, t in np.argwhere(segments)}:
            here = np.flatnonzero(segments[row] == segment)
            learnt = here[batch["loss_weights"][row, here] != 0]
            (advantage,) = set(batch["advantages"][row, learnt].tolist())
            assert set(batch["loss_weights"][row, learnt].tolist()) == {0.5}
            assert (batch["targets"][row, learnt] == batch["tokens"][row, learnt + 1]).all()
            found[(advantage, *batch["tokens"][row, here].tolist())] += 1
            if advantage:
                drawn = by_advantage[advantage].completion
                assert batch["targets"][row, learnt].tolist() == drawn.token_ids
                logprobs = np.asarray(drawn.logprobs, np.float32)
                np.testing.assert_array_equal(batch["sampler_logprobs"][row, learnt], logprobs)
    assert found == wanted


def test_the_last_batch_is_filled_with_empty_rows(marked, encode):
    batches = list(micro_batches(marked[:3], encode, PACKING, 4, False))
    assert len(batches) == 1
    held = (batches[0]["segment_ids"] != 0).any(axis=1)
    assert 0 < held.sum() < 4
    assert (batches[0]["loss_weights"][~held] == 0).all()
    assert (batches[0]["image_ids"][~held] == 0).all()
    assert len(unpack(batches[0])) == 3
    idle = [dataclasses.replace(s, advantage=0.0) for s in marked[:3]]
    assert not list(micro_batches(idle, encode, PACKING, 4, False))


def test_a_step_is_summed_up(samples, encode, asked, groups, graders):
    numbers = summarise(samples, 4)
    lengths = [len(c.token_ids) for group in groups for c in group]
    assert numbers == pytest.approx(
        {
            "reward": (1.0 + 0.1 + 4 * 0.1) / 9,  # Three of twelve could not be judged.
            "reward_std": np.std([1.0, 0.1, 0, 0]) / 3,
            "accuracy": 1 / 9,
            "format": 6 / 9,
            "formal": 0.0,
            "idle_groups": 2 / 3,
            "completion_length": np.mean(lengths),
            "completion_length_max": max(lengths),
            "clipped_ratio": 2 / 12,
            "masked": 3,
            "completion_tokens": sum(lengths),
        }
    )
    nothing = make_scoring(encode)(asked[2:], [[groups[0][0]] * 4], graders)
    assert summarise(nothing, 4)["reward"] == summarise(nothing, 4)["reward_std"] == 0
    row = as_row(7, samples[0])
    assert (row["step"], row["id"], row["verdict"]) == (7, "r0", "correct")
    assert (row["response"], row["gold"], row["reward"]) == (RIGHT, "0", samples[0].reward.total)
