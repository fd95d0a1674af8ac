"""From prompts to scored samples, and from those to batches of one shape.

Three steps that know nothing of each other: `roll_out` draws groups of completions, `Scoring` turns
them into rewards and advantages, `micro_batches` packs prompt + completion as training sequences.
Token ids go through as they were drawn; no completion is ever tokenised again.

Letters: P prompts, G completions a prompt, B rows, T tokens.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from onevision_jax.data.encode import Encode, Prompt, TrainingExample
from onevision_jax.data.packing import Packing, join, stack
from onevision_jax.processor import Processor
from onevision_jax.rewards import GraderPool, Item, RewardBreakdown, RewardConfig, weigh
from onevision_jax.rollout import Completion, Generator, Sampling
from onevision_jax.train.advantage import Scale, group_advantages

NUM_CHANNELS = 3
# How tokens share the loss: "token" (DAPO): each of the N counted tokens 1 / N; "sequence" (GRPO):
# each completion alike, its tokens 1 / (completions x length); "constant" (Dr. GRPO): each token
# 1 / (completions x max_new_tokens).
Aggregation = Literal["token", "sequence", "constant"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One completion of one prompt, judged."""

    prompt: Prompt
    completion: Completion
    response: str  # the completion's text, special tokens left out
    reward: RewardBreakdown
    advantage: float
    weight: float  # what each of its tokens counts in the loss; 0 = masked


