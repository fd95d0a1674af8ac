"""TensorFlow Datasets: real ones built here, read by number; skipped without tfds."""

import dataclasses
import io
import json
import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from onevision_jax.cli.main import main
from onevision_jax.data.building import BuildSettings, build_dataset, parse_spec
from onevision_jax.data.opening import open_path
from onevision_jax.data.packing import Packing
from onevision_jax.data.pipeline import Pipeline
from onevision_jax.data.record import write_jsonl
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.data.source import RecordSource, Rejected
from onevision_jax.data.sources import TfdsSource, open_source
from onevision_jax.data.sources.tfds import open_tfds
from onevision_jax.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of its own, and a folder where tfds looks."""
    monkeypatch.setenv("ONEVISION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (60, 40), (shade, 0, 9)).save(stream, "PNG")
    return stream.getvalue()


COLOURS = ["gray", "blue", "brown", "yellow", "red", "green", "purple", "cyan"]


class Clevr(tfds.core.GeneratorBasedBuilder):
    """The features of the published builder, version 3.1.0."""

    VERSION = tfds.core.Version("3.1.0")
    name = "clevr"

    def _info(self):
        features = tfds.features
        objects = {
            "color": features.ClassLabel(names=COLOURS),
            "material": features.ClassLabel(names=["rubber", "metal"]),
            "shape": features.ClassLabel(names=["cube", "sphere", "cylinder"]),
            "size": features.ClassLabel(names=["small", "large"]),
            "rotation": features.Tensor(shape=(), dtype=np.float32),
            "3d_coords": features.Tensor(shape=(3,), dtype=np.float32),
            "pixel_coords": features.Tensor(shape=(3,), dtype=np.float32),
        }
        rows = {"question": features.Text(), "answer": features.Text()}
        return tfds.core.DatasetInfo(
            builder=self,
            features=features.FeaturesDict(
                {
                    "image": features.Image(),
                    "file_name": features.Text(),
                    "objects": features.Sequence(objects),
                    "question_answer": features.Sequence(rows),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(6), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for number in range(count):
            yield (
                number,
                {
                    "image": io.BytesIO(png(number)),
                    "file_name": f"CLEVR_{count}_{number:06}.png",
                    "objects": [thing(k, number) for k in range(number % 3)],
                    "question_answer": [
                        # The published test split has no answers.
                        {
                            "question": f"How many {k}?",
                            "answer": ["2", "yes", "rubber"][k] * (count > 2),
                        }
                        for k in range(number % 4)
                    ],
                },
            )


def thing(k, number):
    return {
        "color": COLOURS[number],
        "material": "metal",
        "shape": ["cube", "sphere"][k],
        "size": "large",
        "rotation": 0.5,
        "3d_coords": [1, 2, 3],
        "pixel_coords": [100 - 40 * k, 50.9, 9],
    }


@pytest.fixture
def clevr(home):
    builder = Clevr(data_dir=home, file_format="array_record")
    builder.download_and_prepare()
    return builder


def every(source):
    return [source[i] for i in range(len(source))]


def test_clevr_questions_are_records(clevr, tmp_path):
    source = open_tfds("tfds:clevr")
    found = {record.id: record for record in every(source)}
    assert len(found) == len(source) == 0 + 1 + 2 + 3 + 0 + 1
    record = found["clevr-CLEVR_6_000002-0"]
    assert record.image == png(2)
    assert (record.question, record.answer, record.answer_kind) == ("How many 0?", "2", "number")
    assert json.loads(record.formal_text) == [
        {"large brown metal sphere": [60, 50]},
        {"large brown metal cube": [100, 50]},
    ]
    assert record.formal_language == "scene_json"
    second = found["clevr-CLEVR_6_000002-1"]
    assert (second.image, second.answer, second.answer_kind) == (png(2), "yes", "text")
    assert found["clevr-CLEVR_6_000003-0"].formal_text == ""
    assert found["clevr-CLEVR_6_000003-0"].formal_language == ""
    # Counted once: another process finds the table.
    assert len(list((tmp_path / "cache" / "tables").glob("*.npy"))) == 1
    assert every(TfdsSource("clevr")) == every(source)
    assert every(pickle.loads(pickle.dumps(source))) == every(source)  # noqa: S301 (ours)
    assert source.fingerprint()["records"] == 7
    for index in (-1, 7):
        with pytest.raises(IndexError):
            source[index]


def test_names_folders_and_splits(clevr, home):
    whole = every(open_tfds("clevr"))
    for spec in ("clevr:train", "clevr/3.1.0", "clevr/3.1.0:train", f"{home}/clevr/3.1.0:train",
                 f"file://{home}/clevr/3.1.0"):  # fmt: skip
        assert every(open_tfds(spec)) == whole
        assert every(open_source(f"tfds:{spec}")) == whole
    half = every(open_path("tfds:clevr:train[:50%]"))
    assert 0 < len(half) < len(whole)
    assert half == whole[: len(half)]
    for spec, complaint in (
        ("clevr:nowhere", "cannot be opened"),
        ("clevr/9.9.9", "no prepared data set"),
        ("clevr/other", "no prepared data set"),
        ("nowhere", "run `tfds build nowhere --file_format=array_record`"),
        ("../clevr", "neither a folder nor the name"),
        ("kaggle:clevr", "no prepared data set 'kaggle'"),
        (str(home), "no folder of a tfds version"),
    ):
        with pytest.raises(InputError, match=complaint):
            open_tfds(spec)
    test = open_tfds("clevr:test")
    assert len(test) == 1
    with pytest.raises(Rejected, match="gives no answer") as caught:
        test[0]
    assert caught.value.reason == "no answer"


def test_no_class_but_those_of_tfds_is_imported(clevr, home):
    """features.json names Python classes, and tfds imports their modules."""
    path = home / "clevr" / "3.1.0" / "features.json"
    text = path.read_text().replace("tensorflow_datasets.core.features.text_feature", "antigravity")
    path.write_text(text)
    with pytest.raises(InputError, match=r"'antigravity\.Text', which is not tfds's own"):
        open_tfds(f"{home}/clevr/3.1.0")
    assert "antigravity" not in sys.modules


def test_a_build_from_tfds(clevr, tmp_path, capsys):
    out = str(tmp_path / "set")
    words = ["--source", "tfds:clevr:train", "--out", out, "--validation", "0", "--test", "0"]
    assert main(["data", "build", *words, "--workers", "1"]) == 0
    records = every(open_path(out))
    assert {record.id for record in records} == {r.id for r in every(open_tfds("clevr"))}
    summary = build_dataset(tmp_path / "two", BuildSettings((parse_spec("tfds:clevr:test"),
                            parse_spec("tfds:clevr:train"))))  # fmt: skip
    assert summary.rejects["no answer"] == 1
    capsys.readouterr()


def test_batches_of_workers(clevr, processor):
    """Two worker processes, which open the files by themselves, give what one process gives."""
    packing = Packing(tokens_per_row=200, patch_budgets=(0, 100, 200), window=4)

    def batches(source, workers):
        config = PipelineConfig(
            packing=packing, rows_per_batch=2, num_shards=2, num_epochs=1, num_workers=workers
        )
        with Pipeline(source, processor, config).batches() as batches:
            return [{n: array.tobytes() for n, array in batch.items()} for batch in batches]

    source = open_source(f"tfds:{clevr.data_dir}:train")
    held = RecordSource(every(source))
    assert batches(source, 2) == batches(held, 0)
    assert len(batches(held, 0)) > 1


def test_our_builder_keeps_every_field(tmp_path, home, records, capsys):
    """data build -> data tfds -> tfds.data_source and our reader -> the same records."""
    full = dataclasses.replace(
        records[1],
        id="full",
        choices=("1", "zwölf"),
        answer="B",
        answer_kind="choice",
        tier="college",
        subject="algebra",
        licence="CC0-1.0",
        provenance={"page": 3, "share": 0.5, "from": "a"},
    )
    write_jsonl(tmp_path / "in.jsonl", [full, *records])
    built = build_dataset(
        tmp_path / "set", BuildSettings((parse_spec(f"jsonl:{tmp_path}/in.jsonl"),))
    )
    assert main(["data", "tfds", str(tmp_path / "set"), "--data-dir", str(home)]) == 0
    shown = capsys.readouterr().out
    assert f"{home}/r1_onevision/pictures/1.0.0: " in shown
    for split in ("train", "validation", "test"):
        wanted = {r.id: r for r in every(open_source(tmp_path / "set" / split))}
        found = {}
        for config in ("pictures", "text"):
            if f" {split}" in next(line for line in shown.splitlines() if f"/{config}/" in line):
                source = open_tfds(f"r1_onevision/{config}:{split}")
                found |= {r.id: r for r in every(source)}
                assert all((r.image is None) == (config == "text") for r in every(source))
        assert found == wanted
        assert len(found) == built.splits[split]
    # As a user of tfds reads it: pixels, by number.
    plain = tfds.data_source("r1_onevision/pictures", split="train", data_dir=home)
    assert plain[0]["image"].ndim == 3
    assert "tensorflow" not in sys.modules
    # What is there already would stay as it is; a folder that is none is said.
    for folder, complaint in (("set", "is there already"), ("nowhere", "does not exist")):
        assert main(["data", "tfds", str(tmp_path / folder), "--data-dir", str(home)]) == 1
        assert complaint in capsys.readouterr().err
