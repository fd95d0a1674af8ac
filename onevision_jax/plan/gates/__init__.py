"""Compile gates: what the compilers say of every kernel, kept in the repository and compared.

No accelerator is needed. For H200 the numbers come from ptxas (registers, spills, shared memory);
for TPUs from the compiler's static schedule (bundles, use of the units). They bound a kernel's
speed, they do not measure it.
"""

from onevision_jax.plan.gates.cases import names_for
from onevision_jax.plan.gates.compare import Verdict, judge
from onevision_jax.plan.gates.launch import TARGETS, measure_target
from onevision_jax.plan.gates.readme import rewrite
from onevision_jax.plan.gates.records import FOLDER, Records, installed_packages

__all__ = [
    "FOLDER",
    "TARGETS",
    "Records",
    "Verdict",
    "installed_packages",
    "judge",
    "measure_target",
    "names_for",
    "rewrite",
]
