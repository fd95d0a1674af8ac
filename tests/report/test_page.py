"""Blocks of a page: hostile text stays text, charts survive any numbers, nothing is fetched."""

import base64
import hashlib
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from onevision_jax.report import (
    Sample,
    bars,
    curve,
    facts,
    note,
    page,
    sample,
    samples,
    section,
    table,
)
from onevision_jax.report.charts import make_axis
from onevision_jax.report.page import LIMIT, show

HOSTILE = "</pre><script>alert(1)</script>\" onerror='x' &amp; \0\x1b \ud800 <svg>"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(9)

BLOCKS = {
    "page": page(HOSTILE, [], HOSTILE),
    "section": section(HOSTILE),
    "note": note(HOSTILE),
    "facts": facts([(HOSTILE, HOSTILE)]),
    "table": table((HOSTILE,), [(HOSTILE,)]),
    "curve": curve(HOSTILE, {HOSTILE: [(0, 1), (1, 2)], "b": [(0, HOSTILE)]}, HOSTILE),
    "curve of nothing": curve(HOSTILE, {HOSTILE: []}),
    "bars": bars(HOSTILE, [(HOSTILE, 1.0, 0.0, 2.0)]),
    "samples": samples(
        [
            Sample(
                **dict.fromkeys(("id", "question", "gold", "formal", "reasoning", "answer"), text),
                choices=(text,),
                verdict=text,
                reason=text,
                given=f"{text}.",
                image_note=text,
                image=text.encode("utf-8", "replace"),
                labels={text: text},
            )
            for text in (HOSTILE, f"{HOSTILE}2")
        ],
        HOSTILE,
    ),
}


