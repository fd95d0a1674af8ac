"""The scores of an evaluation folder, from results.json and items.jsonl."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from onevision_jax.errors import InputError
from onevision_jax.report.cards import Sample, samples
from onevision_jax.report.charts import bars
from onevision_jax.report.page import facts, is_number, note, section
from onevision_jax.report.parts import split_response
from onevision_jax.report.reading import read_lines, read_object, text_of

COUNTS = ("missing", "unparsed", "truncated", "grader_failed")
NUM_ITEMS = 200
NUM_BARS = 20  # values of one dimension


def score_sections(path: Path) -> list[str]:
    """HTML of results.json: accuracy with its interval, counts, settings, and bars by dimension.

    Raises InputError naming the field that is damaged.
    """
    results = read_object(path)
    n, correct = counted(results, "", path)
    low, high = interval(results, n, correct, path)
    share = f"{100 * correct / n:.1f} %" if n else "nothing was scored"
    pairs: list[tuple[str, Any]] = [
        ("accuracy", share),
        ("95 % interval", f"{100 * low:.1f} to {100 * high:.1f} %"),
        ("correct", f"{correct:,} of {n:,}"),
        *((name.replace("_", " "), results[name]) for name in COUNTS if name in results),
    ]
    known = {"n", "correct", "accuracy", "ci95", *COUNTS}
    settings = [
        (name, value)
        for name, value in results.items()
        if name not in known and isinstance(value, str | int | float)
    ]
    by = mapping(results, "by", path)
    charts = [dimension_chart(name, mapping(by, name, path), path) for name in by]
    if charts:
        charts.insert(0, note("Share of correct answers, with 95 % Wilson intervals."))
    return [section("Scores", facts(pairs), facts(settings), *charts)]


def damaged(path: Path, field: str, complaint: str) -> NoReturn:
    """Raises the InputError for one field of results.json."""
    raise InputError(f"{path}: field {field!r} {complaint}; write it again with onevision eval")


def mapping(fields: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    """A field that is an object of objects; empty when it is missing."""
    value = fields.get(name, {})
    if not (isinstance(value, dict) and all(isinstance(v, dict) for v in value.values())):
        damaged(path, name, "must hold an object for every name")
    return value


def counted(fields: Mapping[str, Any], where: str, path: Path) -> tuple[int, int]:
    """(n, correct), checked."""
    for name in ("n", "correct"):
        value = fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            damaged(path, f"{where}{name}", "must be a count")
    if fields["correct"] > fields["n"]:
        damaged(path, f"{where}correct", f"is {fields['correct']} of only {fields['n']}")
    return fields["n"], fields["correct"]


def interval(results: Mapping[str, Any], n: int, correct: int, path: Path) -> tuple[float, float]:
    """The stored interval; the Wilson interval where none is stored."""
    from onevision_jax.evaluation import wilson  # It brings jax, which curves do not need.

    stored = results.get("ci95")
    if stored is None:
        return wilson(correct, n)
    if not (isinstance(stored, list) and len(stored) == 2 and all(map(is_number, stored))):
        damaged(path, "ci95", "must be two numbers")
    return stored[0], stored[1]


def dimension_chart(name: str, values: Mapping[str, Any], path: Path) -> str:
    """Bars for the values of one dimension, such as tiers; the largest NUM_BARS, by name."""
    from onevision_jax.evaluation import wilson

    counts = {v: counted(values[v], f"by.{name}.{v}.", path) for v in values}
    largest = sorted(counts, key=lambda value: -counts[value][0])[:NUM_BARS]
    rows = []
    for value in sorted(largest):
        n, correct = counts[value]
        low, high = wilson(correct, n)
        label = f"{value.replace('_', ' ')} ({n:,})"
        rows.append((label, 100 * correct / n if n else float("nan"), 100 * low, 100 * high))
    cut = f", the {NUM_BARS} largest of {len(counts)}" if len(counts) > NUM_BARS else ""
    return bars(f"by {name}{cut}", rows)


def item_sections(path: Path) -> list[str]:
    """HTML of items.jsonl: the first NUM_ITEMS answers with their verdicts."""
    rows = read_lines(path)
    if not rows:
        return [section("Answers", note("There are none."))]
    cards = [item_card(row) for row in rows[:NUM_ITEMS]]
    said = [note(f"The first {NUM_ITEMS} of {len(rows):,}.")] if len(rows) > NUM_ITEMS else []
    return [section("Answers", *said, samples(cards))]


def item_card(row: dict[str, Any]) -> Sample:
    """The card of one answer; where the grader read something, that is the answer."""
    parts = split_response(text_of(row, "response"))
    return Sample(
        id=text_of(row, "id"),
        gold=text_of(row, "gold"),
        formal=parts.formal,
        reasoning=parts.reasoning,
        answer=text_of(row, "extracted") or parts.answer,
        verdict=text_of(row, "verdict"),
        reason=text_of(row, "reason"),
    )
