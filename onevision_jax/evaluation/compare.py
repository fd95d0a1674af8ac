"""Two results over the same questions: which is better, by how much, where, and how surely.

Every difference is B minus A. The interval to read is Newcombe's paired one, or the bootstrap's
where rows share an image or a question has several samples: it draws whole clusters.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.evaluation.paired import paired_interval
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.resample import (
    NUM_DRAWS,
    benjamini_hochberg,
    bootstrap_interval,
    holm,
    sign_flip_p,
)
from onevision_jax.evaluation.score import values_of
from onevision_jax.evaluation.sides import SETTINGS, Side
from onevision_jax.evaluation.task import read_task
from onevision_jax.evaluation.tasks import TASKS

METHOD = {
    "difference": "B minus A",
    "newcombe95": "Newcombe 1998, method 10, rows taken as independent; null for shares",
    "bootstrap95": f"BCa over clusters, {NUM_DRAWS} draws",
    "p_value": "McNemar, exact, two-sided, rows taken as independent; null for shares",
    "p_clustered": f"random signs by cluster, {NUM_DRAWS} draws; null where rows stand alone",
    "p_holm": "Holm 1979 over all categories, of p_clustered where there is one, else of p_value",
    "p_bh": "Benjamini-Hochberg 1995, likewise",
}


def compare(a: Side, b: Side, *, seed: int = 0) -> dict[str, Any]:
    """compare.json: the whole, every category, and what was left out.

    Raises InputError when the two differ in their questions, golds, task or mode.
    """
    check_pair(a, b)
    questions, left_out = find_questions(a, b)
    clusters = {q.id: q.cluster for q in questions if q.cluster}
    ids = list(a.shares)
    whole = compare_rows(a, b, ids, clusters, seed)
    categories = []
    for (dimension, value), members in groups(a, questions).items():
        row = compare_rows(a, b, members, clusters, seed)
        categories.append({"dimension": dimension, "value": value, **row})
    if not categories:
        categories, note = stored_counts(a, b)
        left_out += note
    correct_for_many(categories)
    return {
        "a": str(a.path),
        "b": str(b.path),
        **{name: a.results[name] for name in SETTINGS if isinstance(a.results.get(name), str)},
        "n": len(ids),
        "clusters": len({clusters.get(name, name) for name in ids}),
        "seed": seed,
        "all": whole,
        "categories": categories,
        "left_out": left_out,
        "method": METHOD,
    }


def check_pair(a: Side, b: Side) -> None:
    """Raises InputError unless both answer the same questions, graded the same way."""
    for name in SETTINGS:
        one, other = a.results.get(name), b.results.get(name)
        if one is not None and other is not None and one != other:
            raise InputError(
                f"{name} is {one!r} in {a.path} and {other!r} in {b.path}; compare like"
            )
    only_a = [name for name in a.shares if name not in b.shares]
    only_b = [name for name in b.shares if name not in a.shares]
    if only_a or only_b:
        said = [
            f"{len(only)} {'id' if len(only) == 1 else 'ids'} only in {side.path} "
            f"({', '.join(map(repr, only[:3]))}{', ...' if len(only) > 3 else ''})"
            for only, side in ((only_a, a), (only_b, b))
            if only
        ]
        raise InputError(f"{' and '.join(said)}; compare results over the same questions")
    for name, gold in a.golds.items():
        if b.golds.get(name, gold) != gold:
            raise InputError(
                f"gold of {name!r} is {gold[:80]!r} in {a.path} and {b.golds[name][:80]!r} in "
                f"{b.path}; grade both with the same data"
            )


def find_questions(a: Side, b: Side) -> tuple[list[Question], list[str]]:
    """The rows of the data that either folder names, as far as they are asked; else why not."""
    if a.split:
        return [], ["clusters: the files do not say which items share an image"]
    problem = "the files name no data"
    for side in (a, b):
        task, data = side.results.get("task"), side.results.get("data")
        if task not in TASKS or not isinstance(data, str):
            continue
        try:
            asked = [q for q in read_task(TASKS[task], Path(data)) if q.id in a.shares]
        except (InputError, OSError) as error:
            problem = str(error)
            continue
        if len(asked) == len(a.shares):
            return asked, []
        problem = f"{data} has only {len(asked)} of the {len(a.shares)} questions"
    return [], [f"clusters and tests by category ({problem})"]


def groups(a: Side, questions: Sequence[Question]) -> dict[tuple[str, str], list[str]]:
    """Ids by (dimension, value), values sorted."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, split in a.split.items():
        found.setdefault(("split", split), []).append(name)
    for question in questions:
        for dimension in question.dimensions:
            for value in values_of(question, dimension):
                found.setdefault((dimension, value), []).append(question.id)
    return dict(sorted(found.items()))


