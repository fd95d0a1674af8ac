"""A score beside others: a ranking, and for every dimension our bars with the others' marks."""

from collections.abc import Mapping, Sequence

from onevision_jax.report.baselines import Baseline, Share
from onevision_jax.report.charts import ROW, along, figure, percent_grid, row_text, track
from onevision_jax.report.counts import Count, percent_interval
from onevision_jax.report.levels import level_order, plain_name
from onevision_jax.report.page import clip, escape, table

# Colour and shape, so that either is enough; further baselines are grey ticks.
MARKS = (
    ("c1", "●", "M{x} {y}m-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0"),
    ("c2", "■", "M{x} {y}m-4.5-4.5h9v9h-9z"),
    ("c3", "◆", "M{x} {y}m0-6.5l5.5 6.5-5.5 6.5-5.5-6.5z"),
    ("c4", "▲", "M{x} {y}m0-6l6 11h-12z"),
)
OTHERS = ("c5", "|", "M{x} {y}m-1-6h2v12h-2z")
MAX_ROWS = 24


def ranking(ours: Count, baselines: Sequence[Baseline]) -> str:
    """Bars of all questions, the best first; with whiskers where the counts are known."""
    rows = [("this one", Share(value=ours[1] / ours[0], n=ours[0], correct=ours[1]), True)]
    rows += [(other.name, other.whole, False) for other in baselines]
    rows.sort(key=lambda row: -row[1].value)
    bottom = 4 + ROW * len(rows)
    body = [percent_grid(bottom)]
    for place, (label, share, own) in enumerate(rows):
        top, ends = 4 + ROW * place, _interval(share)
        said = f"{100 * share.value:.1f} %"
        said += f" [{ends[0]:.1f}, {ends[1]:.1f}]" if ends else ""
        body.append(row_text(label, said, top))
        body.append(track([100 * share.value, *ends], top + 21, "bar" if own else "bar other"))
    title = "All questions"
    return figure(f"<b>{title}</b><span>%</span>", title, bottom + 22, body)


def beside(dimension: str, counts: Mapping[str, Count], baselines: Sequence[Baseline]) -> str:
    """Bars of the values that we and some baseline have; "" where there is none."""
    values = [
        value
        for value in sorted(counts, key=level_order)
        if counts[value][0] and any(_share(other, dimension, value) for other in baselines)
    ][:MAX_ROWS]
    if not values:
        return ""
    bottom = 4 + ROW * len(values)
    body = [percent_grid(bottom)]
    for place, value in enumerate(values):
        n, correct = counts[value]
        top, ends = 4 + ROW * place, _interval(Share(value=correct / n, n=n, correct=correct))
        said = f"{100 * correct / n:.1f} % [{ends[0]:.1f}, {ends[1]:.1f}]"
        body.append(row_text(f"{value.replace('_', ' ')} ({n:,})", said, top))
        body.append(track([100 * correct / n, *ends], top + 21))
        # The first baselines lie on top.
        for order in reversed(range(len(baselines))):
            share = _share(baselines[order], dimension, value)
            body.append(_mark(order, baselines[order].name, share, top + 27) if share else "")
    title = f"by {dimension}"
    return figure(f"<b>{escape(title)}</b>{_legend(baselines)}", title, bottom + 22, body)


def baseline_table(
    name: str, ours: Count, by: Mapping[str, Mapping[str, Count]], baselines: Sequence[Baseline]
) -> str:
    """Every number in percent: a row for each model, a column for each value they share."""
    columns = [
        (dimension, value)
        for dimension, counts in by.items()
        for value in sorted(counts, key=level_order)
        if any(_share(other, dimension, value) for other in baselines)
    ][:MAX_ROWS]
    own = [_percent(by[dimension][value]) for dimension, value in columns]
    rows = [[f"{name} (this one)", _percent(ours), *own, ""]]
    for other in baselines:
        shares = [other.whole, *(_share(other, *column) for column in columns)]
        cells = ["" if share is None else f"{100 * share.value:.1f}" for share in shares]
        rows.append([other.name, *cells, other.note])
    header = ["%", "all", *(value.replace("_", " ") for _, value in columns), ""]
    if not any(other.note for other in baselines):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return table(header, rows)


def _percent(count: Count) -> str:
    n, correct = count
    return f"{100 * correct / n:.1f}" if n else ""


def _share(baseline: Baseline, dimension: str, value: str) -> Share | None:
    return baseline.by.get(dimension, {}).get(plain_name(value))


def _interval(share: Share) -> tuple[float, ...]:
    """The ends of the interval in percent; () where only the share is known."""
    return percent_interval((share.n, share.correct)) if share.n else ()


def _look(order: int) -> tuple[str, str, str]:
    return MARKS[order] if order < len(MARKS) else OTHERS


def _mark(order: int, name: str, share: Share, middle: float) -> str:
    colour, _, path = _look(order)
    place = path.format(x=f"{along(100 * share.value):.1f}", y=middle)
    said = escape(f"{clip(name, 60)} {100 * share.value:.1f} %")
    return f'<path class="mark {colour}" d="{place}"><title>{said}</title></path>'


def _legend(baselines: Sequence[Baseline]) -> str:
    parts = ['<span><i class="c0 block"></i>this one</span>']
    for order, baseline in enumerate(baselines[: len(MARKS)]):
        colour, glyph, _ = _look(order)
        said = escape(clip(baseline.name, 60))
        parts.append(f'<span><em class="{colour}">{glyph}</em> {said}</span>')
    if len(baselines) > len(MARKS):
        parts.append(f'<span><em class="c5">|</em> {len(baselines) - len(MARKS)} others</span>')
    return "".join(parts)
