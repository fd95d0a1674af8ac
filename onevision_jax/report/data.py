"""The page of a data set: counts as bars, lengths as histograms."""

from collections.abc import Mapping, Sequence
from typing import Any

from onevision_jax.data.summary import HEADER, length_rows
from onevision_jax.report.charts import BOTTOM, CHARACTER, HEIGHT, RIGHT, TOP, WIDTH, make_axis
from onevision_jax.report.page import escape, facts, page, section, table

MAX_BARS = 15


def data_page(title: str, summary: Mapping[str, Any]) -> str:
    """One HTML document of what `data.summary.summarise` found."""
    packing, dropped = summary["packing"], summary["dropped"]
    names = ("records", "usable", "with image", "text only", "images shrunk to fit a row")
    reasons = [[why, n, dropped["first"][why]] for why, n in dropped["counts"].items()]
    sections = [
        section("Records", facts((name, summary[name]) for name in names)),
        section(
            "What they are",
            *(
                counts(name.replace("_", " "), list(found.items()), summary["values"][name])
                for name, found in summary["counts"].items()
                if found
            ),
        ),
        section(
            "How long they are",
            *(histogram(name, found) for name, found in summary["lengths"].items()),
            table(HEADER, length_rows(summary)),
        ),
        section("Packed", facts(packed(packing)), _budgets(packing)),
    ]
    if reasons:
        rows = table(["reason", "records", "first complaint"], reasons)
        sections.insert(1, section("Left out", rows))
    return page(title, sections, lead=summary.get("processor", ""))


def packed(packing: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The figures of packing, with their names."""
    return [
        ("tokens used", f"{packing['tokens']:.1%}"),
        ("patches used", f"{packing['patches']:.1%}"),
        ("examples in a row", packing["examples"] / max(1, packing["rows"])),
        ("rows", packing["rows"]),
        ("tokens in a row", packing["tokens_per_row"]),
        ("rows in a batch", packing["rows_per_batch"]),
    ]


def _budgets(packing: Mapping[str, Any]) -> str:
    rows = [[int(budget), count] for budget, count in packing["budgets"].items()]
    return table(["patch budget", "batches"], rows)


def counts(title: str, rows: Sequence[tuple[str, int]], num_values: int) -> str:
    """Horizontal bars from the most frequent value on."""
    rows = sorted(rows, key=lambda row: (-row[1], row[0]))[:MAX_BARS]
    largest, body = max(count for _, count in rows), []
    for place, (name, count) in enumerate(rows):
        top = 2 + 34 * place
        label = name if len(name) <= 40 else f"{name[:39]}…"
        body.append(
            f'<text class="name" x="4" y="{top + 13}">{escape(label)}</text>'
            f'<text x="{WIDTH - 4}" y="{top + 13}" text-anchor="end">{count:,}</text>'
            f'<rect class="track" x="4" y="{top + 19}" width="{WIDTH - 8}" height="8" rx="2"/>'
            f'<rect class="bar" x="4" y="{top + 19}" '
            f'width="{(WIDTH - 8) * count / largest:.1f}" height="8" rx="2"/>'
        )
    said = f"{num_values} values" if num_values <= MAX_BARS else f"{MAX_BARS} of {num_values}"
    return _figure(title, said, 2 + 34 * len(rows), body)


def histogram(title: str, found: Mapping[str, Any]) -> str:
    """Upright bars over the values; found: as `data.summary.describe` gives it."""
    if not found["count"]:
        return _figure(title, "none", 1, [])
    edges, bins = found["edges"], found["bins"]
    across = make_axis(edges, rounded=False, whole=True, count=5)
    up = make_axis([0, *bins], rounded=True, whole=True, count=4)
    left = round(12 + CHARACTER * max(map(len, up.labels)))
    wide, high = WIDTH - left - RIGHT, HEIGHT - TOP - BOTTOM
    floor, body = TOP + high, []
    for tick, label in zip(up.ticks, up.labels, strict=True):
        y = TOP + high * (1 - up.share(tick))
        body.append(
            f'<line class="grid" x1="{left}" x2="{left + wide}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 6}" y="{y + 4.5:.1f}" text-anchor="end">{label}</text>'
        )
    for start, end, count in zip(edges, edges[1:], bins, strict=False):
        x = left + wide * across.share(start)
        width = max(0.5, wide * (across.share(end) - across.share(start)) - 1)
        tall = high * up.share(count)
        body.append(
            f'<rect class="bar" x="{x:.1f}" y="{floor - tall:.1f}" width="{width:.1f}" '
            f'height="{tall:.1f}"><title>{start:,.0f} to {end:,.0f}: {count:,}</title></rect>'
        )
    for tick, label in zip(across.ticks, across.labels, strict=True):
        x = left + wide * across.share(tick)
        body.append(f'<text x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{label}</text>')
    body.append(f'<line class="axis" x1="{left}" x2="{left + wide}" y1="{floor}" y2="{floor}"/>')
    said = f"mean {found['mean']:,.0f}, median {found['percentiles']['50']:,.0f}"
    return _figure(title, said, HEIGHT - 18, body)


def _figure(title: str, said: str, height: float, body: Sequence[str]) -> str:
    return (
        f"<figure><figcaption><b>{escape(title)}</b><span>{escape(said)}</span>"
        f'</figcaption><svg viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{escape(title)}">{"".join(body)}</svg></figure>'
    )
