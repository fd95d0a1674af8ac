"""An evaluation's page: heat map, baselines, published numbers, samples, and the item browser."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from onevision_jax.cli.main import main
from onevision_jax.errors import InputError
from onevision_jax.evaluation import wilson
from onevision_jax.report import evaluation_page, items, run_report
from onevision_jax.report.baselines import published
from onevision_jax.report.heatmap import SMALL, heat_map
from onevision_jax.report.items import choose, fit
from onevision_jax.report.levels import level_order, plain_name

HOSTILE = "</td><script>alert(1)</script>\" onerror='x' &amp; \0 <img src=x>"
RESPONSE = "<think>```csv\nx,y\n```\nBecause.</think>\n<answer>x</answer>"


class Page(HTMLParser):
    """The tags of a page with their attributes; every one is closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def png(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_lines(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def count(n, correct):
    return {"n": n, "correct": correct}


RESULTS = {
    "task": "generic",
    "mode": "strict",
    "checkpoint": "runs/sft",
    "data": "nowhere.jsonl",
    "n": 20,
    "correct": 9,
    "ci95": [0.25, 0.66],
    "missing": 1,
    "unparsed": 2,
    "truncated": 3,
    "grader_failed": 0,
    "by": {
        "tier": {"social_test": count(4, 0), "junior_high": count(12, 7), "college": count(4, 2)},
        "subject": {"math": count(16, 9), "deduction": count(4, 0)},
    },
    "cells": {
        "college": {"math": count(4, 2)},
        "social_test": {"deduction": count(4, 0)},
        "junior_high": {"math": count(12, 7)},
    },
    "grader": {"extractor": "tags", "equality": "strict", "judge": None, "version": "strict-1"},
}


def item(number, **changes):
    row = {"id": f"q{number}", "response": RESPONSE, "extracted": "x", "gold": "x"}
    return row | {"verdict": "correct", "reason": "the same text"} | changes


@pytest.fixture
def folder(tmp_path):
    """RESULTS with 20 answers, and their data with images."""
    out = tmp_path / "scores"
    out.mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "small.png").write_bytes(png(8, 8))
    (tmp_path / "images" / "large.png").write_bytes(png(900, 300))
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50_000))
    names = ["small", "large", "broken", "absent"]
    questions = [
        {
            "id": f"q{n}",
            "answer": "x",
            "question": f"Which is it, number {n}?",
            "choices": ["x", "y"],
            "formal_text": f"exact {n}",
            "image": f"images/{names[n]}.png" if n < 4 else "",
            "tier": "junior_high" if n < 12 else "college",
            "subject": "math",
        }
        for n in range(20)
    ]
    write_lines(tmp_path / "data.jsonl", questions)
    results = RESULTS | {"data": str(tmp_path / "data.jsonl")}
    (out / "results.json").write_text(json.dumps(results))
    write_lines(out / "items.jsonl", [item(n) for n in range(20)])
    return out


def change(folder, **fields):
    results = json.loads((folder / "results.json").read_text()) | fields
    (folder / "results.json").write_text(json.dumps(results))


def test_the_headline_says_who_how_and_how_sure(folder):
    text = evaluation_page(folder)
    for words in (
        "<b>45.0 %</b>",
        "95 % interval 25.0 to 66.0 %, 9 of 20 right",
        "<dt>questions</dt><dd>20</dd>",
        "<dt>missing</dt><dd>1</dd>",
        "<dt>unparsed</dt><dd>2</dd>",
        "<dt>truncated</dt><dd>3</dd>",
        "<dt>grader failed</dt><dd>0</dd>",
        "<dt>mode</dt><dd>strict</dd>",
        "<dt>checkpoint</dt><dd>runs/sft</dd>",
        "<dt>grader: judge</dt><dd>none</dd>",
        "<dt>grader: version</dt><dd>strict-1</dd>",
    ):
        assert words in text, words


