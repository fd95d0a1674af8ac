"""The quickstart: a small one from end to end, and (long) what the real one must show.

The long tests read the quickstart that `make test-long` has just run (QUICKSTART=DIR), or run one.
"""

import dataclasses
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onevision_jax.checkpoint import resolve
from onevision_jax.data.packing import Packing
from onevision_jax.data.record import read_jsonl
from onevision_jax.errors import InputError
from onevision_jax.model import preset
from onevision_jax.quickstart import QuickstartConfig, quickstart
from onevision_jax.quickstart.results import ROWS
from onevision_jax.train import OptimizerConfig
from onevision_jax.train.metrics import read_metrics
from onevision_jax.train.scratch import ScratchConfig

ROOT = Path(__file__).parents[2]
SMALL = QuickstartConfig(
    families=("charts", "scenes"),
    num_examples=60,
    num_questions=6,
    max_new_tokens=16,
    scratch=ScratchConfig(shape=preset("debug"), num_merges=100),
    packing=Packing(tokens_per_row=320, patch_budgets=(96,), window=8),
    sft_steps=2,
    sft_rows=8,
    sft_optimizer=OptimizerConfig(peak_lr=1e-3),
    grpo_optimizer=OptimizerConfig(peak_lr=1e-4),
    grpo_steps=2,
    grpo_prompts=4,
    grpo_group=2,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(folder, results, lines) of a quickstart that learns nothing."""
    out, lines = tmp_path_factory.mktemp("small") / "out", []
    return out, quickstart(out, SMALL, lines.append), lines


def check_results(results):
    """What every results.json holds."""
    assert set(results["rows"]) == set(ROWS)
    for row in results["rows"].values():
        assert row["n"] == results["n"]
        assert row["accuracy"] == row["correct"] / row["n"]
        assert row["ci95"][0] <= row["accuracy"] <= row["ci95"][1]
    change = results["grpo_minus_sft"]
    low, high = change["low"], change["high"]
    assert ("no resolved change" in change["text"]) == (low <= 0 <= high)
    stages = ["render", "start", "SFT", "GRPO", "evaluate", "export"]
    assert list(results["seconds"]) == stages
    assert all(seconds > 0 for seconds in results["seconds"].values())
    assert results["sft_tokens_per_second"] > 0
    assert results["rollout_tokens_per_second"] > 0


def test_a_small_one_runs_from_end_to_end(small):
    out, results, lines = small
    check_results(results)
    assert json.loads((out / "results.json").read_text()) == results
    assert {family["family"] for family in results["families"]} == {"charts", "scenes"}
    assert resolve(out / "sft").step == 2
    assert resolve(out / "grpo").step == 2
    assert (out / "hf" / "config.json").is_file()
    shown = "\n".join(lines)
    for label in ROWS.values():
        assert label in shown
    assert "GRPO minus SFT" in shown
    assert "minutes:" in shown


def test_the_report_needs_nothing_else(small):
    out, results, _ = small
    page = (out / "report.html").read_text()
    hosts = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert hosts <= {"http://www.w3.org/2000/svg"}
    assert page.count("data:image/png;base64,") == results["n"] > 0
    assert page.count("<svg") >= 5
    assert "formal text" in page


def test_started_again_it_does_nothing_twice(small):
    out, results, _ = small
    before = [read_metrics(out / run / "metrics.jsonl") for run in ("sft", "grpo")]
    lines = []
    again = quickstart(out, SMALL, lines.append)
    assert again["rows"] == results["rows"]
    assert [read_metrics(out / run / "metrics.jsonl") for run in ("sft", "grpo")] == before
    assert sum("nothing to do" in line for line in lines) == 2


def test_other_settings_and_strangers_folders_are_refused(small, tmp_path):
    other = dataclasses.replace(SMALL, seed=1)
    with pytest.raises(InputError, match="holds a quickstart with other settings"):
        quickstart(small[0], other)
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="is not empty and holds no quickstart"):
        quickstart(tmp_path, SMALL)
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The folder of a quickstart with the settings that users get."""
    given = os.environ.get("QUICKSTART")
    if given:
        return ROOT / given
    out = tmp_path_factory.mktemp("real") / "out"
    command = [str(Path(sys.executable).parent / "onevision"), "quickstart", "--out", str(out)]
    subprocess.run(command, check=True)
    return out


@pytest.fixture(scope="module")
def found(real):
    return json.loads((real / "results.json").read_text())


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_images_are_needed_in_four_families_and_grpo_does_no_harm(found):
    check_results(found)
    print(json.dumps({k: found[k] for k in ("rows", "families", "grpo_minus_sft", "seconds")}))
    above = [family["family"] for family in found["families"] if family["change"]["low"] > 0]
    assert len(above) >= 4, found["families"]
    assert found["grpo_minus_sft"]["low"] >= -0.02


@pytest.mark.long
def test_no_test_image_is_in_another_split(real):
    images = {
        split: {
            hashlib.sha256(record.image or b"").hexdigest()
            for record in read_jsonl(real / "data" / f"{split}.jsonl")
        }
        for split in ("train", "validation", "test")
    }
    assert len(images["test"]) > 1000
    assert not images["test"] & (images["train"] | images["validation"])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_grpo_raises_accuracy_on_sixteen_fixed_prompts(real, tmp_path):
    import jax.numpy as jnp

    from onevision_jax.model import ModelOptions
    from onevision_jax.train.grpo import GRPOConfig, run

    config = GRPOConfig(
        checkpoint=str(real / "sft"),
        data=(str(real / "data" / "train.jsonl"),),
        first_prompts=16,
        num_steps=30,
        model=ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32),
        optimizer=OptimizerConfig(peak_lr=3e-4, schedule="constant"),
        packing=QuickstartConfig().packing,
        max_new_tokens=QuickstartConfig().max_new_tokens,
        log_every=5,
        seed=7,
    )
    run(config, tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    accuracy = [row["accuracy"] for row in rows]
    first, last = np.mean(accuracy[:3]), np.mean(accuracy[-3:])
    print(f"accuracy on 16 prompts: {first:.2f} -> {last:.2f}")
    assert last >= first + 0.2
    assert max(row["logprob_difference_max"] for row in rows) < 1e-3


@pytest.mark.long
@pytest.mark.parity
def test_transformers_loads_the_export_and_says_the_same(real):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    from onevision_jax.convert import load_model
    from onevision_jax.data.encode import Encode
    from onevision_jax.processor import Processor
    from onevision_jax.rollout import Generator, Sampling

    folder = real / "hf"
    theirs, info = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = Processor.from_folder(folder)
    tokenizer = processor.tokenizer
    images = transformers.Qwen2VLImageProcessor.from_pretrained(folder)
    ours = Generator(
        load_model(real / "grpo"), stop_ids=tokenizer.stop_ids, pad_id=tokenizer.pad_id
    )
    encode = Encode(processor)
    limit = QuickstartConfig().max_new_tokens
    records = [r for r, _ in zip(read_jsonl(real / "data" / "test.jsonl"), range(20), strict=False)]
    for record in records:
        example = encode.prompt(record).example
        [mine] = ours.generate([example], sampling=Sampling(), max_new_tokens=limit)
        picture = Image.open(io.BytesIO(record.image or b"")).convert("RGB")
        with torch.no_grad():
            output = theirs.generate(
                input_ids=torch.tensor(example.tokens[None].astype(np.int64)),
                attention_mask=torch.ones(1, len(example.tokens), dtype=torch.long),
                **images(images=[picture], return_tensors="pt"),
                do_sample=False,
                max_new_tokens=limit,
                eos_token_id=list(tokenizer.stop_ids),
                pad_token_id=tokenizer.pad_id,
            )
        assert output[0, len(example.tokens) :].tolist() == mine.token_ids, record.id
