"""The page of a built data set: what is in it, how long and how large, what was left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from onevision_jax.report.charts import make_axis
from onevision_jax.report.page import escape, facts, note, page, section, table

WIDTH, HEIGHT = 440, 190  # of a drawing, in its own units
LEFT, FLOOR, RIGHT = 56, 160, 18
ROW = 34
MOST = 16  # bars of one chart

COUNTS = {
    "source": "Sources",
    "tier": "Tiers",
    "subject": "Subjects",
    "answer_kind": "Kinds of answer",
    "layout": "Published layouts",
}
MEASURES = {
    "words": "Words of prompt and response",
    "tokens": "Tokens of prompt and response, without the image's",
    "width": "Image width, pixels",
    "height": "Image height, pixels",
}


def dataset_page(card: Mapping[str, Any]) -> str:
    """The HTML of a `card.json` of `onevision data build`."""
    splits = ", ".join(f"{count:,} {split}" for split, count in card["splits"].items())
    pairs = [
        ("rows read", card["rows"]),
        ("records written", card["written"]),
        ("rows left out", card["rejected"]),
        ("splits", splits),
        ("benchmark problems compared with", card["benchmark_problems"]),
        ("made by", card["made_by"]),
    ]
    counts = [count_bars(COUNTS[name], card["counts"][name]) for name in COUNTS]
    measures = [histogram(MEASURES[name], values) for name, values in card["measures"].items()]
    reasons: dict[str, int] = {}
    for row in card["rejects"]:
        reasons[row["reason"]] = reasons.get(row["reason"], 0) + row["count"]
    reasons = dict(sorted(reasons.items(), key=lambda item: -item[1]))
    rejects = [(row["reason"], row["source"], row["count"]) for row in card["rejects"]]
    return page(
        "Data set",
        [
            section("What it holds", facts(pairs), *filter(None, counts)),
            section("Lengths and sizes", *measures),
            section(
                "Left out",
                note("Each row is in rejects.jsonl with its reason."),
                count_bars("Reasons", reasons) or note("Nothing was left out."),
                table(("reason", "source", "rows"), rejects) if rejects else "",
            ),
            section(
                "Repairs",
                note("One record may have had several."),
                count_bars("Repairs", card["repairs"]) or note("Nothing needed repair."),
            ),
        ],
        lead="Made from " + ", ".join(source["source"] for source in card["sources"]),
    )


def count_bars(title: str, counts: Mapping[str, int]) -> str:
    """Horizontal bars, the longest first; "" without any. What does not fit is summed up."""
    rows = sorted(counts.items(), key=lambda item: -item[1])
    if not rows:
        return ""
    if len(rows) > MOST:
        rest = rows[MOST - 1 :]
        rows = [*rows[: MOST - 1], (f"{len(rest)} others", sum(count for _, count in rest))]
    most, whole = max(count for _, count in rows), sum(counts.values())
    body = []
    for place, (name, count) in enumerate(rows):
        top, wide = 4 + ROW * place, WIDTH - 8
        shown = name if len(name) <= 40 else f"…{name[-39:]}"
        share = 100 * count / whole if whole else 0.0
        body.append(
            f'<text class="name" x="4" y="{top + 13}">{escape(shown)}'
            f"<title>{escape(name)}</title></text>"
            f'<text x="{WIDTH - 4}" y="{top + 13}" text-anchor="end">'
            f"{count:,} · {share:.1f} %</text>"
            f'<rect class="track" x="4" y="{top + 18}" width="{wide}" height="9" rx="2"/>'
            f'<rect class="bar" x="4" y="{top + 18}" width="{wide * count / max(most, 1):.1f}" '
            'height="9" rx="2"/>'
        )
    return _figure(title, 8 + ROW * len(rows), body)


def histogram(title: str, values: Mapping[str, Any]) -> str:
    """Upright bars of the counts between the edges, with the median and the 95th percentile."""
    edges: Sequence[float] = values["histogram"]["edges"]
    counts: Sequence[int] = values["histogram"]["counts"]
    across = make_axis((edges[0], edges[-1]), rounded=False, whole=False, count=5)
    up = make_axis((0, max(counts)), rounded=True, whole=True, count=4)
    wide, body = WIDTH - LEFT - RIGHT, []
    for tick, label in zip(up.ticks, up.labels, strict=True):
        y = FLOOR - (FLOOR - 8) * up.share(tick)
        body.append(
            f'<line class="grid" x1="{LEFT}" x2="{LEFT + wide}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4.5:.1f}" text-anchor="end">{label}</text>'
        )
    step = wide / len(counts)
    for place, count in enumerate(counts):
        high = (FLOOR - 8) * up.share(count)
        body.append(
            f'<rect class="bar" x="{LEFT + step * place + 0.5:.1f}" y="{FLOOR - high:.1f}" '
            f'width="{step - 1:.1f}" height="{high:.1f}"/>'
        )
    for tick, label in zip(across.ticks, across.labels, strict=True):
        x = LEFT + wide * across.share(tick)
        body.append(f'<text x="{x:.1f}" y="{FLOOR + 18}" text-anchor="middle">{label}</text>')
    middle, high = values["percentiles"]["50"], values["percentiles"]["95"]
    said = (
        f"median {middle:,.0f}, 95 % below {high:,.0f}, largest {values['percentiles']['100']:,.0f}"
    )
    return _figure(title, HEIGHT, body, said)


def _figure(title: str, height: float, body: Sequence[str], said: str = "") -> str:
    caption = f"<b>{escape(title)}</b>" + (f"<span>{escape(said)}</span>" if said else "")
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"{''.join(body)}</svg></figure>"
    )
