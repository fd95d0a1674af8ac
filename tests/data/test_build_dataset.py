"""Building a data set: killed and started again, near duplicates, benchmarks, splits, bad input."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from onevision_jax.data.building import BuildSettings, SourceSpec, build_dataset, parse_spec
from onevision_jax.data.building.compare import Splits
from onevision_jax.data.building.examine import Kept, normalise
from onevision_jax.data.picture_hash import MAX_DISTANCE, HashList, View, view_picture
from onevision_jax.data.record import Record, split_of, write_jsonl
from onevision_jax.data.source import Rejected
from onevision_jax.data.sources import open_source
from onevision_jax.errors import InputError

LONG = "In the plan the wall between hall and kitchen is drawn thicker than all of the others, why?"


def drawing(seed: int, size: int = 220, form: str = "PNG", **options) -> bytes:
    """A figure of a few shapes; other seeds look different."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(7):
        x, y = rng.integers(0, 300, 2)
        w, h = rng.integers(30, 160, 2)
        draw.ellipse([x, y, x + w, y + h], fill=tuple(rng.integers(0, 256, 3).tolist()))
    stream = io.BytesIO()
    image.resize((size, size)).save(stream, form, **options)
    return stream.getvalue()


def record(id, image, question="How many?", answer="3", **more):
    return Record(id=id, image=image, question=question, answer=answer, reasoning="One.", **more)


def build(tmp_path, records, name="out", **settings):
    write_jsonl(tmp_path / "in" / f"{name}.jsonl", records)
    spec = SourceSpec("jsonl", str(tmp_path / "in" / f"{name}.jsonl"))
    return build_dataset(tmp_path / name, BuildSettings((spec,), **settings))


def written(folder: Path) -> dict[str, list[str]]:
    found = {}
    for split in ("train", "validation", "test"):
        source = open_source(folder / split)
        found[split] = [source[i].id for i in range(len(source))]
    return found


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [str(path.relative_to(folder)).encode() + path.read_bytes() for path in files]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_splits_follow_the_image(tmp_path):
    records = [record(f"{i}-{q}", drawing(i), q) for i in range(30) for q in ("How many?", "Why?")]
    summary = build(tmp_path, records, validation=0.3, test=0.2)
    expected = {split: [] for split in ("train", "validation", "test")}
    for each in records:
        expected[split_of(each, 0.3, 0.2)].append(each.id)
    assert written(tmp_path / "out") == expected
    assert dict(summary.splits) == {split: len(ids) for split, ids in expected.items()}
    assert min(summary.splits.values()) > 2
    assert build(tmp_path, records, "all", validation=0, test=0).splits["train"] == 60


