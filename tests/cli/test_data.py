"""`onevision data build` end to end, its card, training from its shards, and its bad input."""

import json
import shutil

import pytest

from onevision_jax.cli.main import main


@pytest.fixture(scope="module")
def synth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "data"
    assert main(["synth", "--out", str(folder), "--num", "90", "--seed", "1"]) == 0
    return folder


def test_a_build_and_its_card(synth, tmp_path, capsys):
    out = tmp_path / "set"
    words = ["--source", f"synth:{synth}", "--validation", "0.2", "--test", "0"]
    assert main(["data", "build", *words, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    card = json.loads((out / "card.json").read_text())
    assert card["rows"] == 90
    assert f"of 90 rows: {card['splits']['train']} train, " in shown.out
    assert sum(card["splits"].values()) == card["written"]
    assert card["splits"]["test"] == 0
    assert sum(card["counts"]["subject"].values()) == card["written"]
    page = (out / "card.html").read_text()
    assert page.count("<svg") >= 7
    for word in ("Image width, pixels", "Kinds of answer", "Left out", f"synth:{synth}"):
        assert word in page
    assert "<script src" not in page


def test_lengths_in_tokens(synth, tmp_path, capsys):
    from onevision_jax.processor.tiny import train_tokenizer, write_processor_files

    folder = tmp_path / "model"
    folder.mkdir()
    backend = train_tokenizer(["What is it? a,1"], num_merges=9)
    write_processor_files(folder, backend, min_pixels=784, max_pixels=7840)
    words = ["--source", f"jsonl:{synth / 'test.jsonl'}", "--tokenizer", str(folder)]
    assert main(["data", "build", *words, "--out", str(tmp_path / "set")]) == 0
    measures = json.loads((tmp_path / "set" / "card.json").read_text())["measures"]
    assert measures["tokens"]["count"] == measures["words"]["count"]
    assert measures["tokens"]["mean"] > measures["words"]["mean"]
    capsys.readouterr()


def test_rejects_on_the_screen(synth, tmp_path, capsys):
    shutil.copytree(synth, tmp_path / "in")
    rows = (synth / "train.jsonl").read_text().splitlines()
    bad = json.dumps({**json.loads(rows[0]), "image": "../secret.png"})
    path = tmp_path / "in" / "train.jsonl"
    path.write_text("\n".join([bad, *rows[1:], "{", rows[1]]))
    words = ["--source", f"jsonl:{path}", "--out", str(tmp_path / "set"), "--workers", "1"]
    assert main(["data", "build", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    left_out = [line.split("left out")[1].strip() for line in lines if "left out" in line]
    starts = [
        f"1 duplicate, first {path}, line {len(rows) + 2}: the same question",
        f"1 image file, first {path}, line 1: field 'image' is '../secret.png'",
        f"1 row, first {path}, line {len(rows) + 1}: is not a JSON object",
    ]
    assert len(left_out) == 3
    assert all(map(str.startswith, left_out, starts))


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (["--source", "csv:a"], 2, "source kind 'csv' is none of r1-onevision, sharegpt"),
        (["--source", "a.jsonl"], 2, "is not KIND:PATH"),
        (["--source", "jsonl:a,-1"], 2, "give a number above 0"),
        (["--source", "jsonl:a", "--test", "1"], 2, "'1' is no share"),
        (["--source", "jsonl:a", "--workers", "0"], 2, "no whole number above 0"),
        (["--sourc", "jsonl:a"], 2, "did you mean --source?"),
        ([], 2, "required: --source"),
        (["--source", "jsonl:nowhere.jsonl"], 1, "'nowhere.jsonl' does not exist"),
        # Which of two complaints depends on whether tensorflow-datasets is installed.
        (["--source", "tfds:nowhere"], 1, "tfds"),
        (["--source", "jsonl:ftp://b/a.jsonl"], 1, "is no path that is read here"),
        (["--source", "jsonl:memory://nowhere/a.jsonl"], 1, "does not exist; check the path"),
        (["--source", "jsonl:a", "--test", "0.6", "--validation", "0.5"], 1, "nothing to train"),
    ],
)
def test_bad_usage(words, code, answer, tmp_path, capsys):
    assert main(["data", "build", "--out", str(tmp_path / "a"), *words]) == code
    shown = capsys.readouterr().err
    assert answer in shown
    assert shown.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_action_is_needed(capsys):
    assert main(["data"]) == 2
    assert "ACTION" in capsys.readouterr().err