def test_the_heat_map_is_in_the_order_of_education(folder):
    text = evaluation_page(folder)
    heads = re.findall(r'<th scope="col">([^<]*)</th>', text)
    assert heads == ["", "junior high", "college", "social test", "all"]
    low, high = wilson(7, 12)
    said = f"7 of 12 right; 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    [cell] = [c for c in Page(text).of("td") if c.get("title") == said and "sum" not in c["class"]][
        :1
    ]
    assert cell["class"] == "h5"
    assert "<b>58 %</b><small>7 / 12</small>" in text
    few = [c for c in Page(text).of("td") if "few" in (c.get("class") or "").split()]
    assert all(int(re.findall(r"of (\d+)", c["title"])[0]) < SMALL for c in few)
    assert len(few) == 5  # Two cells, two tiers, one subject: all with 4 questions.
    assert text.count('title="no questions"') == 3


def test_fractions_of_questions_are_counts_too(folder):
    cells = {"college": {"math": {"n": 4, "correct": 2.25}}}
    change(folder, correct=9.5, cells=cells)
    text = evaluation_page(folder)
    assert "9.5 of 20 right" in text
    assert "<b>56 %</b><small>2.25 / 4</small>" in text


def test_large_and_hostile_heat_maps_are_cut_and_escaped():
    cells = {f"level {n}": {f"{HOSTILE}{m}": (n, 0) for m in range(50)} for n in range(1, 30)}
    text = heat_map(cells, {}, {}, (9, 1))
    Page(text)
    assert "<script>" not in text
    assert "the first 12 of 29 tiers and the first 40 of 50 subjects" in text
    assert text.index("level 2<") < text.index("level 12<")


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (
            ["Social Test", "College", "High School", "Junior High School"],
            ["Junior High School", "High School", "College", "Social Test"],
        ),
        (["level 10", "level 9"], ["level 9", "level 10"]),
        (["zoo", "university", "junior-high"], ["junior-high", "university", "zoo"]),
    ],
)
def test_levels_are_ordered(names, ordered):
    assert sorted(names, key=level_order) == ordered


def test_names_are_matched_as_benchmarks_spell_them():
    assert {plain_name(n) for n in ("Junior High School", "junior-high", "junior_high")} == {
        "junior_high"
    }
    assert plain_name("Mathematics") == plain_name("math")
    assert plain_name("代数") == "代数"


def test_the_published_table_is_whole():
    """Averages are means over the questions of the tiers and of the subjects: both recomputed."""
    source, models = published("r1-onevision-bench")
    assert "published, judged by GPT-4o-mini, not the same grader" in source
    assert len(models) == 11
    tiers = {"junior_high": 302, "high_school": 372, "college": 170, "social_test": 98}
    subjects = {"math": 327, "physics": 278, "biology": 134, "chemistry": 105, "deduction": 98}
    for model in models:
        for dimension, sizes in (("tier", tiers), ("subject", subjects)):
            assert model.by[dimension].keys() == sizes.keys()
            total = sum(n * model.by[dimension][value].value for value, n in sizes.items())
            assert total / 942 == pytest.approx(model.whole.value, abs=0.0012), model.name
    assert published("generic") == ("", [])
    assert published("../../secret") == ("", [])


def test_published_numbers_stand_beside_that_benchmark_only(folder):
    assert "GPT-4o-mini" not in evaluation_page(folder)
    change(folder, task="r1-onevision-bench")
    text = evaluation_page(folder)
    assert "published, judged by GPT-4o-mini, not the same grader" in text
    assert "<td>R1-Onevision-7B</td><td>36.2</td><td>40.1</td><td>27.6</td><td>26.5</td>" in text
    # A mark lies at its share: 4 is the left end of a drawing 422 wide.
    x = 4 + 422 * 0.401
    assert f'<path class="mark c1" d="M{x:.1f} ' in text


