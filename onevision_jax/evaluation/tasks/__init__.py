"""The benchmarks, a file each."""

from onevision_jax.evaluation.task import Task
from onevision_jax.evaluation.tasks import (
    chartqa,
    easy_vqa,
    generic,
    geometry3k,
    mathverse,
    mathvista,
    r1_onevision_bench,
    wemath,
)

ALL = (
    r1_onevision_bench.TASK,
    mathvista.TASK,
    mathverse.TASK,
    wemath.TASK,
    geometry3k.TASK,
    easy_vqa.TASK,
    chartqa.TASK,
    generic.TASK,
)
TASKS: dict[str, Task] = {task.name: task for task in ALL}
