"""`onevision sft` on drawn records with the debug config; what is wrong with a call is said."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onevision_jax import config as settings
from onevision_jax.checkpoint import resolve
from onevision_jax.cli import main as frame
from onevision_jax.data.record import Record, write_jsonl
from onevision_jax.train.metrics import read_metrics
from onevision_jax.train.sft import SFTConfig

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    records = []
    for number in range(40):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (56, 84, 3), dtype=np.uint8)).save(stream, "PNG")
        records.append(
            Record(
                id=f"r{number}",
                image=stream.getvalue(),
                question="Which is larger?",
                answer=str(number),
                reasoning="The first is larger.",
            )
        )
    write_jsonl(tmp_path / "train.jsonl", records)
    return tmp_path / "train.jsonl"


def call(folder, *words):
    return frame.main(
        [
            "sft",
            "--config",
            str(CONFIGS / "sft_debug.py"),
            "--workdir",
            str(folder / "run"),
            f"--config.checkpoint={folder / 'start'}",
            *words,
        ]
    )


def test_a_run_from_nothing_to_a_checkpoint(data, tmp_path, capsys):
    words = [
        f"--config.data={data}",
        "--config.num_steps=2",
        "--config.optimizer.warmup_steps=0",
        "--config.pipeline.packing.tokens_per_row=128",
        "--config.pipeline.packing.patch_budgets=64",
    ]
    assert call(tmp_path, *words) == 0
    shown = capsys.readouterr().out
    assert "* num_steps = 2" in shown
    assert "making a model from nothing" in shown
    assert "step 2/2  loss " in shown
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2]
    assert resolve(tmp_path / "run").step == 2
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["pipeline"]["packing"]["tokens_per_row"] == 128


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--config.optimizer.peek_lr=1"], "did you mean optimizer.peak_lr?"),
        (["--config.num_steps=many"], "num_steps is 'many', expected a whole number"),
        (["--config.num_steps=0"], "num_steps is 0; give 1 or more"),
        (["--config.data=nowhere.jsonl"], "data file 'nowhere.jsonl' does not exist"),
        (["--config.pipeline.rows_per_batch=9"], "rows_per_batch 9 is no multiple of num_shards"),
    ],
)
def test_bad_settings_are_one_sentence(words, answer, tmp_path, capsys):
    assert call(tmp_path, *words) == 1
    shown = capsys.readouterr().err
    assert answer in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_empty_data_are_refused(tmp_path, data, capsys):
    (tmp_path / "none.jsonl").write_text("")
    assert call(tmp_path, f"--config.data={tmp_path / 'none.jsonl'}") == 1
    assert "has no records; give a data set that is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("sft_*.py")), ids=lambda path: path.stem)
def test_every_config_file_is_a_config(path):
    config = settings.load(SFTConfig, path, [])
    assert settings.describe(config)
    assert config.pipeline.rows_per_batch % config.accumulation == 0
    assert "onevision sft --config configs/" + path.name in path.read_text()
