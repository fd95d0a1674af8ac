"""The curves of a run and what it sampled, from metrics.jsonl and samples.jsonl."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.report.cards import Sample, samples
from onevision_jax.report.charts import curve, drawable
from onevision_jax.report.page import facts, is_number, note, section, show, table
from onevision_jax.report.parts import split_response
from onevision_jax.report.reading import read_lines, text_of

# Sections in their order; a chart's title and its columns. Columns not named here come last.
GROUPS: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...] = (
    (
        "Learning",
        (
            ("loss", ("loss",)),
            ("reward", ("reward",)),
            ("accuracy and format", ("accuracy", "format")),
            ("reward, deviation", ("reward_std",)),
            ("gradient norm", ("grad_norm",)),
            ("learning rate", ("lr",)),
        ),
    ),
    (
        "Completions and policy",
        (
            ("tokens in a completion", ("completion_length",)),
            ("share of completions cut off", ("clipped_ratio",)),
            ("entropy", ("entropy",)),
            ("KL to the reference", ("kl",)),
            ("share of clipped tokens", ("clip_fraction",)),
            ("log-prob difference, mean", ("logprob_difference_mean",)),
            ("log-prob difference, largest", ("logprob_difference_max",)),
        ),
    ),
    (
        "Speed",
        (
            ("tokens per second", ("tokens_per_second",)),
            (
                "seconds of a step",
                ("step_seconds", "rollout_seconds", "train_seconds", "data_seconds"),
            ),
            ("tokens of a step", ("tokens", "response_tokens")),
            ("patches of a step", ("patches",)),
            ("share of padding", ("token_padding", "patch_padding")),
        ),
    ),
)
TIMED = {"tokens_per_second", "step_seconds", "rollout_seconds", "train_seconds", "data_seconds"}
ENDS = 10  # steps whose mean stands for the first and the last in the summary
NUM_SAMPLES = 40

Row = Mapping[str, Any]


def training_sections(path: Path) -> list[str]:
    """HTML of metrics.jsonl: summary, charts by group, and a table of all numbers.

    Raises InputError when a line is damaged or has no step.
    """
    rows = read_lines(path, growing=True)
    for place, row in enumerate(rows, 1):
        if not is_number(row.get("step")):
            raise InputError(f"{path}, row {place} has no number 'step'; repair or remove the line")
    if not rows:
        return [section("Training", note("No step is finished yet."))]
    columns = columns_of(rows)
    sections = [section("Training", facts(summary(rows)))]
    left = [name for name in columns if varies(rows, name)]
    for title, charts in GROUPS:
        parts = []
        for name, wanted in charts:
            found = [column for column in wanted if column in left]
            if found:
                parts.append(chart(name, rows, found))
        left = [c for c in left if not any(c in wanted for _, wanted in charts)]
        if title == "Speed" and parts and len(rows) > 2:
            parts.insert(0, note("Times and rates leave out the first step, which compiles."))
        if parts:
            sections.append(section(title, *parts))
    if left:
        sections.append(section("More", *(chart(spaced(name), rows, [name]) for name in left)))
    sections.append(section("All numbers", numbers_table(rows, columns)))
    return sections


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Names of the columns that hold a number anywhere, in the order of their first row."""
    names = {name: None for row in rows for name, value in row.items() if is_number(value)}
    return [name for name in names if name != "step"]


def values_of(rows: Sequence[Row], name: str) -> list[float]:
    """The numbers of a column that can be drawn."""
    return [row[name] for row in rows if drawable(row.get(name)) is not None]


def varies(rows: Sequence[Row], name: str) -> bool:
    """Whether the column holds two different numbers."""
    return len(set(values_of(rows, name))) > 1


def spaced(name: str) -> str:
    """`token_padding` as words."""
    return name.replace("_", " ")


def chart(title: str, rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The curve of some columns over the step; a column of times starts at the second step."""
    series = {}
    for name in columns:
        shown = rows[1:] if name in TIMED and len(rows) > 2 else rows
        series[spaced(name)] = [(row["step"], row.get(name)) for row in shown]
    return curve(title, series)


def summary(rows: Sequence[Row]) -> list[tuple[str, Any]]:
    """The run in a few facts; first and last are means of ENDS steps each."""
    pairs: list[tuple[str, Any]] = [("last step", rows[-1]["step"])]
    seconds = sum(values_of(rows, "step_seconds"))
    if seconds:
        pairs.append(("time in steps", duration(seconds)))
    tokens = sum(values_of(rows, "tokens"))
    if tokens:
        pairs.append(("tokens", tokens))
    many = len(rows) >= 2 * ENDS
    for name in ("loss", "reward", "accuracy", "format"):
        values = values_of(rows, name)
        if values:
            size = ENDS if many else 1
            first, last = (sum(part) / len(part) for part in (values[:size], values[-size:]))
            which = f"first and last {ENDS} steps" if many else "first and last step"
            pairs.append((f"{name}, {which}", f"{show(float(first))} to {show(float(last))}"))
    return pairs


def duration(seconds: float) -> str:
    """`1 h 02 min`, `3 min 20 s` or `4.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def numbers_table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """First, last, lowest and highest of every column; columns that never change included."""
    lines = []
    for name in columns:
        values = values_of(rows, name)
        if values:
            lines.append((name, values[0], values[-1], min(values), max(values), len(values)))
    return table(("column", "first", "last", "lowest", "highest", "steps"), lines)


def sample_sections(path: Path) -> list[str]:
    """HTML of samples.jsonl, the completions of a GRPO run: the newest, newest first."""
    rows = read_lines(path, newest=NUM_SAMPLES, growing=True)
    cards = [sampled_card(row) for row in reversed(rows)]
    if not cards:
        return [section("Sampled completions", note("There are none yet."))]
    said = f"The newest {len(cards)}, newest first."
    return [section("Sampled completions", note(said), samples(cards, "step"))]


def sampled_card(row: dict[str, Any]) -> Sample:
    """The card of one completion; its image is not looked for."""
    parts = split_response(text_of(row, "response"))
    names = ("step", "reward", "accuracy", "format", "advantage")
    return Sample(
        id=text_of(row, "id"),
        question=text_of(row, "question"),
        gold=text_of(row, "gold"),
        verdict=text_of(row, "verdict"),
        reason=text_of(row, "reason"),
        labels={name: row[name] for name in names if row.get(name) is not None},
        **parts._asdict(),
    )
