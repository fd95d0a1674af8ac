"""Stored answers to verdicts, and verdicts to a table with error bars."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.statistics import wilson
from onevision_jax.evaluation.task import Task
from onevision_jax.rewards import VERSION, GraderPool, Item
from onevision_jax.rewards.official import PROTOCOLS

Mode = Literal["strict", "official"]
GRADER = {
    "extractor": "answer tags, boxes, final phrases",
    "equality": "strict",
    "judge": None,
    "version": VERSION,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Response:
    """What a model said."""

    text: str
    finish_reason: str | None = None


def protocol_of(task: Task, mode: Mode, *, judged: bool = False) -> str:
    """The key of the grader in `PROTOCOLS`, "" for the strict one.

    judged: a judge model decides, as the benchmark published it; the strict grader then stands
        beside it.

    Raises InputError where a benchmark has published no protocol that works without a judge.
    """
    if mode == "strict" or judged:
        return ""
    if not task.official:
        raise InputError(
            f"{task.name} has no published protocol that works without a judge model; "
            "use --mode strict"
        )
    return task.official


def describe_grader(protocol: str) -> dict[str, Any]:
    """The entry `grader` of results.json."""
    if not protocol:
        return GRADER
    found = PROTOCOLS[protocol]
    return {
        "extractor": found.extractor,
        "equality": found.equality,
        "judge": None,
        "version": found.version,
    }


def grade_responses(
    questions: Sequence[Question], responses: Mapping[str, Response], protocol: str = ""
) -> list[dict[str, Any]]:
    """Rows of items.jsonl, one for each question; one without a response is wrong, and missing.

    protocol: from `protocol_of`.
    """
    answered = [question for question in questions if question.id in responses]
    with GraderPool() as pool:
        grades = pool.grade_many(
            Item(
                response=responses[question.id].text,
                gold=question.answer,
                answer_kind=question.answer_kind,
                choices=question.choices,
                finish_reason=responses[question.id].finish_reason,
                protocol=protocol,
                facts=question.facts,
            )
            for question in answered
        )
    found = dict(zip((question.id for question in answered), grades, strict=True))
    rows = []
    for question in questions:
        grade = found.get(question.id)
        rows.append(
            {
                "id": question.id,
                "response": responses[question.id].text if grade else None,
                "extracted": grade.extracted if grade else None,
                "gold": question.answer,
                "verdict": grade.verdict if grade else "wrong",
                "reason": grade.reason if grade else "missing: there is no response",
            }
        )
    return rows


def summarise(
    questions: Sequence[Question],
    rows: Sequence[Mapping[str, Any]],
    protocol: str = "",
    **settings: Any,
) -> dict[str, Any]:
    """results.json: counts over all questions, a Wilson interval, and counts by dimension.

    settings come first: task, mode and whatever says how the responses were made.
    """
    verdicts = [row["verdict"] for row in rows]
    correct, n = verdicts.count("correct"), len(rows)
    return {
        **settings,
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "ci95": list(wilson(correct, n)),
        "missing": sum(row["response"] is None for row in rows),
        **{name: verdicts.count(name) for name in ("unparsed", "truncated", "grader_failed")},
        "by": count_by(questions, verdicts),
        "cells": count_cells(questions, verdicts),
        "grader": describe_grader(protocol),
    }


def values_of(question: Question, name: str) -> tuple[str, ...]:
    """The values of one dimension; () where the row has none."""
    value = question.dimensions.get(name, ())
    return (value,) if isinstance(value, str) else value


def count_by(
    questions: Sequence[Question], verdicts: Sequence[str]
) -> dict[str, dict[str, dict[str, int]]]:
    """{dimension: {value: {n, correct}}}."""
    by: dict[str, dict[str, dict[str, int]]] = {}
    for question, verdict in zip(questions, verdicts, strict=True):
        for name in question.dimensions:
            for value in values_of(question, name):
                add(by.setdefault(name, {}), value, verdict)
    return by


def count_cells(
    questions: Sequence[Question], verdicts: Sequence[str]
) -> dict[str, dict[str, dict[str, int]]]:
    """{tier: {subject: {n, correct}}}, for the heat map."""
    cells: dict[str, dict[str, dict[str, int]]] = {}
    for question, verdict in zip(questions, verdicts, strict=True):
        for tier in values_of(question, "tier"):
            for subject in values_of(question, "subject"):
                add(cells.setdefault(tier, {}), subject, verdict)
    return cells


def add(counts: dict[str, dict[str, int]], value: str, verdict: str) -> None:
    """Counts one verdict."""
    cell = counts.setdefault(value, {"n": 0, "correct": 0})
    cell["n"] += 1
    cell["correct"] += verdict == "correct"


def write_results(
    folder: Path, rows: Sequence[Mapping[str, Any]], results: Mapping[str, Any]
) -> None:
    """`folder/items.jsonl` and `folder/results.json`, the second only when the first is whole."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "items.jsonl").write_text("".join(lines), encoding="utf-8")
    scratch = folder / ".results.json.incomplete"
    text = json.dumps(results, indent=2, ensure_ascii=False)
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(folder / "results.json")


def table(results: Mapping[str, Any]) -> list[str]:
    """Lines for the console: the whole, then every value of every dimension with its interval."""
    rows = [("all", "", results["correct"], results["n"])]
    for name, values in results["by"].items():
        rows += [(name, value, c["correct"], c["n"]) for value, c in sorted(values.items())]
    width = max(len(value) for _, value, _, _ in rows)
    lines = []
    for name, value, correct, n in rows:
        low, high = wilson(correct, n)
        lines.append(
            f"{name:8} {value:{width}}  {100 * correct / n:5.1f} %  "
            f"[{100 * low:.1f}, {100 * high:.1f}]  {correct} of {n}"
        )
    kinds = ("missing", "unparsed", "truncated", "grader_failed")
    lines.append(", ".join(f"{name.replace('_', ' ')} {results[name]}" for name in kinds))
    return lines
