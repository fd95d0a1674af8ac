"""The logs of R1-V and the output files of MATH-V."""

from pathlib import Path

from onevision_jax.data.record import read_rows
from onevision_jax.errors import InputError
from onevision_jax.evaluation.interop.folder import read_object
from onevision_jax.evaluation.interop.rows import Answer, Imported, name_of, refuse


def read_r1v(path: Path) -> Imported:
    """`{"accuracy", "results": [{"question", "ground_truth", "model_output", ...}]}`.

    Rows have no ids: the id is the row's place, from 0. Source: R1-V, src/eval,
    test_qwen2vl_counting_superclevr.py and test_qwen2vl_geoqa.py.
    """
    results = read_object(path).get("results")
    if not isinstance(results, list):
        raise InputError(f"{path}: field 'results' must be a list; give a log of R1-V's evaluation")
    answers = []
    for place, row in enumerate(results):
        text = row.get("model_output") if isinstance(row, dict) else None
        if not isinstance(text, str):
            refuse(path, f"result {place}", "field 'model_output' must be a string")
        answers.append(Answer(id=str(place), response=text))
    return Imported(answers=answers, notes=["ids are the rows' places, from 0"])


def read_mathvision(path: Path) -> Imported:
    """A JSONL row has `id` and `response`; what MATH-V's own grader added is left out."""
    answers = []
    for number, row in read_rows(path):
        where = f"line {number}"
        if not isinstance(row.get("response"), str):
            refuse(path, where, "field 'response' must be a string")
        answers.append(
            Answer(id=name_of(row.get("id"), path, where, "id"), response=row["response"])
        )
    return Imported(answers=answers)
