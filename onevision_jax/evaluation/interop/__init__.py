"""Answers in other harnesses' layouts: written from an evaluation, read for regrading."""

from collections.abc import Callable, Mapping
from pathlib import Path

from onevision_jax.evaluation.interop import lmms_eval, vlmevalkit
from onevision_jax.evaluation.interop.folder import Evaluation, read_evaluation
from onevision_jax.evaluation.interop.logs import read_mathvision, read_r1v
from onevision_jax.evaluation.interop.rows import Answer, Imported, write_answers

EXPORTS: Mapping[str, Callable[[Evaluation, Path], int]] = {
    "lmms-eval": lmms_eval.write,
    "vlmevalkit": vlmevalkit.write,
}
IMPORTS: Mapping[str, Callable[[Path], Imported]] = {
    "lmms-eval": lmms_eval.read,
    "vlmevalkit": vlmevalkit.read,
    "r1v": read_r1v,
    "mathvision": read_mathvision,
}

__all__ = [
    "EXPORTS",
    "IMPORTS",
    "Answer",
    "Evaluation",
    "Imported",
    "read_evaluation",
    "write_answers",
]
