"""The benchmarks, a file each."""

from onevision_jax.evaluation.task import Task
from onevision_jax.evaluation.tasks import generic, tiered

TASKS: dict[str, Task] = {task.name: task for task in (generic.TASK, tiered.TASK)}
