"""lmms-eval's sample files, `*_samples_TASK.jsonl`, as version 0.7 writes them.

A row has `doc_id` (its place in the split), `target`, `filtered_resps`, `resps` where the filter
changed something, `input`, `doc_hash`, and the metrics by name. `resps` is a list of strings, or a
list of lists where a document was asked several times; 0.7 writes one response as a plain string,
earlier versions as [[response]] and with the document itself as `doc`.
Source: lmms_eval/loggers/evaluation_tracker.py, save_results_samples; evaluator.py,
_process_document_results.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onevision_jax.data.record import read_rows
from onevision_jax.evaluation.interop.folder import Evaluation, finish_reason
from onevision_jax.evaluation.interop.rows import (
    Answer,
    Imported,
    name_of,
    refuse,
    write_whole,
)

# Names under which the documents of lmms-eval's tasks hold an id of their own.
ID_FIELDS = ("id", "question_id", "pid", "index", "sample_index", "ID")
NUMBER = re.compile(r"-?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|-?inf|nan", re.IGNORECASE)


def write(evaluation: Evaluation, path: Path) -> int:
    """A row for each question; returns how many had no response and were left out.

    `doc` is written although 0.7 leaves it out: it holds the id, which `doc_id` does not.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in evaluation.rows:
        groups.setdefault(row["id"], []).append(row)
    lines, left_out = [], 0
    for place, rows in enumerate(groups.values()):
        answered = [row for row in rows if row["response"] is not None]
        if answered:
            # ASCII: a line separator within a response must not end a line for any reader.
            text = json.dumps(sample_row(place, answered, evaluation))
            lines.append(f"{text}\n")
        left_out += not answered
    write_whole(path, "".join(lines))
    return left_out


def sample_row(place: int, rows: list[Mapping[str, Any]], evaluation: Evaluation) -> dict[str, Any]:
    """One document with all its responses; the metric is whether each is right."""
    doc = {"id": rows[0]["id"], "answer": rows[0]["gold"]}
    question = evaluation.questions.get(rows[0]["id"])
    if question is not None:
        doc |= {"question": question.question, "choices": list(question.choices)}
        doc |= {
            name: value if isinstance(value, str) else list(value)
            for name, value in question.dimensions.items()
        }
    # Two levels for several responses, as for a document that was asked several times.
    said = [row["response"] for row in rows]
    right = [float(row["verdict"] == "correct") for row in rows]
    extracted = [row.get("extracted") or "" for row in rows]
    several = len(rows) > 1
    written = json.dumps(doc, indent=2, ensure_ascii=False).encode("utf-8", "replace")
    reasons = [finish_reason(row) for row in rows]
    return {
        "doc_id": place,
        "doc": doc,
        "target": rows[0]["gold"],
        "resps": [[text] for text in said] if several else said,
        "filtered_resps": extracted if several else extracted[0],
        "doc_hash": hashlib.sha256(written).hexdigest(),
        "correct": sum(right) / len(right),
        "input": "" if question is None else question.question,
        # Our own: lmms-eval does not say which responses were cut off.
        **({"finish_reasons": reasons} if any(reasons) else {}),
    }


def read(path: Path) -> Imported:
    """The unfiltered responses. Ids are those of `doc` where it is there, else `doc_id`.

    Raises InputError for rows of another layout and for log-likelihoods of choices.
    """
    rows = list(read_rows(path))
    field = id_field([row for _, row in rows])
    answers = [answer for number, row in rows for answer in answers_of(row, field, path, number)]
    where = f"field {field!r} of doc" if field else "doc_id, the row's place in the split"
    return Imported(answers=answers, notes=[f"ids are {where}"])


def id_field(rows: list[dict[str, Any]]) -> str:
    """The name of the id in every `doc`; "" where none is in all of them, each time another."""
    docs = [row.get("doc") for row in rows]
    for field in ID_FIELDS:
        values = [doc.get(field) if isinstance(doc, dict) else None for doc in docs]
        plain = all(isinstance(v, str | int) and not isinstance(v, bool) for v in values)
        if values and plain and len(set(map(str, values))) == len(values):
            return field
    return ""


def answers_of(row: dict[str, Any], field: str, path: Path, number: int) -> Iterator[Answer]:
    """One row's responses; several are numbered as samples."""
    where = f"line {number}"
    name = row["doc"][field] if field else row.get("doc_id")
    name = name_of(name, path, where, field or "doc_id")
    key = "resps" if "resps" in row else "filtered_resps"
    if key not in row:
        refuse(path, where, "neither 'resps' nor 'filtered_resps' is there; give a samples file")
    texts = texts_of(row[key])
    if texts is None:
        refuse(
            path, where, f"field {key!r} must hold responses as strings, not choices' likelihoods"
        )
    reasons = row.get("finish_reasons")
    if not (isinstance(reasons, list) and len(reasons) == len(texts)):
        reasons = [None] * len(texts)
    for place, (text, reason) in enumerate(zip(texts, reasons, strict=True)):
        yield Answer(
            id=name,
            response=text,
            sample=place if len(texts) > 1 else None,
            finish_reason="length" if reason == "length" else None,
        )


def texts_of(value: Any) -> list[str] | None:
    """The strings of nested lists, in order; None for anything else and for log-likelihoods."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value or is_likelihood(value):
        return None
    found: list[str] = []
    for inner in value:
        # Two levels are all that any version writes.
        several = inner if isinstance(inner, list) else [inner]
        if is_likelihood(several) or not all(isinstance(text, str) for text in several):
            return None
        found += several
    return found or None


def is_likelihood(pair: list[Any]) -> bool:
    """Whether it is [log-likelihood, whether greedy], all written as strings."""
    return (
        len(pair) == 2
        and all(isinstance(part, str) for part in pair)
        and pair[1] in ("True", "False")
        and NUMBER.fullmatch(pair[0]) is not None
    )
