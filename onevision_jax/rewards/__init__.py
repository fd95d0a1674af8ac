"""Text in, score out: the strict grader that scores benchmarks and rewards rollouts. No jax."""

from onevision_jax.rewards.combine import RewardBreakdown, RewardConfig, reward, weigh
from onevision_jax.rewards.extract import Extraction, extract
from onevision_jax.rewards.format import (
    format_reward,
    repetition_penalty,
    soft_overlong_punishment,
)
from onevision_jax.rewards.grade import VERSION, AnswerKind, Grade, Verdict, grade
from onevision_jax.rewards.pool import GraderPool, Item

__all__ = [
    "VERSION",
    "AnswerKind",
    "Extraction",
    "Grade",
    "GraderPool",
    "Item",
    "RewardBreakdown",
    "RewardConfig",
    "Verdict",
    "extract",
    "format_reward",
    "grade",
    "repetition_penalty",
    "reward",
    "soft_overlong_punishment",
    "weigh",
]
