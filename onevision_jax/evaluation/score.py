"""Stored answers to verdicts, and verdicts to a table with error bars."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.statistics import wilson
from onevision_jax.rewards import VERSION, GraderPool, Item

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


def grade_responses(
    questions: Sequence[Question], responses: Mapping[str, Response]
) -> list[dict[str, Any]]:
    """Rows of items.jsonl, one for each question; one without a response is wrong, and missing."""
    answered = [question for question in questions if question.id in responses]
    with GraderPool() as pool:
        grades = pool.grade_many(
            Item(
                response=responses[question.id].text,
                gold=question.answer,
                answer_kind=question.answer_kind,
                choices=question.choices,
                finish_reason=responses[question.id].finish_reason,
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
    questions: Sequence[Question], rows: Sequence[Mapping[str, Any]], **settings: Any
) -> dict[str, Any]:
    """results.json: counts over all questions, a Wilson interval, and counts by dimension.

    settings come first: task, mode and whatever says how the responses were made.
    """
    verdicts = [row["verdict"] for row in rows]
    correct, n = verdicts.count("correct"), len(rows)
    by: dict[str, dict[str, dict[str, Any]]] = {}
    for question, verdict in zip(questions, verdicts, strict=True):
        for name, value in question.dimensions.items():
            counts = by.setdefault(name, {}).setdefault(value, {"n": 0, "correct": 0})
            counts["n"] += 1
            counts["correct"] += verdict == "correct"
    return {
        **settings,
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "ci95": list(wilson(correct, n)),
        "missing": sum(row["response"] is None for row in rows),
        **{name: verdicts.count(name) for name in ("unparsed", "truncated", "grader_failed")},
        "by": by,
        "grader": GRADER,
    }


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