def test_baselines_of_folders_and_small_files(folder, tmp_path):
    other = tmp_path / "before"
    other.mkdir()
    (other / "results.json").write_text(json.dumps(RESULTS | {"mode": "official", "correct": 12}))
    small = {"accuracy": 0.125, "by": {"tier": {"Junior High School": 0.25, "zoo": 1}}}
    (tmp_path / "paper.json").write_text(json.dumps(small))
    out = tmp_path / "page.html"
    words = ["--baseline", f"before={other}", "--baseline", f"paper={tmp_path / 'paper.json'}"]
    assert main(["report", str(folder), *words, "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    Page(text)
    for words in (
        "<h2>Beside baselines</h2>",
        "differs in mode",
        "its file does not say how it was graded",
        "<td>before</td><td>60.0</td><td>58.3</td><td>50.0</td><td>0.0</td>",
        "<td>paper</td><td>12.5</td><td>25.0</td><td></td>",
        "before 60",
        ">this one<",
    ):
        assert words.replace("before 60", "before</td><td>60") in text, words
    assert text.index(">before<") < text.index(">this one<") < text.index(">paper<")


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("{", "is no JSON"),
        ('{"accuracy": 36.2}', "field 'accuracy' is 36.2; give a share from 0 to 1"),
        ("{}", "field 'accuracy' is None"),
        ('{"n": 3, "correct": 4}', "field 'accuracy' must hold n of at least 1"),
        ('{"accuracy": 0.5, "by": {"tier": 1}}', "field 'by' must hold an object"),
        ('{"accuracy": 0.5, "by": {"tier": {"a": "b"}}}', "field 'by.tier.a' is b"),
        ('{"accuracy": NaN}', "field 'accuracy' is nan"),
    ],
)
def test_damaged_baselines_are_named(content, answer, folder, tmp_path):
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(InputError) as caught:
        run_report(folder, [f"b={tmp_path / 'b.json'}"])
    assert answer in str(caught.value)
    assert str(tmp_path / "b.json") in str(caught.value)


def test_baselines_that_are_not_there_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="write --baseline NAME=FOLDER"):
        run_report(folder, ["name"])
    with pytest.raises(InputError, match="is no file"):
        run_report(folder, [f"a={tmp_path / 'absent'}"])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds no results.json to set beside"):
        run_report(tmp_path, [f"a={folder}"])


def test_several_samples_have_their_block(folder):
    samples = {"k": 4, "pass@k": {"1": 0.25, "2": 0.5, "4": 0.75}, "maj@k": 0.5}
    change(folder, samples=samples, wemath={"strict": {"IK": 0.5}})
    text = evaluation_page(folder)
    assert "<b>pass@k</b>" in text
    assert "<dt>pass@k.4</dt><dd>0.75</dd>" in text
    assert "<dt>maj@k</dt><dd>0.5</dd>" in text
    assert "<h2>wemath</h2>" in text
    assert "<dt>strict.IK</dt><dd>0.5</dd>" in text
    for odd in ({"pass@k": {"a": 1, "b": 2}}, {"pass@k": {"1": None, "2": "x"}}, {"k": []}):
        change(folder, samples=odd)
        Page(evaluation_page(folder))


def test_cards_show_what_was_asked(folder):
    text = evaluation_page(folder)
    for words in ("Which is it, number 5?", "<pre>x,y</pre>", "Because.", "<pre>exact 5</pre>"):
        assert words in text
    shown = [base64.b64decode(image["src"].split(",")[1]) for image in Page(text).of("img")]
    assert shown[0] == png(8, 8)  # A small file stays as it is; a large one is made smaller.
    assert Image.open(io.BytesIO(shown[1])).size == (560, 187)
    assert len(shown) == 2
    assert text.count('class="none">no image:') == 2
    keys = {button["data-key"] for button in Page(text).of("button")}
    assert keys == {"label"}  # One verdict and one subject leave nothing to choose.
    assert '<input type="search"' in text


def test_data_that_is_gone_or_changed_is_said(folder, tmp_path):
    assert f"Questions and images are from {tmp_path / 'data.jsonl'}." in evaluation_page(folder)
    rows = [item(n, gold="y" if n < 3 else "x") for n in range(20)]
    write_lines(folder / "items.jsonl", [*rows, item(99)])
    text = evaluation_page(folder)
    assert "3 of the golds differ" in text
    assert "It lacks 1 of these answers" in text
    (tmp_path / "data.jsonl").write_text("{\n")
    assert "not all shown: " in evaluation_page(folder)
    (tmp_path / "data.jsonl").unlink()
    text = evaluation_page(folder)
    assert "is not there any more" in text
    assert text.count("<article") == 21
    change(folder, task="no such task")
    assert "names no task and data" in evaluation_page(folder)