def roll_out(
    generator: Generator,
    prompts: Sequence[Prompt],
    *,
    group_size: int,
    sampling: Sampling,
    max_new_tokens: int,
    seed: Sequence[int],
) -> list[list[Completion]]:
    """G completions of each prompt. seed: numbers that tell this call from every other."""
    words = np.random.SeedSequence(list(seed)).generate_state(len(prompts) * group_size)
    flat = generator.generate(
        [prompt.example for prompt in prompts],
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        seeds=[int(word) for word in words],
        num_samples=group_size,
    )
    return [flat[i : i + group_size] for i in range(0, len(flat), group_size)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scoring:
    """How completions become samples."""

    processor: Processor
    rewards: RewardConfig
    scale: Scale
    aggregation: Aggregation
    max_new_tokens: int

    def __call__(
        self,
        prompts: Sequence[Prompt],
        groups: Sequence[Sequence[Completion]],
        graders: GraderPool,
    ) -> list[Sample]:
        """Every completion with reward, advantage and token weight, group after group."""
        pairs = [(p, c) for p, group in zip(prompts, groups, strict=True) for c in group]
        decode = self.processor.tokenizer.decode
        texts = [decode(completion.token_ids, skip_special=True) for _, completion in pairs]
        found = self._judge(pairs, texts, graders)
        shape = (len(prompts), -1)
        totals = np.array([reward.total for reward in found]).reshape(shape)
        counted = np.array([not reward.masked for reward in found]).reshape(shape)
        advantages = group_advantages(totals, counted, self.scale).reshape(-1)
        lengths = np.array([len(completion.token_ids) for _, completion in pairs])
        weights = token_weights(lengths, counted.reshape(-1), self.aggregation, self.max_new_tokens)
        return [
            Sample(
                prompt=prompt,
                completion=completion,
                response=text,
                reward=reward,
                advantage=float(advantage),
                weight=float(weight),
            )
            for (prompt, completion), text, reward, advantage, weight in zip(
                pairs, texts, found, advantages, weights, strict=True
            )
        ]

    def _judge(
        self,
        pairs: Sequence[tuple[Prompt, Completion]],
        texts: Sequence[str],
        graders: GraderPool,
    ) -> list[RewardBreakdown]:
        grades = graders.grade_many(
            Item(
                response=text,
                gold=prompt.record.answer,
                answer_kind=prompt.record.answer_kind,
                choices=prompt.record.choices,
                finish_reason=completion.finish_reason,
            )
            for (prompt, completion), text in zip(pairs, texts, strict=True)
        )
        return [
            weigh(
                text,
                grade,
                tokens=completion.token_ids,
                formal=(prompt.record.formal_text, prompt.record.formal_language),
                config=self.rewards,
            )
            for (prompt, completion), text, grade in zip(pairs, texts, grades, strict=True)
        ]


def token_weights(
    lengths: np.ndarray, counted: np.ndarray, aggregation: Aggregation, max_new_tokens: int
) -> np.ndarray:
    """float64 [P G]: what one token of each completion counts (`Aggregation`); 0 if not counted."""
    number = max(int(counted.sum()), 1)
    if aggregation == "token":
        each = np.full(len(lengths), 1.0 / max(int(lengths[counted].sum()), 1))
    elif aggregation == "sequence":
        each = 1.0 / (number * np.maximum(lengths, 1))
    else:
        each = np.full(len(lengths), 1.0 / (number * max_new_tokens))
    return np.where(counted, each, 0.0)


def micro_batches(
    samples: Sequence[Sample], encode: Encode, packing: Packing, rows: int, keep_idle: bool
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of `rows` rows, all fields of `types.Batch` that the policy loss needs.

    How many there are depends on the samples, their shape only on the packing's patch budgets.
    keep_idle: also samples of advantage 0, which only a KL penalty can use.
    """
    used = [s for s in samples if s.weight > 0 and (keep_idle or s.advantage != 0)]
    sequences = [sequence(sample, encode) for sample in used]
    places = packing.arrange([(len(s.tokens), len(s.patches)) for s in sequences])
    for start in range(0, len(places), rows):
        chosen: list[list[int]] = [*places[start : start + rows]]
        chosen += [[]] * (rows - len(chosen))
        yield {
            **stack(
                [join([sequences[i] for i in row]) if row else None for row in chosen],
                packing,
                pad_id=encode.processor.tokenizer.pad_id,
                patch_bytes=encode.processor.config.patch_size**2 * NUM_CHANNELS,
            ),
            **_beside([[(used[i], sequences[i]) for i in row] for row in chosen], packing),
        }


def sequence(sample: Sample, encode: Encode) -> TrainingExample:
    """Prompt and completion as one training sequence."""
    return encode.respond(sample.prompt.example, np.asarray(sample.completion.token_ids, np.int32))


def _beside(
    rows: Sequence[Sequence[tuple[Sample, TrainingExample]]], packing: Packing
) -> dict[str, np.ndarray]:
    """Weights, advantages and log-probs [B, T], each where its token is the target."""
    names = ("loss_weights", "advantages", "sampler_logprobs")
    fields = {n: np.zeros((len(rows), packing.tokens_per_row), np.float32) for n in names}
    for number, row in enumerate(rows):
        start = 0
        for sample, example in row:
            here = start + np.flatnonzero(example.loss_weights)
            fields["loss_weights"][number, here] = sample.weight
            fields["advantages"][number, here] = sample.advantage
            fields["sampler_logprobs"][number, here] = sample.completion.logprobs
            start += len(example.tokens)
    return fields


def summarise(samples: Sequence[Sample], group_size: int) -> dict[str, Any]:
    """Numbers of a step's samples, for metrics.jsonl; lengths are tokens, masked samples apart."""
    lengths = np.array([len(s.completion.token_ids) for s in samples])
    cut = np.array([s.completion.finish_reason == "length" for s in samples])
    masked = np.array([s.reward.masked for s in samples])
    advantages = np.array([s.advantage for s in samples]).reshape(-1, group_size)

    def column(name: str) -> np.ma.MaskedArray:
        return np.ma.array([getattr(s.reward, name) for s in samples], mask=masked)

    def mean(name: str) -> float:
        return float(np.ma.filled(column(name).mean(), 0.0))

    spread = column("total").reshape(-1, group_size).std(axis=1).mean()
    return {
        "reward": mean("total"),
        "reward_std": float(np.ma.filled(spread, 0.0)),
        "accuracy": mean("accuracy"),
        "format": mean("format"),
        "formal": mean("formal"),
        "idle_groups": float((advantages == 0).all(axis=1).mean()),
        "completion_length": float(lengths.mean()),
        "completion_length_max": int(lengths.max()),
        "clipped_ratio": float(cut.mean()),
        "masked": int(masked.sum()),
        "completion_tokens": int(lengths.sum()),
    }


def as_row(step: int, sample: Sample) -> Mapping[str, Any]:
    """A sample as a row of samples.jsonl."""
    record = sample.prompt.record
    return {
        "step": step,
        "id": record.id,
        "question": record.question,
        "response": sample.response,
        "gold": record.answer,
        "verdict": sample.reward.grade.verdict,
        "reason": sample.reward.grade.reason,
        "reward": sample.reward.total,
        "accuracy": sample.reward.accuracy,
        "format": sample.reward.format,
        "formal": sample.reward.formal,
        "advantage": sample.advantage,
        "finish_reason": sample.completion.finish_reason,
    }
