"""Benchmarks: questions, a checkpoint's answers, verdicts, and counts with error bars."""

from onevision_jax.evaluation.answers import AnswerConfig, answer
from onevision_jax.evaluation.questions import Question, read_questions
from onevision_jax.evaluation.score import Response, grade_responses, summarise, table
from onevision_jax.evaluation.statistics import wilson

__all__ = [
    "AnswerConfig",
    "Question",
    "Response",
    "answer",
    "grade_responses",
    "read_questions",
    "summarise",
    "table",
    "wilson",
]
