"""Real pictures through everything: 200 of easy-vqa, ten of Geometry3K, eight CLEVR renders.

easy-vqa comes with constraints/data.txt, the others lie beside the repository or where
ONEVISION_TEST_DATA says; without them the test skips.
"""

import importlib.util
import json
import os
from pathlib import Path

import jax.numpy as jnp
import pytest

from onevision_jax.data.packing import Packing
from onevision_jax.data.record import Record, write_jsonl
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.evaluation import (
    TASKS,
    AnswerConfig,
    answer,
    grade_responses,
    read_task,
    summarise,
)
from onevision_jax.model import ModelOptions
from onevision_jax.train import OptimizerConfig, SFTConfig, grpo, sft
from onevision_jax.train.grpo import GRPOConfig
from onevision_jax.train.metrics import read_metrics
from onevision_jax.train.scratch import ScratchConfig

DATA = Path(os.environ.get("ONEVISION_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
EASY_VQA = importlib.util.find_spec("easy_vqa")
NEW_TOKENS = 8
MODEL = {
    "model": ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32),
    "optimizer": OptimizerConfig(peak_lr=1e-3),
}
PACKING = Packing(tokens_per_row=1024, patch_budgets=(768,))


def easy_vqa(count: int) -> list[Record]:
    assert EASY_VQA is not None
    assert EASY_VQA.origin is not None
    folder = Path(EASY_VQA.origin).parent / "data" / "train"
    rows = json.loads((folder / "questions.json").read_text())[: 10 * count : 10]
    return [
        Record(
            id=f"easy-{number}",
            image=(folder / "images" / f"{image}.png").read_bytes(),
            question=question,
            answer=reply,
            source="easy-vqa",
        )
        for number, (question, reply, image) in enumerate(rows)
    ]


def clevr() -> list[Record]:
    return [
        Record(
            id=f"clevr-{path.stem}",
            image=path.read_bytes(),
            question="What is shown?",
            answer="a scene",
            source="clevr",
        )
        for path in sorted((DATA / "clevr" / "images").glob("*.png"))
    ]


@pytest.mark.skipif(not DATA.is_dir() or EASY_VQA is None, reason=f"no easy-vqa, or none at {DATA}")
def test_real_pictures_pass_training_rollout_and_evaluation(tmp_path, geometry3k):
    records = [*easy_vqa(200), *geometry3k[:10], *clevr()]
    assert len(records) == 218
    data = tmp_path / "real.jsonl"
    write_jsonl(data, records)
    lines = []
    start, words = str(tmp_path / "start"), (str(data),)
    pipeline = PipelineConfig(packing=PACKING, rows_per_batch=8, num_shards=8, num_epochs=1)
    supervised = SFTConfig(
        checkpoint=start,
        data=words,
        num_steps=50,
        pipeline=pipeline,
        scratch=ScratchConfig(),
        **MODEL,
    )
    sft.run(supervised, tmp_path / "sft", lines.append)
    steps = read_metrics(tmp_path / "sft" / "metrics.jsonl")
    assert f"the data ended after step {len(steps)} of 50" in lines
    assert not any("left out" in line for line in lines)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert sum(row["patches"] for row in steps) > 218 * 16  # 64 x 64 pixels make 16 patches

    reinforced = GRPOConfig(
        checkpoint=str(tmp_path / "sft"),
        data=words,
        num_steps=1,
        prompts_per_step=218,
        group_size=2,
        max_new_tokens=NEW_TOKENS,
        packing=PACKING,
        num_epochs=1,
        **MODEL,
    )
    grpo.run(reinforced, tmp_path / "grpo", lines.append)
    [row] = read_metrics(tmp_path / "grpo" / "metrics.jsonl")
    assert row["prompts"] == 218
    assert row["masked"] == 0  # The grader understood every gold.
    assert row["completion_tokens"] > 436
    assert not any("left out" in line for line in lines)

    questions = read_task(TASKS["generic"], data)
    asked = AnswerConfig(
        checkpoint=str(tmp_path / "grpo"), max_new_tokens=NEW_TOKENS, rows=64, max_tokens=1016
    )
    responses = answer(questions, asked, tmp_path, lambda done, total: None)
    results = summarise(questions, grade_responses(questions, responses), task="generic")
    assert results["n"] == 218
    assert results["missing"] == results["grader_failed"] == 0
    assert {k: v["n"] for k, v in results["by"]["source"].items()} == {
        "easy-vqa": 200,
        "geometry3k": 10,
        "clevr": 8,
    }
