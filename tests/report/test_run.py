"""Pages of run folders of each kind, and what is said of damaged ones; the verb around them."""

import json
from typing import Any

import pytest

from onevision_jax.cli import report as verb
from onevision_jax.cli.parser import Parser
from onevision_jax.errors import InputError
from onevision_jax.evaluation import wilson
from onevision_jax.report import run_report
from onevision_jax.report.training import duration

CONFIG = {"num_steps": 60, "optimizer": {"peak_lr": 0.001, "freeze": []}, "data": ["<a>.jsonl"]}
RESPONSE = "<think>```csv\nx,y\n```\nIt is <b>x</b>.</think>\n<answer>x</answer>"
RESULTS = {
    "task": "generic",
    "n": 8,
    "correct": 3,
    "accuracy": 0.375,
    "ci95": [0.25, 0.5],
    "missing": 1,
    "grader_failed": 0,
    "by": {"tier": {"junior_high": {"n": 8, "correct": 3}, "college": {"n": 0, "correct": 0}}},
    "grader": {"version": 1},
}


def write_lines(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def sft_row(step):
    return {
        "step": step,
        "loss": None if step == 7 else 6.0 / step,
        "grad_norm": 1.0,
        "lr": 1e-4 * step,
        "tokens": 4000,
        "tokens_per_second": 100.0 * step,
        "step_seconds": 2.0,
        "data_seconds": 0.1 * step,
        "own_number": step % 3,
        "name": "a string",
    }


def grpo_row(step):
    names = ("loss", "reward", "reward_std", "accuracy", "format", "completion_length", "entropy")
    more = ("clipped_ratio", "kl", "clip_fraction", "logprob_difference_mean", "rollout_seconds")
    return {"step": step, **dict.fromkeys((*names, *more), step / 10)}


def sampled(step, **changes):
    row = {"step": step, "id": f"q{step}", "question": "Which?", "image": "../secret.png"}
    row |= {"response": RESPONSE, "gold": "x", "reward": 1.5, "advantage": -0.25}
    return row | {"accuracy": 1.0, "format": 1.0, "verdict": "correct", "reason": "equal"} | changes


def test_a_run_of_sft(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    write_lines(tmp_path / "metrics.jsonl", map(sft_row, range(1, 31)))
    text = run_report(tmp_path)
    for words in (
        "<h2>Learning</h2>",
        "<b>loss</b>",
        "<b>learning rate</b>",
        "<b>own number</b>",
        "Times and rates leave out the first step",
        "<dt>optimizer.peak_lr</dt><dd>0.001</dd>",
        "&lt;a&gt;.jsonl",
        "<dt>time in steps</dt><dd>1 min 00 s</dd>",
        "<dt>loss, first and last 10 steps</dt>",
    ):
        assert words in text, words
    assert "<b>gradient norm</b>" not in text  # It never changes,
    assert "<td>grad_norm</td>" in text  # and the table says what it was.
    assert "a string" not in text
    assert text.index("<h2>Learning") < text.index("<h2>Speed") < text.index("<h2>Settings")


def test_a_run_of_grpo(tmp_path):
    write_lines(tmp_path / "metrics.jsonl", map(grpo_row, range(1, 6)))
    write_lines(tmp_path / "samples.jsonl", [sampled(n, id=f"q{n}") for n in range(60)])
    text = run_report(tmp_path)
    for name in ("reward", "accuracy and format", "entropy", "KL to the reference"):
        assert f"<b>{name}</b>" in text
    assert text.count("<article") == 40
    assert text.index(">q59<") < text.index(">q20<")
    assert ">q19<" not in text
    assert "<pre>x,y</pre>" in text
    assert "It is &lt;b&gt;x&lt;/b&gt;." in text
    assert "secret" not in text
    assert "advantage -0.25" in text


def test_an_evaluation(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    item: dict[str, Any] = {"id": "q", "response": RESPONSE, "extracted": "X", "gold": "x"}
    items = [
        item | {"verdict": "correct" if n % 2 else "unparsed", "reason": "r"} for n in range(250)
    ]
    items[0] |= {"response": None, "extracted": None}
    write_lines(tmp_path / "items.jsonl", items)
    text = run_report(tmp_path)
    for words in ("37.5 %", "25.0 to 50.0 %", "3 of 8", "generic", "200 of 250 ("):
        assert words in text
    low, high = wilson(3, 8)
    assert f"37.5 % [{100 * low:.1f}, {100 * high:.1f}]" in text
    assert "junior high (8)" in text
    assert "no value" in text  # College has no question.
    assert text.count("<article") == 200
    assert text.count('data-key="verdict"') == 3


def test_many_values_of_a_dimension_are_cut(tmp_path):
    counts = {f"s{n:02}": {"n": n, "correct": 0} for n in range(30)}
    (tmp_path / "results.json").write_text(json.dumps(RESULTS | {"by": {"subject": counts}}))
    text = run_report(tmp_path)
    assert "by subject, the 20 largest of 30" in text
    assert "s29" in text
    assert "s09" not in text


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl", "items.jsonl"])
def test_empty_files_are_no_error(name, tmp_path):
    (tmp_path / name).write_text("")
    assert "</html>" in run_report(tmp_path)


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl"])
def test_a_line_being_written_is_left_out(name, tmp_path):
    row = sampled(1, response="split\u2028here\x85")
    lines = f"{json.dumps(row, ensure_ascii=False)}\n"
    (tmp_path / name).write_text(f'{lines}{{"step": 2, "id": "unfini', encoding="utf-8")
    text = run_report(tmp_path)
    assert "unfini" not in text


@pytest.mark.parametrize("fields", [{}, dict.fromkeys(sampled(1)), {"response": [1], "id": 3}])
def test_samples_without_their_fields_are_shown(fields, tmp_path):
    write_lines(tmp_path / "samples.jsonl", [fields])
    assert run_report(tmp_path).count("<article") == 1


@pytest.mark.parametrize(
    ("name", "content", "answer"),
    [
        ("config.json", b"{", "config.json is no JSON"),
        ("config.json", b"\xff", "config.json is no JSON"),
        ("config.json", b"[" * 100_000, "config.json is no JSON"),
        ("config.json", b"[]", "config.json holds no JSON object"),
        ("metrics.jsonl", b'{"step": 1}\n{"st\n', "metrics.jsonl, line 2 is no JSON object"),
        ("metrics.jsonl", b'{"step": 1}\n\n[1]\n', "metrics.jsonl, line 3 is no JSON object"),
        ("metrics.jsonl", b'{"loss": 1}\n', "row 1 has no number 'step'"),
        ("metrics.jsonl", b'{"step": "1"}\n', "row 1 has no number 'step'"),
        ("metrics.jsonl", b'{"step": ' + b"9" * 5000 + b"}\n", "line 1 is no JSON object"),
        ("samples.jsonl", b"\xff\xfe\n", "samples.jsonl, line 1 is no JSON object"),
        ("items.jsonl", b'{"id": 1', "items.jsonl, line 1 is no JSON object"),
        ("results.json", b'{"n": 1}', "field 'correct' must be a count"),
        ("results.json", b'{"n": true, "correct": 1}', "field 'n' must be a count"),
        ("results.json", b'{"n": 1, "correct": 2}', "field 'correct' is 2 of only 1"),
        ("results.json", b'{"n": 1, "correct": 1, "ci95": [1]}', "'ci95' must be two numbers"),
        ("results.json", b'{"n": 1, "correct": 1, "by": []}', "'by' must hold an object"),
        ("results.json", b'{"n": 1, "correct": 1, "by": {"a": {"b": 1}}}', "'a' must hold"),
        (
            "results.json",
            b'{"n": 1, "correct": 1, "by": {"a": {"b": {"n": 1, "correct": 9}}}}',
            "field 'by.a.b.correct' is 9 of only 1",
        ),
    ],
)
def test_damaged_files_are_named(name, content, answer, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        run_report(tmp_path)
    assert answer in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        {"step": 1, "loss": 1e999, "huge": 10**400, "flag": True},
        {"step": 10**400, "loss": 1.0},
        {"step": float("nan"), "loss": 1.0},
    ],
)
def test_odd_numbers_are_no_error(row, tmp_path):
    write_lines(tmp_path / "metrics.jsonl", [row, {"step": 2, "loss": 2.0, "huge": 1}])
    assert "</html>" in run_report(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "said"), [(4.21, "4.2 s"), (200, "3 min 20 s"), (3725, "1 h 02 min")]
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def call(*words):
    parser = Parser(prog="onevision")
    verb.register(parser.add_subparsers())
    return verb.run(parser.parse_args(["report", *map(str, words)]))


def test_the_verb_writes_the_page_and_says_where(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert call(tmp_path) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'report.html'}\n"
    out = tmp_path / "new" / "page.html"
    assert call(tmp_path, "--out", out) == 0
    assert out.read_bytes() == (tmp_path / "report.html").read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


def test_a_failed_page_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "report.html").write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(verb.os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        call(tmp_path)
    assert (tmp_path / "report.html").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "report.html"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds none of results.json, metrics.jsonl"):
        call(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        call(tmp_path / "absent")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is a folder; name a file"):
        call(tmp_path, "--out", tmp_path)
