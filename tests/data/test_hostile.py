"""Thousands of hostile records: no crash, no hang, each counted, the good ones come through."""

import json
import random
from collections import Counter

import pytest

from onevision_jax.data.building import BuildSettings, SourceSpec, build_dataset
from onevision_jax.data.packing import Packing, unpack
from onevision_jax.data.pipeline import Pipeline, PipelineConfig
from onevision_jax.data.record import SPLITS
from onevision_jax.data.source import JsonlSource
from onevision_jax.data.sources import open_source

from .hostile import write_published, write_rows

CONFIG = PipelineConfig(
    packing=Packing(tokens_per_row=500, patch_budgets=(0, 200, 400), window=16),
    rows_per_batch=4,
    num_shards=4,
    num_epochs=1,
    num_workers=2,
)


COUNTS = [1000, pytest.param(10_000, marks=pytest.mark.long)]


def answers(pipeline, batch):
    texts = [
        pipeline.processor.tokenizer.decode(example.targets[example.loss_weights > 0])
        for example in unpack(batch)
    ]
    return [text.split("<answer>")[1].split("<")[0] for text in texts]


@pytest.mark.parametrize("count", COUNTS)
def test_hostile_rows_in_training(tmp_path, processor, count):
    hostile = write_rows(tmp_path / "in", count, seed=count)
    source = JsonlSource((str(hostile.path),))
    pipeline = Pipeline(source, processor, CONFIG)
    with pipeline.batches() as batches:
        found = [answer for batch in batches for answer in answers(pipeline, batch)]
        assert batches.dropped.counts == {
            reason: number for reason, number in hostile.training.items() if reason
        }
        assert all(message for message in batches.dropped.first.values())
    assert len(source) == count == len(found) + sum(batches.dropped.counts.values())
    assert Counter(found) == Counter(hostile.good)


def build(tmp_path, kind, hostile, count):
    """Builds, and compares what was refused and how often; the ids of what was kept."""
    settings = BuildSettings((SourceSpec(kind, str(hostile.path)),))
    summary = build_dataset(tmp_path / "out", settings, workers=2)
    expected = {reason: number for reason, number in hostile.building.items() if reason}
    assert summary.rejects == expected
    assert summary.rows == count
    lines = (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    assert Counter(json.loads(line)["reason"] for line in lines) == expected
    found = []
    for split in SPLITS:
        source = open_source(tmp_path / "out" / split)
        found += [source[number].id for number in range(len(source))]
    assert len(found) == len(set(found)) == hostile.building[None]
    return found


@pytest.mark.parametrize("count", COUNTS)
def test_hostile_rows_in_a_build(tmp_path, count):
    build(tmp_path, "jsonl", write_rows(tmp_path / "in", count, seed=count), count)


@pytest.mark.parametrize("count", COUNTS)
def test_hostile_published_rows_in_a_build(tmp_path, count):
    hostile = write_published(tmp_path / "in", count, seed=count)
    found = build(tmp_path, "r1-onevision", hostile, count)
    assert sorted(found) == sorted(hostile.good)


@pytest.mark.parametrize("count", COUNTS)
def test_damaged_rows_are_counted_whatever_they_are(tmp_path, processor, count):
    """Bytes of good rows and images overwritten: no one knows what becomes of them, but it ends."""
    rng = random.Random(count)
    hostile = write_rows(tmp_path / "in", count // 2, seed=count)
    lines = hostile.path.read_bytes().splitlines()
    for image in sorted((tmp_path / "in" / "images").glob("[0-9]*.png")):
        image.write_bytes(damage(image.read_bytes(), rng))
    lines = [damage(line, rng) if rng.random() < 0.3 else line for line in lines]
    hostile.path.write_bytes(b"\n".join(line.replace(b"\n", b" ") or b"?" for line in lines))
    source = JsonlSource((str(hostile.path),))
    with Pipeline(source, processor, CONFIG).batches() as batches:
        found = sum(len(unpack(batch)) for batch in batches)
        assert found > 0
        assert batches.dropped.total() > 0
        assert found + batches.dropped.total() == len(source)
    settings = BuildSettings((SourceSpec("jsonl", str(hostile.path)),))
    summary = build_dataset(tmp_path / "out", settings, workers=2)
    assert summary.rows == len(source)
    assert sum(summary.splits.values()) + sum(summary.rejects.values()) == len(source)


def damage(data: bytes, rng: random.Random) -> bytes:
    """A few bytes overwritten, cut out or put in."""
    array = bytearray(data)
    for _ in range(rng.randint(0, 3)):
        place, length = rng.randrange(len(array) + 1), rng.randint(0, 30)
        array[place : place + length] = rng.randbytes(rng.choice([0, length, 2 * length]))
    return bytes(array)