def test_duplicates_and_near_duplicates(tmp_path):
    small = drawing(1, 150, "JPEG", quality=60)
    records = [
        record("first", drawing(1)),
        record("again", drawing(1), answer="4"),
        record("smaller", small, "how  many"),
        record("other-question", small, "Which colour?"),
        record("other-answer", drawing(1, 140), answer="5"),
        record("other-picture", drawing(2)),
        record("text", None),
        record("text-again", None),
    ]
    summary = build(tmp_path, records, validation=0, test=0)
    assert summary.rejects == {"duplicate": 2, "near duplicate": 1}
    assert written(tmp_path / "out")["train"] == [
        "first", "other-question", "other-answer", "other-picture", "text"
    ]  # fmt: skip
    rows = [json.loads(r) for r in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [(row["id"], row["line"]) for row in rows] == [
        ("again", "line 2"), ("smaller", "line 3"), ("text-again", "line 8")
    ]  # fmt: skip


def test_benchmark_problems_stay_out(tmp_path):
    bench = tmp_path / "bench" / "problems.jsonl"
    problems = [
        record("p1", drawing(1)),
        record("p2", drawing(2), LONG),
        record("p3", None, "Why 7?"),
    ]
    write_jsonl(bench, problems)
    records = [
        record("same-image", drawing(1), "Something else entirely?"),
        record("recompressed", drawing(1, 150, "JPEG", quality=60), "So how many?"),
        record("recompressed-other", drawing(2, 150, "JPEG", quality=60), "Name a colour."),
        record("same-words", drawing(3), f"Look closely. {LONG.upper()}"),
        record("short-same", drawing(4)),
        record("text-same", None, "why 7"),
        record("text-other", None, "Why 8?"),
    ]
    summary = build(tmp_path, records, validation=0, test=0, benchmarks=(str(bench),))
    assert summary.rejects == {"benchmark image": 2, "benchmark text": 2}
    assert written(tmp_path / "out")["train"] == ["recompressed-other", "short-same", "text-other"]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["benchmark_problems"] == 3


def test_perceptual_hashes():
    hashes = [view_picture(drawing(i))[0].bits for i in range(40)]
    looks = HashList()
    for value in hashes:
        assert looks.near(value) == []
        looks.add(value)
    for number in range(40):
        again = view_picture(drawing(number, 100, "JPEG", quality=50))
        assert looks.near(again[0].bits) == [number]
    assert looks.near(hashes[7] ^ (2**MAX_DISTANCE - 1)) == [7]


def test_copies_of_a_picture_share_a_split(tmp_path):
    """Files of one picture, with other questions: their own hashes would scatter them."""
    forms = [(200, "PNG", {}), (150, "JPEG", {"quality": 60}), (120, "PNG", {}),
             (100, "JPEG", {"quality": 40})]  # fmt: skip
    records = [
        record(f"{number}-{form}-{turn}", drawing(number, side, kind, **more), f"Is {turn} {form}?")
        for turn in range(2)
        for form, (side, kind, more) in enumerate(forms)
        for number in range(25)
    ]
    scattered = {n: {split_of(r) for r in records if r.id.startswith(f"{n}-")} for n in range(25)}
    assert sum(len(splits) > 1 for splits in scattered.values()) > 5
    build(tmp_path, records)
    found = written(tmp_path / "out")
    where = {id: split for split, ids in found.items() for id in ids}
    assert len(where) == len(records)
    for number in range(25):
        splits = {split for id, split in where.items() if id.startswith(f"{number}-")}
        first = next(r for r in records if r.id == f"{number}-0-0")
        assert splits == {split_of(first)}


def test_a_picture_like_those_of_two_splits_is_refused():
    """Only what is between two groups, which are not alike, can be."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 1024)).astype(np.float32)
    other = 0.97 * one + 0.24 * other  # Not a copy of `one`; the middle is one of both.
    bits = 0b1011
    places = Splits()
    for name, thumbnail, split in (("a", one, "train"), ("b", other, "test")):
        assert places.place(kept_of(name, bits, thumbnail, split)) == split
    with pytest.raises(Rejected, match="looks like ones in train and in test"):
        places.place(kept_of("c", bits, one + other, "train"))
    assert places.place(kept_of("d", bits, -one, "validation")) == "validation"
    places.close()


def kept_of(name, bits, thumbnail, split):
    view = View(bits, (thumbnail / np.linalg.norm(thumbnail)).astype(np.float32))
    image = hashlib.sha256(name.encode()).hexdigest()
    return Kept(
        source=0,
        where=name,
        record=record(name, None),
        entry=b"",
        split=split,
        image=image,
        look=view,
        size=(9, 9),
        words=1,
        tokens=None,
        repairs=(),
    )


def test_normalised_text():
    assert normalise("  How MANY dots, 3.50?\n") == "how many dots 3.50"
    assert normalise("x = -3.") == "x = -3"
    assert normalise("多少？") == "多少"


CHILD = """
import sys, time
from onevision_jax.data.building import BuildSettings, SourceSpec, build_dataset
settings = BuildSettings((SourceSpec("jsonl", sys.argv[1]),), shard_bytes=20_000)
def slow(done, total):
    print(done, flush=True)
    time.sleep(float(sys.argv[3]))
build_dataset(sys.argv[2], settings, 1, slow)
"""


def test_a_killed_build_starts_again_to_the_same_bytes(tmp_path):
    lines = tmp_path / "in" / "rows.jsonl"
    write_jsonl(lines, [record(f"r{i}", drawing(i, 60), f"Number {i}?") for i in range(200)])
    out = tmp_path / "set" / "killed"
    command = [sys.executable, "-c", CHILD, str(lines), str(out)]
    child = subprocess.Popen([*command, "0.2"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert [int(child.stdout.readline()) for _ in range(3)] == [32, 64, 96]
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not out.exists()
    with pytest.raises(InputError, match="does not exist"):
        open_source(out)
    subprocess.run([*command, "0"], check=True, stdout=subprocess.DEVNULL)
    settings = BuildSettings((SourceSpec("jsonl", str(lines)),), shard_bytes=20_000)
    build_dataset(tmp_path / "whole", settings)
    assert digest(out) == digest(tmp_path / "whole")
    assert sorted(os.listdir(out.parent)) == ["killed"]
    assert len(os.listdir(out / "train")) > 1


def test_memory_and_time_do_not_depend_on_a_repeated_id(tmp_path):
    start = time.monotonic()
    records = [record("same", None, f"Number {i}?") for i in range(2000)]
    summary = build(tmp_path, records, validation=0, test=0)
    assert summary.repairs == {"id doubled": 1999}
    assert written(tmp_path / "out")["train"][-1] == "same#2000"
    assert time.monotonic() - start < 30


def test_weights_mix_sources(tmp_path):
    for name, count in (("a", 40), ("b", 10)):
        rows = [record(f"{name}{i}", None, f"{name} {i}?") for i in range(count)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    specs = tuple(parse_spec(f"jsonl:{tmp_path / n}.jsonl,{w}") for n, w in (("a", 2), ("b", 1)))
    summary = build_dataset(tmp_path / "out", BuildSettings(specs, validation=0, test=0))
    ids = written(tmp_path / "out")["train"]
    assert summary.rows == len(ids) == 30
    assert sum(id.startswith("b") for id in ids[:15]) == 5


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("jsonl:a.jsonl", SourceSpec("jsonl", "a.jsonl")),
        ("jsonl:a,b.jsonl", SourceSpec("jsonl", "a,b.jsonl")),
        ("r1-onevision:x/*.parquet,0.5", SourceSpec("r1-onevision", "x/*.parquet", 0.5)),
        ("jsonl:C:/a.jsonl,2", SourceSpec("jsonl", "C:/a.jsonl", 2.0)),
    ],
)
def test_words_of_a_source(text, spec):
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a.jsonl", "is not KIND:PATH"),
        ("jsonl:", "is not KIND:PATH"),
        ("csv:a", "none of r1-onevision"),
        ("jsonl:a,0", "above 0"),
        ("jsonl:a,nan", "above 0"),
    ],
)
def test_words_that_are_no_source(text, complaint):
    with pytest.raises(InputError, match=complaint):
        parse_spec(text)


def test_nothing_left_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n{}\n')
    settings = BuildSettings((SourceSpec("jsonl", str(tmp_path / "a.jsonl")),))
    with pytest.raises(InputError, match="no record is left: 2 of 2 rows were refused as 'row'"):
        build_dataset(tmp_path / "out", settings)
    (tmp_path / "b.jsonl").write_text("\n")
    settings = BuildSettings((SourceSpec("jsonl", str(tmp_path / "b.jsonl")),))
    with pytest.raises(InputError, match="no rows"):
        build_dataset(tmp_path / "out", settings)
    assert sorted(os.listdir(tmp_path)) == ["a.jsonl", "b.jsonl"]


def test_a_built_set_is_a_source_of_the_same(tmp_path):
    build(tmp_path, [record(f"r{i}", drawing(i)) for i in range(12)], validation=0, test=0)
    spec = SourceSpec("array-record", str(tmp_path / "out" / "train"))
    build_dataset(tmp_path / "again", BuildSettings((spec,), validation=0, test=0))
    first, second = (tmp_path / name / "train" / "00000.arrayrecord" for name in ("out", "again"))
    assert first.read_bytes() == second.read_bytes()