class Tags(HTMLParser):
    """Every start tag with its attributes, and what is never closed or never opened."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.data = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.data.append(data)


def attributes_of(text, tag):
    return [attributes for name, attributes in Tags(text).found if name == tag]


@pytest.mark.parametrize("name", BLOCKS)
def test_hostile_text_stays_text(name):
    tags = Tags(BLOCKS[name])
    assert tags.open == []
    assert [tag for tag, _ in tags.found].count("script") == (name == "page")
    known = {"class", "data-key", "data-value", "data-verdict", "data-label", "type", "dir"}
    for tag, attributes in tags.found:
        if tag in ("button", "article", "span", "div", "p", "b", "dt", "dd", "td", "h2"):
            assert attributes.keys() <= {*known, "aria-pressed"}
    assert "<script>alert(1)</script>" in "".join(tags.data)
    BLOCKS[name].encode()  # No half of a surrogate pair.
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", BLOCKS[name])


def test_a_page_fetches_nothing_and_runs_its_own_script_only():
    text = page("Title", [section("One", *BLOCKS.values()), samples([Sample(image=PNG)])])
    assert not re.search(r"(https?:)?//\w|@import|url\(", text.replace("&#x2F;", "/"))
    assert {tag for tag, _ in Tags(text).found}.isdisjoint({"link", "iframe", "object", "base"})
    [policy] = [m["content"] for m in attributes_of(text, "meta") if "content" in m][:1]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_long_texts_are_cut_and_say_so():
    text = sample(Sample(reasoning="x" * (LIMIT + 1234)))
    assert "... 1,234 more characters" in text
    assert len(text) < LIMIT + 1000


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\n\0\0\0WEBPVP8 ", "image/webp"),
        (b"", None),
        (b"<svg onload='alert(1)'>", None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b" \x89PNG\r\n\x1a\n", None),
    ],
)
def test_only_images_are_shown(image, kind):
    text = sample(Sample(image=image))
    if kind is None:
        assert "no image" in text
        assert "<img" not in text
    else:
        [found] = attributes_of(text, "img")
        start, data = str(found["src"]).split(",")
        assert start == f"data:{kind};base64"
        assert base64.b64decode(data) == image


def test_buttons_for_verdicts_and_one_label():
    cards = [Sample(verdict=v, labels={"step": n}) for v, n in [("wrong", 10), ("correct", 9)]]
    buttons = [(b["data-key"], b["data-value"]) for b in attributes_of(samples(cards), "button")]
    assert buttons == [("verdict", ""), ("verdict", "correct"), ("verdict", "wrong")]
    text = samples(cards, "step")
    values = [b["data-value"] for b in attributes_of(text, "button") if b["data-key"] == "label"]
    assert values == ["", "9", "10"]
    assert [card["data-label"] for card in attributes_of(text, "article")] == ["10", "9"]
    assert ">correct (1)</button>" in text
    assert "button" not in samples(cards[:1], "step")
    many = [Sample(labels={"step": n}) for n in range(40)]
    assert "button" not in samples(many, "step")
    assert [s["data-key"] for s in attributes_of(samples(many, "step"), "select")] == ["label"]
    assert len(attributes_of(samples(many, "step"), "option")) == 41
    assert "<select" not in samples([Sample(labels={"step": n}) for n in range(61)], "step")


def test_several_labels_of_several_values_and_a_search():
    cards = [
        Sample(labels={"tier": "college", "subject": ("math", "phy\nsics")}),
        Sample(labels={"tier": HOSTILE * 9}),
    ]
    text = samples(cards, ("tier", "subject"), search=True)
    found = [(card["data-label"], card["data-label1"]) for card in attributes_of(text, "article")]
    assert found[0] == ("college", "math\nphy sics")
    buttons = {(b["data-key"], b["data-value"]) for b in attributes_of(text, "button")}
    assert buttons >= {("label1", "math"), ("label1", "phy sics"), ("label", found[1][0])}
    assert "\n" not in found[1][0]
    assert attributes_of(text, "input")[0]["type"] == "search"
    assert "subject math, phy" in text


def test_a_table_sets_numbers_right_and_keeps_its_shape():
    text = table(("name", "n", "share"), [("a", 12345, None), ("b", 2, 0.51239)])
    cells = [attributes.get("class") for attributes in attributes_of(text, "td")]
    assert cells == [None, "number", "number"] * 2
    assert "12,345" in text
    assert "0.5124" in text
    assert attributes_of(table(("a", "b"), []), "th") == [{}, {}]
    with pytest.raises(ValueError, match="a row has 1 cells, the header 2"):
        table(("a", "b"), [("x",)])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "yes"),
        (1234, "1,234"),
        (0.5, "0.5"),
        (2092.4, "2,092"),
        (1.2e-5, "1.2e-5"),
    ],
)
def test_values_are_shown_for_a_reader(value, shown):
    assert show(value) == shown


def drawing(text):
    """The SVG of a figure; it must be XML of its own accord."""
    [svg] = re.findall(r"<svg.*</svg>", text, re.DOTALL)
    for place in re.findall(r'[xyd12r]="([^"]*)"', text):
        assert "nan" not in place
        assert "inf" not in place
    return ET.fromstring(svg)


def lines_of(text):
    return [p.get("d", "") for p in drawing(text).iter("path") if p.get("class") == "line"]


@pytest.mark.parametrize("gap", [None, math.nan, math.inf, 10**400, 1e200, "x", True, [1]])
def test_a_gap_parts_the_line(gap):
    ys = [1, 2, gap, 4, 5, gap, gap, 8]
    text = curve("loss", {"a": list(enumerate(ys))})
    assert len(lines_of(text)) == 2
    assert len(list(drawing(text).iter("circle"))) == 1  # The 8 stands alone.


@pytest.mark.parametrize(
    "ys",
    [
        [1],
        [0, 0, 0],
        [3, 3],
        [-1e-300, 1e-300],
        [5e-324],
        [1e99, -1e99],
        [1, 1 + 1e-15],
        [1e15, 1e15 + 2],
        [2e-5, 1e-5],
        [-7, -9.5],
        [np.float32(0.5), np.float64(2.5)],
    ],
)
def test_any_numbers_are_drawn_inside_the_frame(ys):
    text = curve("c", {"a": list(enumerate(ys))})
    assert len(lines_of(text)) + len(list(drawing(text).iter("circle"))) == 1
    for line in lines_of(text):
        places = [tuple(map(float, pair.split())) for pair in line[1:].split("L")]
        assert all(0 <= x <= 440 and 0 <= y <= 200 for x, y in places)


def test_nothing_to_draw_is_said():
    assert "no values" in curve("c", {"a": [(0, None)]})
    assert "no values" in curve("c", {})
    text = curve("c", {"a": [(0, 1), (1, 2)], "b": [(0, None)]})
    assert text.count("no values") == 1


def test_a_legend_names_every_series_with_its_last_value():
    text = curve("both", {"accuracy": [(1, 0.25), (2, 0.5)], "format": [(1, 1.0), (2, None)]})
    words = " ".join(Tags(text).data)
    assert "accuracy 0.5" in words
    assert "format 1" in words


def test_long_noisy_series_are_thinned_and_get_their_mean():
    ys = [(-1) ** n for n in range(100_000)]
    ys[70_001] = 50
    text = curve("c", {"a": list(enumerate(ys))})
    assert len(text) < 60_000
    faint = next(p for p in drawing(text).iter("path") if p.get("class") == "line faint")
    heights = [float(pair.split()[1]) for pair in faint.get("d", "")[1:].split("L")]
    assert min(heights) < 40 < np.median(heights)  # The one high value is still there.
    assert "thick: mean of" in text
    assert "thick" not in curve("c", {"a": [(n, n * n) for n in range(1000)]})


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1], ["0", "0.5", "1.0"]),
        ([0.0, 1e-5], ["0", "5.0e-6", "1.0e-5"]),
        ([0, 30_000], ["0", "10k", "20k", "30k"]),
        ([1000, 1200], ["1,000", "1,050", "1,100", "1,150", "1,200"]),
        ([-2, 2], ["-2", "-1", "0", "1", "2"]),
    ],
)
def test_ticks_are_round_and_equally_precise(values, labels):
    axis = make_axis(values, rounded=True, whole=False, count=4)
    assert list(axis.labels) == labels


@pytest.mark.parametrize("steps", [[3], [1, 2], [1, 60], [0, 100_000]])
def test_ticks_of_steps_are_whole(steps):
    axis = make_axis(steps, rounded=False, whole=True, count=5)
    assert axis.ticks
    assert len(set(axis.labels)) == len(axis.labels)
    assert all(tick == int(tick) for tick in axis.ticks)


def test_bars_stay_between_0_and_100():
    text = bars(
        "accuracy", [("a", 150.0, -5.0, 300.0), ("b", math.nan, 0.0, 1.0), ("中" * 99, 1, 0, 2)]
    )
    widths = [
        float(r.get("width", "")) for r in drawing(text).iter("rect") if r.get("class") == "bar"
    ]
    assert max(widths) <= 440
    assert len(widths) == 2
    assert "no value" in text
    assert f"{'中' * 15}…" in text
    assert bars("none", []).startswith("<figure>")
