"""Reports: one HTML page of a run, with curves, bars and samples, that needs nothing else."""

from onevision_jax.report.cards import Sample, sample, samples
from onevision_jax.report.charts import bars, curve
from onevision_jax.report.page import facts, note, page, section, table
from onevision_jax.report.parts import Parts, split_response
from onevision_jax.report.run import evaluation_page, run_report

__all__ = [
    "Parts",
    "Sample",
    "bars",
    "curve",
    "evaluation_page",
    "facts",
    "note",
    "page",
    "run_report",
    "sample",
    "samples",
    "section",
    "split_response",
    "table",
]
