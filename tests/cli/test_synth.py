"""`onevision synth` end to end, and its bad input: one sentence and an exit code each."""

import json

import pytest

from onevision_jax.cli.main import main


def test_a_data_set_and_its_table(tmp_path, capsys):
    out = tmp_path / "new" / "data"
    words = ["--num", "90", "--seed", "4", "--families", "scenes, charts", "--size", "100"]
    assert main(["synth", "--out", str(out), *words]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0].split() == ["family", "tier", "train", "validation", "test"]
    totals = next(line for line in lines if line.startswith("all")).split()[1:]
    card = json.loads((out / "card.json").read_text())
    assert list(map(int, totals)) == list(card["splits"].values())
    assert f"wrote       90 examples to {out}" in lines
    assert "duplicates  0 dropped: their image came before" in lines
    assert (card["seed"], card["size"], card["families"]) == (4, 100, ["scenes", "charts"])
    rows = [json.loads(row) for row in (out / "train.jsonl").read_text().splitlines()]
    assert {row["provenance"]["family"] for row in rows} == {"scenes", "charts"}
    assert all((out / row["image"]).is_file() for row in rows)


def test_lines_of_progress_where_there_is_no_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("onevision_jax.cli.synth.LINE_EVERY", 0.0)
    assert main(["synth", "--out", str(tmp_path / "a"), "--num", "400"]) == 0
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("200 of 400 images, ")
    assert first.endswith(" s left")
    assert last.endswith("/s, 0 s left")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--num", "5", "--families", "chart"], "did you mean charts?"),
        (["--num", "5", "--families", "xyz"], "there is no family 'xyz' among charts, tables"),
        (["--num", "5", "--families", ""], "there is no family ''"),
        (["--num", "5", "--families", "charts,charts"], "each once"),
        (["--num", "0"], "'0' is no whole number above 0"),
        (["--num", "-3"], "'-3' is no whole number above 0"),
        (["--num", "many"], "'many' is no whole number above 0"),
        (["--num", "5", "--seed", "x"], "'x' is no whole number from 0"),
        (["--num", "5", "--difficulty", "4"], "is none of 0, 1, 2, 3"),
        (["--num", "5", "--familes", "charts"], "did you mean --families?"),
        ([], "required: --num"),
    ],
)
def test_bad_usage_exits_2(words, answer, tmp_path, capsys):
    assert main(["synth", "--out", str(tmp_path / "a"), *words]) == 2
    shown = capsys.readouterr().err
    assert answer in shown
    assert shown.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_bad_places_exit_1(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("x")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("x")
    for out, answer in [
        (full, f"the folder {full} is not empty; choose another or remove it"),
        (file, f"{file} is a file; name a folder"),
        (file / "below" / "more", f"{file} is a file; name a folder"),
        ("/proc/onevision", "/proc"),
    ]:
        assert main(["synth", "--out", str(out), "--num", "5"]) == 1
        shown = capsys.readouterr().err
        assert answer in shown
        assert shown.count("\n") == 1
        assert "internal error" not in shown
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine.txt"]


def test_too_small_an_image_exits_1(tmp_path, capsys):
    words = ["--num", "5", "--difficulty", "2", "--size", "84"]
    assert main(["synth", "--out", str(tmp_path / "a"), *words]) == 1
    assert "give 168 to 2048" in capsys.readouterr().err
