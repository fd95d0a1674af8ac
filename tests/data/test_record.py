"""Records survive a round trip, and hostile rows are refused in one sentence."""

import dataclasses
import json
import os

import pytest

from onevision_jax.data.record import (
    Record,
    from_row,
    image_hash,
    image_path,
    read_jsonl,
    split_of,
    to_row,
    write_jsonl,
)
from onevision_jax.errors import InputError

PNG = b"\x89PNG\r\n\x1a\n and the rest"
RECORD = Record(
    id="a-1",
    image=PNG,
    question="How many? Größe ≥ 3\n",
    answer="3",
    answer_kind="number",
    choices=("2", "3"),
    formal_text="a,b\n1,2\n",
    formal_language="csv",
    reasoning="One, two, three.",
    tier="junior_high",
    subject="math",
    source="synth",
    licence="Apache-2.0",
    provenance={"seed": 7, "scale": 0.5, "family": "chart"},
)


def write_rows(folder, *rows):
    path = folder / "rows.jsonl"
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def row_with(**changes):
    return {**to_row(dataclasses.replace(RECORD, image=None)), **changes}


def test_round_trip(tmp_path):
    text_only = dataclasses.replace(RECORD, id="a-2", image=None)
    path = tmp_path / "d" / "train.jsonl"
    assert write_jsonl(path, [RECORD, text_only]) == 2
    assert list(read_jsonl(path)) == [RECORD, text_only]
    assert (path.parent / image_path(PNG)).read_bytes() == PNG
    assert sorted(p.name for p in path.parent.iterdir()) == ["images", "train.jsonl"]
    assert json.loads(path.read_text().splitlines()[0])["image"] == image_path(PNG)


def test_missing_fields_take_their_defaults(tmp_path):
    path = write_rows(tmp_path, {"id": "x", "image": None, "question": "q", "answer": "a"}, "")
    assert list(read_jsonl(path)) == [Record("x", None, "q", "a")]


def test_failed_write_leaves_nothing(tmp_path):
    def records():
        yield RECORD
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_jsonl(tmp_path / "train.jsonl", records())
    assert [p.name for p in tmp_path.iterdir()] == ["images"]


def test_every_question_about_an_image_is_in_one_split():
    images = [f"{i}".encode() for i in range(4000)]
    records = [dataclasses.replace(RECORD, image=image) for image in images]
    splits = [split_of(record) for record in records]
    assert splits == [split_of(dataclasses.replace(r, id="b", question="other")) for r in records]
    assert 320 < splits.count("test") < 480
    assert 320 < splits.count("validation") < 480
    assert split_of(records[0], 0.0, 1.0) == "test"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (row_with(anser="1"), "field 'anser' is unknown; did you mean 'answer'?"),
        ({"id": "x", "image": None, "question": "q"}, "field 'answer' is missing"),
        (row_with(answer=3), "field 'answer' must be a string, not int"),
        (row_with(answer=" "), "field 'answer' is empty"),
        (row_with(answer_kind="integer"), "field 'answer_kind' is 'integer', not one of number"),
        (row_with(answer_kind=["number"]), "field 'answer_kind' must be a string, not list"),
        (row_with(tier="kindergarten"), "field 'tier' is 'kindergarten'"),
        (row_with(choices="AB"), "field 'choices' must be a list"),
        (row_with(choices=[1]), "field 'choices' must be a string"),
        (row_with(choices=None), "field 'choices' must be a list"),
        (row_with(provenance=[]), "field 'provenance' must be an object"),
        (row_with(provenance={"a": True}), "field 'provenance' holds 'a'"),
        (row_with(question="\ud800"), "field 'question' holds half of a surrogate pair"),
        ('{"id": NaN}', "holds NaN, which is not JSON"),
        ("[1]", "is a JSON list, not an object"),
        ("{", "is not a JSON object"),
        ("[" * 100_000, "is not a JSON object"),
        ("1" * 5000, "is not a JSON object"),
        (row_with(image="/etc/passwd"), "field 'image' is '/etc/passwd'; expected a relative path"),
        (row_with(image="../secret.png"), "expected a relative path"),
        (row_with(image="a/../../secret.png"), "expected a relative path"),
        (row_with(image="c:\\x.png"), "expected a relative path"),
        (row_with(image="a\0b"), "expected a relative path"),
        (row_with(image=""), "expected a relative path"),
        (row_with(image=5), "field 'image' must be a string"),
        (row_with(image="images/none.png"), "is no file"),
        (row_with(image="link.png"), "a link leads out"),
        (row_with(image="pipe.png"), "is no file"),
        (row_with(image="huge.png"), "is larger than 64 MiB"),
        (row_with(image="images"), "is no file"),
        (row_with(image="empty.png"), "field 'image' must be the bytes"),
    ],
)
def test_bad_rows_name_file_line_and_field(row, words, tmp_path):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(PNG)
    (folder / "link.png").symlink_to("../secret.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "empty.png").touch()
    with (folder / "huge.png").open("wb") as file:
        file.truncate(2**26 + 1)  # Sparse: takes no room.
    path = write_rows(folder, row_with(), row)
    with pytest.raises(InputError) as caught:
        list(read_jsonl(path))
    message = str(caught.value)
    assert message.startswith(f"{path}, line 2: ")
    assert words in message
    assert "\n" not in message


def test_not_text_and_endless_lines(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="line 1: is not a JSON object"):
        list(read_jsonl(path))
    monkeypatch.setattr("onevision_jax.data.record.MAX_LINE_BYTES", 10)
    path.write_text("x" * 11)
    with pytest.raises(InputError, match="line 1: longer than"):
        list(read_jsonl(path))


def test_rows_reach_the_record_without_a_file(tmp_path):
    assert from_row(row_with(), tmp_path) == dataclasses.replace(RECORD, image=None)


def test_hash_and_path_follow_the_content():
    assert image_hash(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert image_path(PNG).endswith(".png")
    assert image_path(b"\xff\xd8\xff").endswith(".jpg")
    assert image_path(PNG) != image_path(PNG + b" ")
