"""The scores of an evaluation folder, from results.json."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from onevision_jax.errors import InputError
from onevision_jax.report.baselines import published, read_baselines
from onevision_jax.report.beside import baseline_table, beside, ranking
from onevision_jax.report.charts import bars, curve, figure, percent_grid, track
from onevision_jax.report.counts import Count, percent_interval
from onevision_jax.report.heatmap import heat_map
from onevision_jax.report.levels import level_order
from onevision_jax.report.page import escape, facts, is_number, note, section, show, table
from onevision_jax.report.reading import flatten, leaves, read_object

Tables = dict[str, dict[str, Count]]
COUNTS = ("missing", "unparsed", "truncated", "grader_failed")
MODEL = ("model", "checkpoint", "endpoint", "outputs")  # where the answers came from
SHOWN = {"n", "correct", "accuracy", "ci95", "by", "cells", "grader", "samples", *COUNTS}
NUM_BARS = 20  # values of one dimension
NUM_FACTS = 200  # of entries that only one benchmark has


def score_sections(path: Path, baselines: Sequence[str] = ()) -> list[str]:
    """HTML of results.json: accuracy with its interval, counts, settings, tables and charts.

    baselines: words NAME=FOLDER_OR_FILE. Raises InputError naming the field that is damaged.
    """
    results = read_object(path)
    whole = counted(results, "", path)
    by, cells = tables(results, "by", path), tables(results, "cells", path)
    sections = [
        section(
            "Scores",
            headline(whole, interval(results, whole, path)),
            facts(count_facts(results)),
            facts(setting_facts(results)),
        )
    ]
    if cells:
        table = heat_map(cells, by.get("tier", {}), by.get("subject", {}), whole)
        sections.append(section("Tiers and subjects", table))
    if by:
        charts = [dimension_chart(name, counts) for name, counts in by.items()]
        said = note("Share of right answers, with 95 % Wilson intervals.")
        sections.append(section("By dimension", said, *charts))
    sections += baseline_sections(results, whole, by, baselines)
    return [*sections, *sample_sections(results), *other_sections(results)]


def damaged(path: Path, field: str, complaint: str) -> NoReturn:
    """Raises the InputError for one field of results.json."""
    raise InputError(f"{path}: field {field!r} {complaint}; write it again with onevision eval")


def mapping(fields: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    """A field that is an object of objects; empty when it is missing."""
    value = fields.get(name, {})
    if not (isinstance(value, dict) and all(isinstance(v, dict) for v in value.values())):
        damaged(path, name, "must hold an object for every name")
    return value


def tables(results: Mapping[str, Any], field: str, path: Path) -> Tables:
    """{name: {value: (n, correct)}}, checked."""
    found = mapping(results, field, path)
    return {
        name: {
            value: counted(count, f"{field}.{name}.{value}.", path)
            for value, count in mapping(found, name, path).items()
        }
        for name in found
    }


def counted(fields: Mapping[str, Any], where: str, path: Path) -> Count:
    """(n, correct), checked."""
    n, correct = fields.get("n"), fields.get("correct")
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        damaged(path, f"{where}n", "must be a count")
    if not (isinstance(correct, int | float) and is_number(correct) and 0 <= correct < math.inf):
        damaged(path, f"{where}correct", "must be a count")
    if correct > n:
        damaged(path, f"{where}correct", f"is {correct} of only {n}")
    return n, correct


def interval(results: Mapping[str, Any], whole: Count, path: Path) -> tuple[float, float]:
    """The stored interval in percent; the Wilson interval where none is stored."""
    stored = results.get("ci95")
    if stored is None:
        return percent_interval(whole)
    if not (isinstance(stored, list) and len(stored) == 2 and all(map(is_number, stored))):
        damaged(path, "ci95", "must be two numbers")
    return 100 * stored[0], 100 * stored[1]


def headline(whole: Count, ends: tuple[float, float]) -> str:
    """The share of right answers, large, with its interval as numbers and as a drawing."""
    n, correct = whole
    low, high = ends
    share = f"{100 * correct / n:.1f} %" if n else "nothing was scored"
    numbers = [100 * correct / n, low, high] if n else []
    drawing = figure("", f"accuracy {share}", 36, [percent_grid(18), track(numbers, 4)])
    said = f"95 % interval {low:.1f} to {high:.1f} %, {show(correct)} of {n:,} right"
    return (
        f'<div class="headline"><p><b>{escape(share)}</b><span>{escape(said)}</span></p>'
        f"{drawing}</div>"
    )


def count_facts(results: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Questions, and answers that were not simply right or wrong."""
    yield "questions", results["n"]
    for name in COUNTS:
        if name in results:
            yield name.replace("_", " "), results[name]
    stored = results.get("ci95_clustered")
    if isinstance(stored, list) and len(stored) == 2 and all(map(is_number, stored)):
        yield "95 % interval, by clusters", f"{100 * stored[0]:.1f} to {100 * stored[1]:.1f} %"


