"""The benchmarks, a file each."""

from onevision_jax.evaluation.task import Task
from onevision_jax.evaluation.tasks import (
    chartqa,
    clevr,
    easy_vqa,
    generic,
    geometry3k,
    geoqa,
    mathverse,
    mathvision,
    mathvista,
    r1_onevision_bench,
    tiered,
    wemath,
)

ALL = (
    r1_onevision_bench.TASK,
    mathvista.TASK,
    mathvision.TASK,
    mathverse.TASK,
    wemath.TASK,
    geometry3k.TASK,
    geoqa.TASK,
    clevr.TASK,
    easy_vqa.TASK,
    chartqa.TASK,
    tiered.TASK,
    generic.TASK,
)
TASKS: dict[str, Task] = {task.name: task for task in ALL}
