"""Stored answers to verdicts, and verdicts to a table with error bars.

With k samples a question, items.jsonl has a row for each and every question counts with the share
of its samples that are right. The question stays the unit: its samples are one cluster.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from onevision_jax.errors import InputError
from onevision_jax.evaluation.formal_text import describe_formal, formal_lines
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.samples import describe_samples
from onevision_jax.evaluation.statistics import clustered_wilson, wilson
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
    sample: int | str = 0  # tells the samples of one question apart


Responses = Mapping[str, Response | Sequence[Response]]  # one or several, by id


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
    prepare = PROTOCOLS[task.official].prepare
    if prepare is not None:
        prepare()  # A missing package is said here once, not item by item.
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


def samples_of(said: Response | Sequence[Response]) -> tuple[Response, ...]:
    """What was said to one question; raises ValueError where a sample repeats."""
    found = (said,) if isinstance(said, Response) else tuple(said)
    if len({one.sample for one in found}) < len(found):
        raise ValueError(f"samples {[one.sample for one in found]} repeat; give one of each")
    return tuple(sorted(found, key=lambda one: label_order(one.sample)))


def label_order(sample: int | str) -> tuple[bool, int | str]:
    """Numbers first."""
    return isinstance(sample, str), sample


def grade_responses(
    questions: Sequence[Question], responses: Responses, protocol: str = ""
) -> list[dict[str, Any]]:
    """Rows of items.jsonl: one for each question, or one for each of its k samples.

    k is the largest number of samples of a question. Rows come in the order of the questions, then
    of `sample`, a field that is there where k > 1. A sample without a response is wrong, and
    missing.

    protocol: from `protocol_of`.
    """
    slots = _slots(questions, responses)
    with GraderPool() as pool:
        grades = iter(
            pool.grade_many(
                Item(
                    response=response.text,
                    gold=question.answer,
                    answer_kind=question.answer_kind,
                    choices=question.choices,
                    finish_reason=response.finish_reason,
                    protocol=protocol,
                    facts=question.facts,
                )
                for question, _, response in slots
                if response is not None
            )
        )
    rows = []
    for question, fields, response in slots:
        grade = None if response is None else next(grades)
        rows.append(
            {
                "id": question.id,
                **fields,
                "response": response.text if response else None,
                "extracted": grade.extracted if grade else None,
                "gold": question.answer,
                "verdict": grade.verdict if grade else "wrong",
                "reason": grade.reason if grade else "missing: there is no response",
            }
        )
    return rows


def _slots(
    questions: Sequence[Question], responses: Responses
) -> list[tuple[Question, dict[str, Any], Response | None]]:
    """k places a question, each with its field `sample` where k > 1, and its response if any."""
    said = {q.id: samples_of(responses[q.id]) for q in questions if q.id in responses}
    k = max([1, *map(len, said.values())])
    labels = {one.sample for found in said.values() for one in found}
    slots = []
    for question in questions:
        found: dict[int | str, Response | None] = {
            one.sample: one for one in said.get(question.id, ())
        }
        unused = sorted(labels - found.keys(), key=label_order) or [0]
        found |= dict.fromkeys(unused[: k - len(found)])
        for label in sorted(found, key=label_order):
            slots.append((question, {"sample": label} if k > 1 else {}, found[label]))
    return slots


def first_samples(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first row of every question, for tables that expect one."""
    seen: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        seen.setdefault(row["id"], row)
    return list(seen.values())


def summarise(
    questions: Sequence[Question],
    rows: Sequence[Mapping[str, Any]],
    protocol: str = "",
    **settings: Any,
) -> dict[str, Any]:
    """results.json: counts over all questions, intervals, and counts by dimension.

    ci95 is Wilson's interval; with k > 1 samples, the `clustered_wilson` one with a question as a
    cluster. Where rows share a `Question.cluster`, ci95_clustered takes that as the unit. `correct`
    adds the shares of right samples; `missing` and the verdicts count samples.

    settings come first: task, mode and whatever says how the responses were made.
    Raises ValueError unless there are as many rows for every question.
    """
    groups = _groups(questions, rows)
    k = len(groups[0])
    verdicts = [row["verdict"] for row in rows]
    right = [sum(row["verdict"] == "correct" for row in group) for group in groups]
    n, correct = len(groups), _share(sum(right), k)
    return {
        **settings,
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "ci95": list(clustered_wilson(right, [k] * n)),
        **_by_cluster(questions, right, k),
        "missing": sum(row["response"] is None for row in rows),
        **{name: verdicts.count(name) for name in ("unparsed", "truncated", "grader_failed")},
        **({"samples": describe_samples(questions, groups)} if k > 1 else {}),
        "by": count_by(questions, right, k),
        "cells": count_cells(questions, right, k),
        **describe_formal(questions, rows),
        "grader": describe_grader(protocol),
    }


