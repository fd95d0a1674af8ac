"""Benchmark files as strangers write them: every defect is one sentence that says where."""

import base64
import csv
import json
import sys

import pytest

from onevision_jax.errors import InputError
from onevision_jax.evaluation.files import (
    choices_of,
    dimensions_of,
    image_of,
    object_field,
    read_json,
    read_table,
)


def rows_of(path, key=""):
    return list(read_table(path, key))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_tsv_cells_hold_whole_images_and_line_feeds(tmp_path):
    image = base64.b64encode(b"\x89PNG" * 200_000).decode()  # Beyond csv's limit of 128 KiB.
    with (tmp_path / "a.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerows([["index", "question", "image"], [7, 'Two\nlines, a "quote"', image]])
    assert rows_of(tmp_path / "a.tsv") == [
        ("row 1", {"index": "7", "question": 'Two\nlines, a "quote"', "image": image})
    ]


def test_json_lists_objects_and_jsonl(tmp_path):
    listed = write(tmp_path / "a.json", '[{"a": 1}, {"a": 2}]')
    assert rows_of(listed) == [("row 1", {"a": 1}), ("row 2", {"a": 2})]
    named = write(tmp_path / "b.json", '{"17": {"a": 1}, "x": {"pid": "y"}}')
    assert rows_of(named, "pid") == [
        ("entry '17'", {"pid": "17", "a": 1}),
        ("entry 'x'", {"pid": "y"}),
    ]
    lines = write(tmp_path / "c.jsonl", '{"a": 1}\n\n{"a": 2}\n')
    assert rows_of(lines) == [("line 1", {"a": 1}), ("line 3", {"a": 2})]


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"pid": str(i), "image": {"bytes": b"\x89PNG", "path": "1.png"}} for i in range(70)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    read = rows_of(tmp_path / "a.parquet")
    assert [row for _, row in read] == rows
    assert read[-1][0] == "row 70"
    write(tmp_path / "b.parquet", "PAR1 and nothing else")
    with pytest.raises(InputError, match=r"b\.parquet, after row 0: no Parquet"):
        rows_of(tmp_path / "b.parquet")


def test_parquet_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write(tmp_path / "a.parquet", "")
    with pytest.raises(InputError, match=r"pip install 'onevision-jax\[parquet\]'"):
        rows_of(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.tsv", "a\tb\n1\t2\t3\n", "a.tsv, row 1: more cells than the header names"),
        ("a.json", '[{"a": 1}', "a.json is no JSON"),
        ("a.json", '[{"a": NaN}]', "it holds NaN"),
        ("a.json", "[" * 100_000, "a.json is no JSON"),
        ("a.json", '"text"', "holds a JSON str; give a list of rows"),
        ("a.json", '[{"a": 1}, 2]', "a.json, row 2: a int; give an object"),
        ("a.json", '{"x": []}', "a.json, entry 'x': a list; give an object"),
        ("a.jsonl", '{"a": 1}\n[]\n', "a.jsonl, line 2"),
        ("a.csv", "a,b\n", "ends in '.csv'; give a file ending in .tsv"),
    ],
)
def test_defects_are_one_sentence(tmp_path, name, text, said):
    with pytest.raises(InputError) as raised:
        rows_of(write(tmp_path / name, text))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_other_defects(tmp_path, monkeypatch):
    (tmp_path / "a.tsv").write_bytes(b"a\tb\n\xff\xfe\t2\n")
    with pytest.raises(InputError, match="no TSV"):
        rows_of(tmp_path / "a.tsv")
    with pytest.raises(InputError, match="is no file"):
        rows_of(tmp_path)
    monkeypatch.setattr("onevision_jax.evaluation.files.MAX_JSON_BYTES", 4)
    with pytest.raises(InputError, match="give it as JSONL"):
        read_json(write(tmp_path / "a.json", json.dumps([1, 2, 3])))


def test_an_unclosed_quote_ends_at_the_limit(tmp_path, monkeypatch):
    """It would swallow the rest of the file."""
    monkeypatch.setattr("onevision_jax.evaluation.files.MAX_CELL", 1000)
    with pytest.raises(InputError, match="field larger than field limit"):
        rows_of(write(tmp_path / "a.tsv", 'a\tb\n1\t"2' + "\n3\t4" * 1000))


def test_images(tmp_path):
    (tmp_path / "png").mkdir()
    (tmp_path / "png" / "1.png").write_bytes(b"\x89PNG")
    assert image_of("1.png", tmp_path, ("png",)) == ("png/1.png", "")
    assert image_of("2.png", tmp_path, ("png",)) == ("2.png", "")
    assert image_of({"bytes": None, "path": "1.png"}, tmp_path) == ("1.png", "")
    assert image_of(b"ab", tmp_path) == (None, "YWI=")
    assert image_of({"bytes": b"ab", "path": "1.png"}, tmp_path) == (None, "YWI=")
    for nothing in (None, "", {"bytes": None, "path": None}):
        assert image_of(nothing, tmp_path) == (None, "")
    for path in ("../1.png", "/etc/passwd", "a/../../1.png"):
        assert image_of(path, tmp_path, ("png",)) == (path, "")  # Refused when it is read.
    for bad in (7, ["1.png"], "x" * 300, "a/" * 600):
        with pytest.raises(InputError, match="field 'image'"):
            image_of(bad, tmp_path)


def test_fields():
    row = {"a": "x", "b": ["p", "q", "p"], "c": 3, "d": None, "e": ""}
    assert dimensions_of(row, "abcdef") == {"a": "x", "b": ("p", "q"), "c": "3"}
    assert choices_of(None) == ()
    assert choices_of(["x"]) == ("x",)
    assert object_field({"m": {"a": 1}}, "m") == {"a": 1}
    assert object_field({}, "m") == {}
    for call in (
        lambda: dimensions_of({"a": {}}, "a"),
        lambda: dimensions_of({"a": [1]}, "a"),
        lambda: choices_of("AB"),
        lambda: choices_of([1]),
        lambda: object_field({"a": "x"}, "a"),
    ):
        with pytest.raises(InputError, match="field"):
            call()
