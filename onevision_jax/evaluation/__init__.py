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
from onevision_jax.evaluation.endpoint_answers import (
    EndpointAnswerConfig,
    answer_through_endpoint,
)
from onevision_jax.evaluation.formal_prompt import with_formal
from onevision_jax.evaluation.paired import (
    PairedDifference,
    describe_change,
    mcnemar,
    paired_interval,
)
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.score import (
    Mode,
    Response,
    grade_responses,
    protocol_of,
    summarise,
    table,
    write_results,
)
from onevision_jax.evaluation.statistics import wilson
from onevision_jax.evaluation.task import Task, read_task
from onevision_jax.evaluation.tasks import TASKS

__all__ = [
    "TASKS",
    "AnswerConfig",
    "EndpointAnswerConfig",
    "FamilyComparison",
    "Mode",
    "PairedDifference",
    "Question",
    "Response",
    "Task",
    "answer",
    "answer_through_endpoint",
    "describe_change",
    "families_above",
    "grade_responses",
    "majority_answers",
    "majority_items",
    "mcnemar",
    "paired_interval",
    "protocol_of",
    "read_task",
    "summarise",
    "table",
    "template",
    "training_rows",
    "wilson",
    "with_formal",
    "write_results",
]