def _groups(
    questions: Sequence[Question], rows: Sequence[Mapping[str, Any]]
) -> list[Sequence[Mapping[str, Any]]]:
    k, rest = divmod(len(rows), len(questions))
    groups = [rows[i * k : (i + 1) * k] for i in range(len(questions))]
    pairs = zip(questions, groups, strict=True)
    if k < 1 or rest or any(row["id"] != question.id for question, g in pairs for row in g):
        raise ValueError(
            f"{len(rows)} rows for {len(questions)} questions; give as many for each, in order"
        )
    return groups


def _share(right: int, k: int) -> int | float:
    """right / k, an integer as ever where there is one sample."""
    return right if k == 1 else right / k


def _by_cluster(questions: Sequence[Question], right: Sequence[int], k: int) -> dict[str, Any]:
    """ci95_clustered and clusters, where some rows share one."""
    counts: dict[Any, list[int]] = {}
    for place, (question, number) in enumerate(zip(questions, right, strict=True)):
        cell = counts.setdefault(question.cluster or place, [0, 0])
        cell[0] += number
        cell[1] += k
    if len(counts) == len(questions):
        return {}
    cells = counts.values()
    interval = clustered_wilson([number for number, _ in cells], [size for _, size in cells])
    return {"ci95_clustered": list(interval), "clusters": len(counts)}


def values_of(question: Question, name: str) -> tuple[str, ...]:
    """The values of one dimension; () where the row has none."""
    value = question.dimensions.get(name, ())
    return (value,) if isinstance(value, str) else value


Cells = dict[str, dict[str, Any]]  # {value: {n, correct}}


def count_by(questions: Sequence[Question], right: Sequence[int], k: int = 1) -> dict[str, Cells]:
    """{dimension: {value: {n, correct}}}. right: of the k samples of every question."""
    by: dict[str, Cells] = {}
    for question, number in zip(questions, right, strict=True):
        for name in question.dimensions:
            for value in values_of(question, name):
                add(by.setdefault(name, {}), value, number)
    return _shares(by, k)


def count_cells(
    questions: Sequence[Question], right: Sequence[int], k: int = 1
) -> dict[str, Cells]:
    """{tier: {subject: {n, correct}}}, for the heat map."""
    cells: dict[str, Cells] = {}
    for question, number in zip(questions, right, strict=True):
        for tier in values_of(question, "tier"):
            for subject in values_of(question, "subject"):
                add(cells.setdefault(tier, {}), subject, number)
    return _shares(cells, k)


def add(counts: Cells, value: str, right: int) -> None:
    """Counts one question."""
    cell = counts.setdefault(value, {"n": 0, "correct": 0})
    cell["n"] += 1
    cell["correct"] += right


def _shares(tables: dict[str, Cells], k: int) -> dict[str, Cells]:
    """Right samples as shares of questions."""
    for cells in tables.values():
        for cell in cells.values():
            cell["correct"] = _share(cell["correct"], k)
    return tables


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
    whole = ("all", "", results["correct"], results["n"], results["ci95"])
    rows = [whole]
    for name, values in results["by"].items():
        for value, cell in sorted(values.items()):
            correct, n = cell["correct"], cell["n"]
            rows.append((name, value, correct, n, wilson(correct, n)))
    width = max(len(value) for _, value, *_ in rows)
    lines = []
    for name, value, correct, n, (low, high) in rows:
        count = correct if isinstance(correct, int) else f"{correct:.2f}"
        lines.append(
            f"{name:8} {value:{width}}  {100 * correct / n:5.1f} %  "
            f"[{100 * low:.1f}, {100 * high:.1f}]  {count} of {n}"
        )
    if "ci95_clustered" in results:
        low, high = results["ci95_clustered"]
        lines.append(f"all, in {results['clusters']} clusters: [{100 * low:.1f}, {100 * high:.1f}]")
    if "samples" in results:
        lines.append(_sample_line(results["samples"]))
    lines += formal_lines(results)
    kinds = ("missing", "unparsed", "truncated", "grader_failed")
    lines.append(", ".join(f"{name.replace('_', ' ')} {results[name]}" for name in kinds))
    return lines


def _sample_line(samples: Mapping[str, Any]) -> str:
    k = samples["k"]
    shares = {f"pass@{few}": value for few, value in samples["pass@k"].items()}
    shares |= {f"maj@{k}": samples["maj@k"]}
    shares |= {f"G-Pass@{k} tau {tau}": value for tau, value in samples["g_pass@k"].items()}
    shares |= {f"mG-Pass@{k}": samples["mg_pass@k"]}
    return ", ".join(f"{name} {100 * value:.1f} %" for name, value in shares.items())