def setting_facts(results: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The model, the mode and the grader, then whatever else was set."""
    model = {name: results[name] for name in MODEL if isinstance(results.get(name), str)}
    plain = {k: v for k, v in results.items() if isinstance(v, str | int | float)}
    yield from {**model, **{k: v for k, v in plain.items() if k not in SHOWN}}.items()
    grader = results.get("grader")
    if isinstance(grader, dict):
        for name, value in flatten(grader, "grader: "):
            yield name, value.replace("null", "none") if name == "grader: judge" else value


def dimension_chart(name: str, counts: Mapping[str, Count]) -> str:
    """Bars for the values of one dimension, such as tiers: the largest NUM_BARS, in their order."""
    largest = sorted(counts, key=lambda value: -counts[value][0])[:NUM_BARS]
    rows = []
    for value in sorted(largest, key=level_order):
        n, correct = counts[value]
        label = f"{value.replace('_', ' ')} ({n:,})"
        share = 100 * correct / n if n else math.nan
        rows.append((label, share, *percent_interval((n, correct))))
    cut = f", the {NUM_BARS} largest of {len(counts)}" if len(counts) > NUM_BARS else ""
    return bars(f"by {name}{cut}", rows)


def baseline_sections(
    results: Mapping[str, Any], whole: Count, by: Tables, words: Sequence[str]
) -> list[str]:
    """HTML of the scores of others: those that were asked for, then those that are published."""
    sections = []
    asked = read_baselines(words, results)
    source, printed = published(str(results.get("task", "")))
    for title, said, others in (
        ("Beside baselines", "As given with --baseline.", asked),
        ("Beside published results", source, printed),
    ):
        if others and whole[0]:
            name = next((str(results[key]) for key in MODEL if results.get(key)), "this model")
            charts = [ranking(whole, others), *(beside(d, by[d], others) for d in by)]
            parts = [note(said), *charts, baseline_table(name, whole, by, others)]
            sections.append(section(title, *parts))
    return sections


def sample_sections(results: Mapping[str, Any]) -> list[str]:
    """HTML of `samples`: what several answers to every question say together."""
    samples = results.get("samples")
    if not isinstance(samples, dict):
        return []
    charts = [
        curve(str(name), {str(name): sorted((float(k), v) for k, v in values.items())}, x)
        for name, values, x in (
            ("pass@k", samples.get("pass@k"), "k"),
            ("g_pass@k", samples.get("g_pass@k"), "tau: share of the samples that must be right"),
        )
        if isinstance(values, dict) and len(values) > 1 and all(map(is_decimal, values))
    ]
    pairs = list(flatten(samples))[:NUM_FACTS]
    said = note("Means over the questions; pass@k and G-Pass@k are the unbiased estimators.")
    return [section("Several samples a question", said, *charts, facts(pairs))]


def is_decimal(text: str) -> bool:
    """Whether it is a finite decimal number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def other_sections(results: Mapping[str, Any]) -> list[str]:
    """HTML of the entries that only one benchmark has, such as We-Math's scores."""
    others = {
        name: value
        for name, value in results.items()
        if name not in SHOWN and isinstance(value, dict) and value
    }
    return [section(spaced(name), *other_parts(value)) for name, value in others.items()]


def other_parts(value: Mapping[str, Any]) -> Iterator[str]:
    """HTML of one entry: its figures, and a table for every list of objects in it."""
    found = list(leaves(value))
    figures = [(spaced(name), one_line(leaf)) for name, leaf in found if not is_listing(leaf)]
    yield facts(figures[:NUM_FACTS])
    for name, rows in found:
        if is_listing(rows):
            header = list(dict.fromkeys(key for row in rows for key in row))
            cells = [[one_line(row.get(key)) for key in header] for row in rows[:NUM_FACTS]]
            yield note(spaced(name)) + table([spaced(key) for key in header], cells)


def is_listing(value: Any) -> bool:
    """Whether it is a list of objects."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def one_line(value: Any) -> Any:
    """A number as it is, so that it stands right; the numbers of a list one after the other."""
    if isinstance(value, list):
        return ", ".join(show(part) for part in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


def spaced(name: str) -> str:
    """A name as it is read."""
    return name.replace("_", " ")
