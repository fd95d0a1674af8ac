"""Benchmarks: questions, a checkpoint's answers, verdicts, and counts with error bars."""

from onevision_jax.evaluation.answers import AnswerConfig, answer
from onevision_jax.evaluation.controls import (
    FamilyComparison,
    families_above,
    majority_answers,
    majority_items,
    template,
    training_rows,
)
from onevision_jax.evaluation.paired import (
    PairedDifference,
    describe_change,
    mcnemar,
    paired_interval,
)
from onevision_jax.evaluation.questions import Question, read_questions
from onevision_jax.evaluation.score import (
    Response,
    grade_responses,
    summarise,
    table,
    write_results,
)
from onevision_jax.evaluation.statistics import wilson

__all__ = [
    "AnswerConfig",
    "FamilyComparison",
    "PairedDifference",
    "Question",
    "Response",
    "answer",
    "describe_change",
    "families_above",
    "grade_responses",
    "majority_answers",
    "majority_items",
    "mcnemar",
    "paired_interval",
    "read_questions",
    "summarise",
    "table",
    "template",
    "training_rows",
    "wilson",
    "write_results",
]