def test_hostile_texts_stay_texts(folder, tmp_path):
    question = {"id": "q0", "answer": HOSTILE, "question": HOSTILE, "choices": [HOSTILE, "b"]}
    question |= {"formal_text": HOSTILE, "tier": HOSTILE, "subject": HOSTILE}
    other = {"id": "q1", "answer": "a", "tier": "t", "subject": "s"}
    write_lines(tmp_path / "data.jsonl", [question, other])
    fields = ("response", "extracted", "gold", "verdict", "reason")
    rows = [item(0, **dict.fromkeys(fields, HOSTILE)), item(1, sample=HOSTILE)]
    write_lines(folder / "items.jsonl", rows)
    counts = {HOSTILE: count(4, 2)}
    change(
        folder,
        checkpoint=HOSTILE,
        by={HOSTILE: counts, "tier": counts, "subject": counts},
        cells={HOSTILE: counts},
        grader={HOSTILE: HOSTILE},
        samples={HOSTILE: HOSTILE, "pass@k": {"1": 0.5, "2": 0.6, HOSTILE: 1}},
        more={HOSTILE: HOSTILE},
    )
    (tmp_path / "b.json").write_text(json.dumps({"accuracy": 0.5, "by": {"tier": {HOSTILE: 0.5}}}))
    text = run_report(folder, [f"{HOSTILE.replace('=', '')}={tmp_path / 'b.json'}"])
    page = Page(text)
    assert text.count("<script>") == 1
    assert page.of("img") == []
    allowed = {"class", "d", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "rx", "role"}
    allowed |= {"text-anchor", "viewbox", "aria-label", "aria-pressed", "scope", "title", "type"}
    allowed |= {"data-key", "data-value", "data-verdict", "data-label", "data-label1", "dir"}
    allowed |= {"lang", "charset", "http-equiv", "content", "name", "autocomplete", "spellcheck"}
    allowed |= {"cx", "cy", "r", "value"}
    assert {name for _, attributes in page.found for name in attributes} <= allowed


def test_some_of_every_verdict_are_chosen():
    rows = [item(n, verdict="wrong") for n in range(500)]
    rows += [item(500 + n, verdict="truncated") for n in range(3)]
    rows += [item(600 + n) for n in range(500)]
    chosen = choose(rows, 200)
    verdicts = [row["verdict"] for row in chosen]
    assert len(chosen) == 200
    assert verdicts.count("truncated") == 3
    assert verdicts.count("correct") == 66
    assert [rows.index(row) for row in chosen] == sorted(rows.index(row) for row in chosen)
    many = [item(n, verdict=f"v{n}") for n in range(300)]
    assert len(choose(many, 200)) == 200


def test_a_page_stays_small_and_says_what_was_left_out(monkeypatch):
    cards = [items.Sample(id=f"q{n}", image=png(8, 8), reasoning="r" * 1000) for n in range(10)]
    size = 4 * len(png(8, 8)) // 3
    monkeypatch.setattr(items, "IMAGE_BYTES", 3 * size)
    kept, said = fit(cards)
    assert [card.image is not None for card in kept] == [True] * 3 + [False] * 7
    assert said == "Left out to keep the page small: 7 images."
    monkeypatch.setattr(items, "TEXT_BYTES", 5000)
    kept, said = fit(cards)
    assert len(kept) == 4
    assert said == "Left out to keep the page small: 7 images and 6 answers."


def test_two_hundred_of_the_longest_answers_stay_under_20_megabytes(folder, tmp_path):
    (tmp_path / "images" / "noise.png").write_bytes(png(150, 85))
    write_lines(
        tmp_path / "data.jsonl",
        [
            {"id": f"q{n}", "answer": "x", "question": "\"'&" * 9000, "image": "images/noise.png"}
            for n in range(200)
        ],
    )
    write_lines(folder / "items.jsonl", [item(n, response="<" * 30_000) for n in range(200)])
    text = evaluation_page(folder)
    assert len(text.encode()) < 20_000_000
    assert "Left out to keep the page small" in text


def test_lists_of_objects_become_tables(tmp_path):
    from onevision_jax.report.scores import other_sections

    rows = [{"tier": "college", "ci95": [0.25, 0.5]}, {"tier": "<b>", "n": 3}]
    [html] = other_sections({"tiered": {"by_tier": rows, "mean": {"accuracy": 0.0410087}}})
    assert "<th>tier</th><th>ci95</th><th class=number>n</th>" in html
    assert "<td>college</td><td>0.25, 0.5</td><td class=number></td>" in html
    assert "<td>&lt;b&gt;</td>" in html
    assert "<dt>mean.accuracy</dt><dd>0.04101</dd>" in html
