"""Data sets of rendered examples: the same bytes always, disjoint splits, whole or absent."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from onevision_jax.data.record import SPLITS, image_hash, read_jsonl, split_of
from onevision_jax.data.synthetic import FAMILIES, make_record
from onevision_jax.data.synthetic import build as builder
from onevision_jax.data.synthetic.build import SynthSettings, build
from onevision_jax.errors import InputError

KILLED = """
from onevision_jax.data.synthetic.build import SynthSettings, build
if __name__ == "__main__":
    build({!r}, SynthSettings(num=1_000_000), processes=2)
"""


def tree(folder):
    """{relative path: bytes} of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def records_of(folder):
    return {split: list(read_jsonl(folder / f"{split}.jsonl")) for split in SPLITS}


def test_same_seed_same_bytes_for_any_number_of_processes(tmp_path, monkeypatch):
    settings = SynthSettings(num=450, seed=11)
    build(tmp_path / "one", settings)
    monkeypatch.setattr(builder, "POOL_FROM", 1)
    build(tmp_path / "three", settings, processes=3)
    assert tree(tmp_path / "one") == tree(tmp_path / "three")
    build(tmp_path / "other", SynthSettings(num=450, seed=12))
    first, other = (tree(tmp_path / name) for name in ("one", "other"))
    assert first.keys() & other.keys() == {"card.json", *(f"{split}.jsonl" for split in SPLITS)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other", "three"]


def test_contents(tmp_path):
    steps = []
    settings = SynthSettings(num=901, seed=2)
    summary = build(tmp_path / "a", settings, progress=lambda *step: steps.append(step))
    assert steps[-1] == (901, 901)
    records = records_of(tmp_path / "a")
    hashes = {s: {image_hash(r.image or b"") for r in records[s]} for s in SPLITS}
    assert not hashes["train"] & hashes["test"]
    assert not hashes["train"] & hashes["validation"]
    assert not hashes["validation"] & hashes["test"]
    for split in SPLITS:
        assert len(hashes[split]) == len(records[split])  # One row an image.
        assert all(split_of(record) == split for record in records[split])
        assert 0.05 < len(records[split]) / 901
    every = [record for split in SPLITS for record in records[split]]
    assert len({record.id for record in every}) == len(every) == summary.written
    for record in every[::50]:
        about = record.provenance
        assert record == make_record(str(about["family"]), 2, int(about["index"]))
    card = json.loads((tmp_path / "a" / "card.json").read_text())
    assert card["splits"] == {split: len(records[split]) for split in SPLITS}
    assert sum(entry["count"] for entry in card["counts"]) == card["written"] == len(every)
    assert {entry["family"] for entry in card["counts"]} == set(FAMILIES)
    assert card["duplicates_dropped"] == summary.duplicates == 901 - len(every)


def test_families_do_not_depend_on_each_other(tmp_path):
    build(tmp_path / "both", SynthSettings(num=40, families=("scenes", "tables")))
    build(tmp_path / "one", SynthSettings(num=20, families=("tables",)))
    both, one = (
        {r.id: r for rows in records_of(tmp_path / name).values() for r in rows}
        for name in ("both", "one")
    )
    assert one.items() <= both.items()


def test_duplicates_are_dropped_and_counted(tmp_path, monkeypatch):
    def repeating(family, seed, index, difficulty, size):
        return make_record(family, seed, index // 2, difficulty, size)

    monkeypatch.setattr(builder, "make_record", repeating)
    summary = build(tmp_path / "a", SynthSettings(num=60, families=("charts",)))
    assert (summary.written, summary.duplicates) == (30, 30)
    assert sum(map(len, records_of(tmp_path / "a").values())) == 30


def test_a_failed_run_leaves_nothing(tmp_path, monkeypatch):
    def failing(family, seed, index, difficulty, size):
        if index == 5:
            raise OSError(28, "No space left on device", "x.png")
        return make_record(family, seed, index, difficulty, size)

    monkeypatch.setattr(builder, "make_record", failing)
    with pytest.raises(OSError, match="No space left"):
        build(tmp_path / "a", SynthSettings(num=60))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_looks_unfinished_and_can_be_repeated(tmp_path):
    target, script = tmp_path / "a", tmp_path / "run.py"
    script.write_text(KILLED.format(str(target)))
    child = subprocess.Popen([sys.executable, str(script)])
    partial = tmp_path / ".a.partial"
    deadline = time.monotonic() + 60
    while not list(partial.glob("images/*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = psutil.Process(child.pid).children(recursive=True)
    with pytest.raises(InputError, match="another run is writing"):
        build(target, SynthSettings(num=5))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert workers
    assert not psutil.wait_procs(workers, timeout=30)[1]  # None stays behind.
    assert partial.is_dir()
    assert not target.exists()
    build(target, SynthSettings(num=5))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "run.py"]
    assert len(list(target.glob("images/*.png"))) == 5


def test_an_empty_folder_is_filled_a_full_one_kept(tmp_path):
    build(tmp_path, SynthSettings(num=3))
    before = tree(tmp_path)
    with pytest.raises(InputError, match="is not empty; choose another or remove it"):
        build(tmp_path, SynthSettings(num=4))
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num": 0}, "the number of examples is 0; give 1 or more"),
        ({"num": 1, "families": ("circuit",)}, "there is no family 'circuit' among"),
        ({"num": 1, "families": ("circuit",)}, "; did you mean circuits?"),
        ({"num": 1, "families": ()}, "name one or more families"),
        ({"num": 1, "families": ("charts", "charts")}, "each once, not 'charts,charts'"),
        ({"num": 1, "difficulty": 4}, "difficulty is 4; give 0, 1, 2 or 3"),
        ({"num": 1, "size": 83}, "83 pixels a side is not drawn at difficulty 1; give 84 to 2048"),
        ({"num": 1, "difficulty": 3, "size": 84}, "give 280 to 2048"),
        ({"num": 1, "size": 10**6}, "give 84 to 2048"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(InputError) as caught:
        SynthSettings(**settings)
    assert words in str(caught.value)
