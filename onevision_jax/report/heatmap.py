"""Tiers beside subjects: a table whose cells are coloured by the share of right answers.

The colours go from pale to strong in one hue, so lightness alone tells them apart (to any eyes, on
paper too), and every cell says its numbers.
"""

from collections.abc import Mapping, Sequence

from onevision_jax.report.counts import Count, percent_interval
from onevision_jax.report.levels import level_order
from onevision_jax.report.page import clip, escape, show

SMALL = 10  # questions; fewer say little, and the cell is marked
NUM_CLASSES = 10
MAX_COLUMNS = 12
MAX_ROWS = 40


def heat_map(
    cells: Mapping[str, Mapping[str, Count]],
    columns: Mapping[str, Count],
    rows: Mapping[str, Count],
    whole: Count,
) -> str:
    """The table; cells: {tier: {subject: (n, correct)}}, tiers become columns.

    columns, rows: the counts of whole tiers and whole subjects, for the margins.
    """
    tiers = sorted(cells, key=level_order)
    subjects = sorted({subject for row in cells.values() for subject in row}, key=level_order)
    cut = _cut_note(len(tiers), len(subjects))
    tiers, subjects = tiers[:MAX_COLUMNS], subjects[:MAX_ROWS]
    head = "".join(f'<th scope="col">{_name(name)}</th>' for name in ("", *tiers, "all"))
    body = [
        _row(subject, [cells[tier].get(subject) for tier in tiers], rows.get(subject))
        for subject in subjects
    ]
    foot = _row("all", [columns.get(tier) for tier in tiers], whole)
    return (
        f'<figure class="wide"><figcaption>{_legend()}</figcaption>'
        f'<div class="scroll"><table class="heat"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody><tfoot>{foot}</tfoot></table></div>{cut}</figure>"
    )


def _row(name: str, counts: Sequence[Count | None], total: Count | None) -> str:
    cells = "".join(map(_cell, counts))
    return f'<tr><th scope="row">{_name(name)}</th>{cells}{_cell(total, "sum")}</tr>'


def _cell(count: Count | None, kind: str = "") -> str:
    """Percent and counts; the interval when one points at it."""
    if count is None or not count[0]:
        return f'<td class="empty {kind}" title="no questions">–</td>'
    n, correct = count
    low, high = percent_interval(count)
    share = correct / n
    classes = [f"h{min(int(NUM_CLASSES * share), NUM_CLASSES - 1)}", kind, "few" * (n < SMALL)]
    said = f"{show(correct)} of {n:,} right; 95 % interval {low:.1f} to {high:.1f} %"
    return (
        f'<td class="{" ".join(filter(None, classes))}" title="{said}"><b>{100 * share:.0f} %</b>'
        f"<small>{show(correct)} / {n:,}</small></td>"
    )


def _name(name: str) -> str:
    return escape(clip(name.replace("_", " "), 60))


def _legend() -> str:
    scale = "".join(f'<i class="h{place}"></i>' for place in range(NUM_CLASSES))
    return (
        f'<span class="scale">0 % {scale} 100 %</span>'
        f'<span><i class="few"></i>dashed: fewer than {SMALL} questions</span>'
        "<span>point at a cell for its 95 % Wilson interval</span>"
    )


def _cut_note(num_tiers: int, num_subjects: int) -> str:
    """What is not shown of a table that is too large."""
    parts = [
        f"the first {limit} of {num} {name}"
        for num, limit, name in (
            (num_tiers, MAX_COLUMNS, "tiers"),
            (num_subjects, MAX_ROWS, "subjects"),
        )
        if num > limit
    ]
    return f'<p class="note">Shown: {escape(" and ".join(parts))}.</p>' if parts else ""
