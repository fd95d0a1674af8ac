"""Line charts and bars as inline SVG; they take the width they are given, down to a phone's."""

import dataclasses
import itertools
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from onevision_jax.report.page import escape, is_number, show

WIDTH = 440  # of a drawing, in its own units; text is 13 of them high
HEIGHT = 230
TOP, RIGHT, BOTTOM = 8, 16, 42
CHARACTER = 7.4  # width of a digit
NUM_COLOURS = 6
MAX_POINTS = 600  # drawn of one series
TREND_FROM = 100  # points from which a noisy series gets a running mean
LARGEST = 1e100  # numbers beyond it are gaps, like NaN
LABEL_WIDTH = 30  # characters of a bar's name
ROW = 40  # height of a bar with its name

Points = Sequence[tuple[Any, Any]]
Segment = list[tuple[float, float]]  # neighbours without a gap between them


@dataclasses.dataclass(frozen=True)
class Axis:
    """A range of values with its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]

    def share(self, value: float) -> float:
        """Where the value lies: 0 at `low`, 1 at `high`."""
        return (value - self.low) / (self.high - self.low)


def make_axis(values: Sequence[float], *, rounded: bool, whole: bool, count: int) -> Axis:
    """About `count` ticks at 1, 2 or 5 times a power of ten.

    rounded: the range grows to whole ticks; else it is that of the values. whole: no tick lies
    between two whole numbers. Equal values get room on both sides.
    """
    low, high = min(values), max(values)
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-90):
        room = 0.5 if whole else abs(low) / 10 if abs(low) > 1e-90 else 1.0
        low, high = low - room, high + room
    step = _round_step((high - low) / count)
    if whole:
        step = max(step, 1.0)
    if rounded:
        low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple(step * place for place in range(first, last + 1))
    return Axis(low, high, ticks, tuple(tick_labels(ticks, step)))


def _round_step(step: float) -> float:
    scale = 10.0 ** math.floor(math.log10(step))
    return scale * next(n for n in (1, 2, 5, 10) if n * scale >= step * (1 - 1e-9))


def tick_labels(ticks: Sequence[float], step: float) -> list[str]:
    """Equally precise labels: 0.25, 1,000, 20k, 1.5e-5."""
    largest = max(map(abs, ticks), default=0.0)
    if largest < 1e-3 or largest >= 1e15:
        digits = max(0, math.ceil(math.log10(max(largest, step) / step) - 1e-9))
        plain = (f"{tick:.{digits}e}" if abs(tick) > step / 2 else "0" for tick in ticks)
        return [re.sub(r"e([+-])0*(\d)", lambda m: f"e{m[1].strip('+')}{m[2]}", t) for t in plain]
    scales = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
    least, unit = next((s for s in scales if largest >= 10 * s[0]), (1.0, ""))
    decimals = max(0, math.ceil(-math.log10(step / least) - 1e-9))
    return [
        f"{tick / least:,.{decimals}f}{unit}" if abs(tick) > step / 2 else "0" for tick in ticks
    ]


def curve(title: str, series: Mapping[str, Points], x_label: str = "step") -> str:
    """A line chart of one or several series over a common x.

    series: name -> (x, y) in the order of x. A y that is None, NaN or no number is a gap. Long
    noisy series get their running means over them; very long ones are drawn by their extremes.
    """
    lines = {name: _segments(points) for name, points in series.items()}
    points = [point for segments in lines.values() for part in segments for point in part]
    if not points:
        caption = f"<b>{escape(title)}</b><span>no values</span>"
        return f"<figure><figcaption>{caption}</figcaption></figure>"
    xs, ys = [x for x, _ in points], [y for _, y in points]
    across = make_axis(xs, rounded=False, whole=all(x == int(x) for x in xs), count=5)
    up = make_axis(ys, rounded=True, whole=False, count=4)
    left = round(12 + CHARACTER * max(map(len, up.labels)))
    window = max(_trend_window(segments) for segments in lines.values())
    body = [_frame(across, up, left, x_label)]
    for place, segments in enumerate(lines.values()):
        body += [
            f'<g class="c{place % NUM_COLOURS}">',
            *(_path(part, across, up, left, faint=window > 1) for part in segments),
        ]
        if window > 1:
            body += [_path(_running_mean(s, window), across, up, left) for s in segments]
        body.append("</g>")
    said = f"{title}: {', '.join(map(str, lines))} over {x_label}"
    return figure(_legend(title, lines, window), said, HEIGHT, body)


def figure(caption: str, said: str, height: float, body: Sequence[str]) -> str:
    """A drawing under its caption; caption and body: HTML and SVG; said: for who cannot see it."""
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(said)}">'
        f"{''.join(body)}</svg></figure>"
    )


def _legend(title: str, lines: Mapping[str, list[Segment]], window: int) -> str:
    """The title, and each series with its last value."""
    parts = [f"<b>{escape(title)}</b>"]
    for place, (name, segments) in enumerate(lines.items()):
        last = show(segments[-1][-1][1]) if segments else "no values"
        if len(lines) == 1:
            parts.append(f"<span>last {last}</span>")
        else:
            mark = f'<i class="c{place % NUM_COLOURS}"></i>'
            parts.append(f"<span>{mark}{escape(name)} {last}</span>")
    if window > 1:
        parts.append(f"<span>thick: mean of {window}</span>")
    return "".join(parts)


def drawable(value: Any) -> float | None:
    """The value as a float; None for what is no number, not finite or beyond LARGEST."""
    if not is_number(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) <= LARGEST else None


def _segments(points: Points) -> list[Segment]:
    """What lies between gaps."""
    segments: list[Segment] = [[]]
    for pair in points:
        x, y = map(drawable, pair)
        if x is not None and y is not None:
            segments[-1].append((x, y))
        elif segments[-1]:
            segments.append([])
    return [part for part in segments if part]


def _thin(points: Segment) -> Segment:
    """At most MAX_POINTS points: the lowest and the highest of every bin, in their order."""
    if len(points) <= MAX_POINTS:
        return points
    size = math.ceil(2 * len(points) / MAX_POINTS)
    kept = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def _trend_window(segments: Sequence[Segment]) -> int:
    """How many neighbours a running mean takes, an odd number; 1 = the line is short or smooth."""
    num_points = sum(map(len, segments))
    steps = [b[1] - a[1] for part in segments for a, b in itertools.pairwise(part)]
    num_turns = sum(a * b < 0 for a, b in itertools.pairwise(steps))
    if num_points < TREND_FROM or num_turns < num_points / 5:
        return 1
    return 2 * (num_points // 50) + 1


def _running_mean(points: Segment, window: int) -> Segment:
    """Each y becomes the mean of the `window` values around it, fewer at the ends."""
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    half, means = window // 2, []
    for place, (x, _) in enumerate(points):
        start, end = max(0, place - half), min(len(points), place + half + 1)
        means.append((x, (sums[end] - sums[start]) / (end - start)))
    return means


def _path(points: Segment, across: Axis, up: Axis, left: float, faint: bool = False) -> str:
    """A line through the points; a dot for one alone."""
    wide, high = WIDTH - left - RIGHT, HEIGHT - TOP - BOTTOM
    places = [
        (f"{left + wide * across.share(x):.1f}", f"{TOP + high * (1 - up.share(y)):.1f}")
        for x, y in _thin(points)
    ]
    if len(places) == 1:
        return f'<circle class="dot" cx="{places[0][0]}" cy="{places[0][1]}" r="3"/>'
    line = "L".join(f"{x} {y}" for x, y in places)
    return f'<path class="line{" faint" if faint else ""}" d="M{line}"/>'


def _frame(across: Axis, up: Axis, left: float, x_label: str) -> str:
    """Grid, ticks and the name of x."""
    wide, high = WIDTH - left - RIGHT, HEIGHT - TOP - BOTTOM
    parts = []
    for tick, label in zip(up.ticks, up.labels, strict=True):
        y = TOP + high * (1 - up.share(tick))
        parts.append(
            f'<line class="grid" x1="{left}" x2="{left + wide}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 6}" y="{y + 4.5:.1f}" text-anchor="end">{label}</text>'
        )
    floor = TOP + high
    parts.append(f'<line class="axis" x1="{left}" x2="{left + wide}" y1="{floor}" y2="{floor}"/>')
    for tick, label in zip(across.ticks, across.labels, strict=True):
        x = left + wide * across.share(tick)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}"/>'
            f'<text x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{label}</text>'
        )
    middle = left + wide / 2
    parts.append(
        f'<text x="{middle:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


def bars(title: str, rows: Sequence[tuple[str, float, float, float]]) -> str:
    """Horizontal bars from 0 to 100 percent with whiskers; rows: (name, value, low, high)."""
    bottom = 4 + ROW * len(rows)
    body = [percent_grid(bottom)]
    for place, (name, value, low, high) in enumerate(rows):
        top = 4 + ROW * place
        numbers = [drawable(n) for n in (value, low, high)]
        said = "no value" if None in numbers else f"{value:.1f} % [{low:.1f}, {high:.1f}]"
        body.append(row_text(name, said, top))
        body.append(track([n for n in numbers if n is not None], top + 21))
    return figure(f"<b>{escape(title)}</b><span>%</span>", title, bottom + 22, body)


def percent_grid(bottom: float) -> str:
    """Lines from the top down to `bottom`, with their percents below."""
    return "".join(
        f'<line class="grid" x1="{along(p):.1f}" x2="{along(p):.1f}" y1="4" y2="{bottom}"/>'
        f'<text x="{along(p):.1f}" y="{bottom + 16}" text-anchor="middle">{p}</text>'
        for p in (0, 25, 50, 75, 100)
    )


def row_text(name: str, said: str, top: float) -> str:
    """What stands over a bar: its name, cut to fit, and its numbers."""
    return (
        f'<text class="name" x="4" y="{top + 15}">{escape(short(str(name)))}'
        f"<title>{escape(name)}</title></text>"
        f'<text x="{WIDTH - 4}" y="{top + 15}" text-anchor="end">{said}</text>'
    )


def along(percent: float) -> float:
    """Where a percent lies across a drawing of bars."""
    return 4 + (WIDTH - 18) * min(max(percent, 0.0), 100.0) / 100


def track(numbers: Sequence[float], top: float, look: str = "bar") -> str:
    """The track; with one number also the bar, with three its whisker. look: class of the bar."""
    start, end = along(0), along(100)
    empty = f'<rect class="track" x="{start}" y="{top}" width="{end - start}" height="12" rx="2"/>'
    if len(numbers) not in (1, 3):
        return empty
    width, middle = along(numbers[0]) - start, top + 6
    size = f'width="{width:.1f}" height="12"'
    parts = f'{empty}<rect class="{look}" x="{start}" y="{top}" {size} rx="2"/>'
    if len(numbers) == 1:
        return parts
    low, high = map(along, numbers[1:])
    return (
        f'{parts}<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8'
        f'M{high:.1f} {middle - 4}v8"/>'
    )


def short(name: str) -> str:
    """A name that fits beside a bar's numbers; wide characters count double."""
    width = 0
    for place, character in enumerate(name):
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if width > LABEL_WIDTH:
            return f"{name[:place]}…"
    return name
