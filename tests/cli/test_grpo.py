"""`onevision grpo`: what is wrong with a call is one sentence, what is left out is counted."""

import dataclasses
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onevision_jax import config as settings
from onevision_jax.checkpoint import resolve
from onevision_jax.cli import main as frame
from onevision_jax.data.record import Record, write_jsonl
from onevision_jax.model import preset
from onevision_jax.train.grpo import GRPOConfig
from onevision_jax.train.metrics import read_metrics
from onevision_jax.train.scratch import ScratchConfig, write_scratch

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG = '''"""A short run."""

from onevision_jax.config import defaults
from onevision_jax.train.grpo import GRPOConfig


def get_config():
    config = defaults(GRPOConfig)
    config.num_steps = 1
    config.model.dtype = "float32"
    config.prompts_per_step = 2
    config.group_size = 2
    config.max_new_tokens = 4
    config.packing.tokens_per_row = 128
    config.packing.patch_budgets = (64,)
    return config
'''
QUESTION = "Which is larger?"


def make_record(number: int, question: str = QUESTION) -> Record:
    stream = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return Record(id=f"r{number}", image=stream.getvalue(), question=question, answer="1")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch") / "start"
    write_scratch(folder, [QUESTION], ScratchConfig(num_merges=10))
    return folder


@pytest.fixture
def call(tmp_path, start):
    """Calls the verb on records; returns its exit code. The last word of a setting counts."""
    (tmp_path / "short.py").write_text(CONFIG)

    def make(records, *words):
        write_jsonl(tmp_path / "train.jsonl", records)
        given = [f"--config.checkpoint={start}", f"--config.data={tmp_path / 'train.jsonl'}"]
        run = ["grpo", "--config", str(tmp_path / "short.py"), "--workdir", str(tmp_path / "run")]
        return frame.main([*run, *given, *words])

    return make


def check_sentence(capsys, answer):
    shown = capsys.readouterr().err
    assert answer in shown
    assert shown.startswith("onevision: ")
    assert shown.count("\n") == 1
    assert "internal error" not in shown


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["group_size=1"], "group_size is 1; a group needs 2 or more"),
        (["sampling.temperature=0"], "sampling.temperature is 0: all of a group would be the same"),
        (["packing.tokens_per_row=4"], "tokens_per_row 4 leaves no room for a prompt beside max_"),
        (["data=nowhere.jsonl"], "data file 'nowhere.jsonl' does not exist; check the path"),
        (["checkpoint=nowhere"], "nowhere does not exist"),
        (["grup_size=4"], "there is no setting grup_size; did you mean group_size?"),
        (["loss.clip_hi=0.3"], "did you mean loss.clip_high?"),
        (["group_size=many"], "group_size is 'many', expected a whole number"),
        (["iterations=0"], "iterations is 0; give 1 or more"),
        (["first_prompts=0"], "first_prompts is 0; give 1 or more, or none"),
        (["rewards.format_weight=-1"], "format_weight is -1.0: give a finite weight of 0 or more"),
        (["rows_per_micro_batch=3"], "rows_per_micro_batch 3 does not divide over 8 rows of devi"),
        (["sampling.top_k=5"], "sampling.top_k and top_p cut the distribution that GRPO"),
        (["sampling.top_p=0.9"], "sampling.top_k and top_p cut the distribution that GRPO"),
        (["mesh.tensor=3"], "does not fit 8 devices"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_settings_are_one_sentence(call, capsys, words, answer):
    assert call([make_record(0)], *(f"--config.{word}" for word in words)) == 1
    check_sentence(capsys, answer)


def test_empty_data_are_refused(call, capsys):
    assert call([]) == 1
    check_sentence(capsys, "has no records; give a data set that is not empty")


@pytest.mark.parametrize(
    ("records", "words", "answer"),
    [
        (
            [make_record(n, f"{QUESTION} " * 50) for n in range(3)],
            ["--config.num_epochs=1"],
            "no record can be used: 3 x too long (record 'r",
        ),
        (
            [make_record(0)],
            ["--config.packing.patch_budgets=0"],
            "records read are all unusable: 1000 x too long (record 'r0' has",
        ),
        (
            [make_record(0)],
            ["--config.packing.patch_budgets=4", "--config.min_pixels=3136"],
            "0 x too long (record 'r0' leaves room for 1 vision tokens, but its image needs more",
        ),
    ],
    ids=["text", "no_patches", "few_patches"],
)
def test_data_without_a_usable_record_are_refused(call, capsys, records, words, answer):
    assert call(records, *words) == 1
    check_sentence(capsys, answer)


def test_a_workdir_of_another_model_is_refused(call, capsys, tmp_path):
    text = dataclasses.replace(preset("debug").text, num_layers=1)
    other = ScratchConfig(num_merges=10, shape=dataclasses.replace(preset("debug"), text=text))
    write_scratch(tmp_path / "other", [QUESTION], other)
    (tmp_path / "run").mkdir()
    shutil.copytree(tmp_path / "other" / "assets", tmp_path / "run" / "assets")
    assert call([make_record(0)]) == 1
    check_sentence(capsys, "describes another model than")


def test_a_run_counts_what_it_leaves_out(call, capsys, tmp_path):
    """Groups of one mind, too: the random model is never right, so nothing is learnt from."""
    records = [make_record(n, QUESTION * (60 if n % 2 else 1)) for n in range(6)]
    assert call(records, "--config.shuffle=no", "--config.optimizer.weight_decay=0") == 0
    shown = capsys.readouterr().out
    assert "* group_size = 2" in shown
    assert "step 1/1  reward 0.000  accuracy 0%" in shown
    assert "records left out: 1 x too long (record 'r1' has" in shown
    (row,) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert (row["idle_groups"], row["micro_batches"], row["grad_norm"]) == (1, 0, 0)
    ids = [sample["id"] for sample in read_metrics(tmp_path / "run" / "samples.jsonl")]
    assert ids == ["r0", "r0", "r2", "r2"]
    assert resolve(tmp_path / "run").step == 1


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("grpo_*.py")), ids=lambda path: path.stem)
def test_every_config_file_is_a_config(path):
    config = settings.load(GRPOConfig, path, [])
    assert settings.describe(config)
    assert config.packing.tokens_per_row > config.max_new_tokens
    assert "onevision grpo --config configs/" + path.name in path.read_text()