def compare_rows(
    a: Side, b: Side, ids: Sequence[str], clusters: Mapping[str, str], seed: int
) -> dict[str, Any]:
    """Accuracies, difference, intervals and p-values of some questions."""
    totals: dict[Any, list[float]] = {}
    for place, name in enumerate(ids):
        cell = totals.setdefault(clusters.get(name, place), [0.0, 0])
        cell[0] += b.shares[name] - a.shares[name]
        cell[1] += 1
    sums, sizes = [cell[0] for cell in totals.values()], [int(cell[1]) for cell in totals.values()]
    n, booleans = len(ids), a.is_boolean and b.is_boolean
    right_a, right_b = (sum(side.shares[name] for name in ids) for side in (a, b))
    bootstrap = bootstrap_interval(sums, sizes, seed=seed)
    row: dict[str, Any] = {
        "n": n,
        "accuracy_a": right_a / n,
        "accuracy_b": right_b / n,
        "difference": (right_b - right_a) / n,
        "newcombe95": None,
        "bootstrap95": list(bootstrap) if bootstrap else None,
        "a_only": None,
        "b_only": None,
        "p_value": None,
        "p_clustered": None,
    }
    if booleans:
        change = paired_interval([b.shares[i] == 1 for i in ids], [a.shares[i] == 1 for i in ids])
        row |= {
            "newcombe95": [change.low, change.high],
            "a_only": change.second_only,
            "b_only": change.first_only,
            "p_value": change.p_value,
        }
    if not booleans or len(totals) < n:
        row["p_clustered"] = sign_flip_p(sums, seed=seed)
    return row


def stored_counts(a: Side, b: Side) -> tuple[list[dict[str, Any]], list[str]]:
    """Accuracies by category from both results.json, where the data is gone."""
    ours, theirs = (accuracies(side) for side in (a, b))
    rows = [
        {
            "dimension": key[0],
            "value": key[1],
            "n": n,
            "accuracy_a": share,
            "accuracy_b": theirs[key][1],
            "difference": theirs[key][1] - share,
        }
        for key, (n, share) in sorted(ours.items())
        if key in theirs and theirs[key][0] == n
    ]
    return rows, ["intervals by category: only counts are stored"] if rows else []


def accuracies(side: Side) -> dict[tuple[str, str], tuple[int, float]]:
    """(n, accuracy) by (dimension, value), as results.json counts them."""
    by = side.results.get("by", {})
    try:
        return {
            (dimension, value): (int(cell["n"]), float(cell["correct"]) / cell["n"])
            for dimension, values in by.items()
            for value, cell in values.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
        raise InputError(
            f"{side.path / 'results.json'}: field 'by' must hold n and correct of every value; "
            "write it again with onevision eval"
        ) from None


def correct_for_many(categories: Sequence[dict[str, Any]]) -> None:
    """Adds p_holm and p_bh to the rows that were tested."""
    tested, p_values = [], []
    for row in categories:
        by_row, by_cluster = row.get("p_value"), row.get("p_clustered")
        if by_row is not None or by_cluster is not None:
            tested.append(row)
            p_values.append(by_row if by_cluster is None else by_cluster)
    corrected = zip(tested, holm(p_values), benjamini_hochberg(p_values), strict=True)
    for row, p_holm, p_bh in corrected:
        row |= {"p_holm": p_holm, "p_bh": p_bh}


def comparison_table(found: Mapping[str, Any]) -> list[str]:
    """Lines for the console."""
    rows = [("all", "", found["all"])]
    rows += [(row["dimension"], row["value"], row) for row in found["categories"]]
    wide = max(len(dimension) for dimension, _, _ in rows)
    width = max(len(value) for _, value, _ in rows)
    lines = [f"A  {found['a']}", f"B  {found['b']}", f"B minus A, in points, of {found['n']} items"]
    lines += [f"{d:{wide}} {v:{width}}  {describe_row(row)}" for d, v, row in rows]
    lines += [f"left out: {note}" for note in found["left_out"]]
    return lines


def describe_row(row: Mapping[str, Any]) -> str:
    """`n 2500  84.68 -> 85.24  +0.56 [-0.43, +1.55], bootstrap [...], p = 0.29165`."""
    text = (
        f"n {row['n']:>5}  {100 * row['accuracy_a']:6.2f} -> {100 * row['accuracy_b']:6.2f}  "
        f"{100 * row['difference']:+6.2f}"
    )
    for name, label in (("newcombe95", ""), ("bootstrap95", " bootstrap")):
        if row.get(name):
            low, high = row[name]
            text += f"{label} [{100 * low:+.2f}, {100 * high:+.2f}]"
    for name in ("p_value", "p_clustered", "p_holm", "p_bh"):
        if row.get(name) is not None:
            text += f"  {name.replace('_value', '').replace('_', ' ')} {row[name]:.5f}"
    return text


def write_comparison(folder: Path, found: Mapping[str, Any]) -> None:
    """`folder/compare.json`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / ".compare.json.incomplete"
    text = json.dumps(found, indent=2, ensure_ascii=False)
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(folder / "compare.json")
