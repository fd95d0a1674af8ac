"""One reward per sampled response: the strict grade, the format and optional shaping, weighted.

A grader failure says nothing about the response, so its sample is masked instead of rewarded with
0: it takes no part in the group's mean, its deviation or the loss.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from onevision_jax.errors import InputError
from onevision_jax.rewards.formal import formal_reward
from onevision_jax.rewards.format import (
    format_reward,
    repetition_penalty,
    soft_overlong_punishment,
)
from onevision_jax.rewards.grade import AnswerKind, Grade, grade


@dataclass(frozen=True)
class RewardConfig:
    """Weights of the parts (a weight of 0 leaves the part out) and the settings of the shaping.

    The defaults follow EasyR1's example recipe, 0.9 accuracy and 0.1 format.
    """

    accuracy_weight: float = 0.9
    format_weight: float = 0.1
    # Of the formal text inside the response against the record's (extra `formal` for HTML, SMILES).
    formal_weight: float = 0.0
    overlong_weight: float = 0.0
    repetition_weight: float = 0.0
    max_response_tokens: int = 2048
    overlong_cache_tokens: int = 512
    ngram_size: int = 3
    mask_truncated: bool = False  # DAPO's overlong filtering: no signal from cut responses

    def __post_init__(self) -> None:
        for name in ("accuracy", "format", "formal", "overlong", "repetition"):
            weight = getattr(self, f"{name}_weight")
            if not 0 <= weight < float("inf"):
                raise InputError(f"{name}_weight is {weight}: give a finite weight of 0 or more.")


@dataclass(frozen=True)
class RewardBreakdown:
    """Parts before weighting, their weighted total, and whether the sample counts at all.

    accuracy and format are 0 or 1; formal lies in [0, 1]; overlong and repetition in [-1, 0].
    Where `masked`, `total` is 0.0 and means nothing.
    """

    total: float
    accuracy: float
    format: float
    formal: float
    overlong: float
    repetition: float
    masked: bool
    grade: Grade


def reward(
    response: str,
    gold: str,
    *,
    answer_kind: AnswerKind,
    choices: Sequence[str] = (),
    finish_reason: str | None = None,
    tokens: Sequence[Hashable] | None = None,
    formal: tuple[str, str] = ("", ""),
    config: RewardConfig | None = None,
) -> RewardBreakdown:
    """The reward of one response; `tokens` are its token ids, needed for the shaping terms.

    formal: the record's formal text and its language, needed for that part.

    Raises:
        InputError: a shaping weight without tokens, or what `grade` raises.
    """
    graded = grade(
        response, gold, answer_kind=answer_kind, choices=choices, finish_reason=finish_reason
    )
    return weigh(response, graded, tokens=tokens, formal=formal, config=config or RewardConfig())


def weigh(
    response: str,
    graded: Grade,
    *,
    tokens: Sequence[Hashable] | None = None,
    formal: tuple[str, str] = ("", ""),
    config: RewardConfig,
) -> RewardBreakdown:
    """The reward of a response that is already graded, in a `GraderPool` for instance."""
    accuracy = float(graded.verdict == "correct")
    form = format_reward(response) if config.format_weight else 0.0
    described = formal_reward(response, *formal) if config.formal_weight else 0.0
    overlong, repetition = shaping(tokens, config)
    masked = graded.verdict == "grader_failed" or (
        config.mask_truncated and graded.verdict == "truncated"
    )
    total = (
        config.accuracy_weight * accuracy
        + config.format_weight * form
        + config.formal_weight * described
        + config.overlong_weight * overlong
        + config.repetition_weight * repetition
    )
    return RewardBreakdown(
        0.0 if masked else total, accuracy, form, described, overlong, repetition, masked, graded
    )


def shaping(tokens: Sequence[Hashable] | None, config: RewardConfig) -> tuple[float, float]:
    """Overlong and repetition terms, 0 where their weight is."""
    if not config.overlong_weight and not config.repetition_weight:
        return 0.0, 0.0
    if tokens is None:
        raise InputError(
            "overlong_weight or repetition_weight is set, but no token ids were given: pass tokens."
        )
    overlong = repetition = 0.0
    if config.overlong_weight:
        overlong = soft_overlong_punishment(
            len(tokens), config.max_response_tokens, config.overlong_cache_tokens
        )
    if config.repetition_weight:
        repetition = repetition_penalty(tokens, config.ngram_size)
    return overlong, repetition
