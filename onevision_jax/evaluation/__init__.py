"""Benchmarks: questions, a checkpoint's answers, verdicts, and counts with error bars."""

from onevision_jax.evaluation.answers import AnswerConfig, answer
from onevision_jax.evaluation.compare import compare, comparison_table, write_comparison
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
from onevision_jax.evaluation.paired import (
    PairedDifference,
    describe_change,
    mcnemar,
    paired_interval,
)
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.samples import g_pass_at_k, mean_g_pass_at_k, pass_at_k
from onevision_jax.evaluation.score import (
    Mode,
    Response,
    Responses,
    first_samples,
    grade_responses,
    protocol_of,
    summarise,
    table,
    write_results,
)
from onevision_jax.evaluation.sides import Side, read_side
from onevision_jax.evaluation.statistics import clustered_wilson, wilson
from onevision_jax.evaluation.task import Task, read_task
from onevision_jax.evaluation.tasks import TASKS
from onevision_jax.evaluation.wording import with_formal, worded

__all__ = [
    "TASKS",
    "AnswerConfig",
    "EndpointAnswerConfig",
    "FamilyComparison",
    "Mode",
    "PairedDifference",
    "Question",
    "Response",
    "Responses",
    "Side",
    "Task",
    "answer",
    "answer_through_endpoint",
    "clustered_wilson",
    "compare",
    "comparison_table",
    "describe_change",
    "families_above",
    "first_samples",
    "g_pass_at_k",
    "grade_responses",
    "majority_answers",
    "majority_items",
    "mcnemar",
    "mean_g_pass_at_k",
    "paired_interval",
    "pass_at_k",
    "protocol_of",
    "read_side",
    "read_task",
    "summarise",
    "table",
    "template",
    "training_rows",
    "wilson",
    "with_formal",
    "worded",
    "write_comparison",
    "write_results",
]
