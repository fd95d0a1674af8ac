"""The stages, each a call of the same functions that the verbs of the command line call.

A stage leaves its results in a folder of its own and goes on with what it finds there, so a killed
quickstart that is started again loses little.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onevision_jax.convert import to_hf
from onevision_jax.data.source import JsonlSource
from onevision_jax.data.synthetic.build import SynthSettings, build
from onevision_jax.evaluation import (
    TASKS,
    AnswerConfig,
    Question,
    answer,
    grade_responses,
    read_task,
    summarise,
    write_results,
)
from onevision_jax.quickstart.settings import QuickstartConfig
from onevision_jax.train import grpo, sft
from onevision_jax.train.grpo import GRPOConfig
from onevision_jax.train.scratch import scratch_texts, write_scratch
from onevision_jax.train.sft import SFTConfig

Say = Callable[[str], None]


def render(config: QuickstartConfig, out: Path, say: Say) -> None:
    """OUT/data: train, validation and test, no image in two of them."""
    folder = out / "data"
    if not (folder / "card.json").is_file():
        settings = SynthSettings(
            num=config.num_examples,
            seed=config.seed,
            families=config.families,
            difficulty=config.difficulty,
        )
        summary = build(folder, settings, processes=2, progress=_by_quarters(say, "examples"))
        say(f"{summary.written:,} examples drawn, {summary.duplicates} duplicates dropped")


def _by_quarters(say: Say, what: str) -> Callable[[int, int], None]:
    """Progress that is said at each quarter of the work."""
    said = 0

    def show(done: int, total: int) -> None:
        nonlocal said
        if 4 * done // total > said:
            said = 4 * done // total
            say(f"{done:,} of {total:,} {what}")

    return show


def make_start(config: QuickstartConfig, out: Path, say: Say) -> None:
    """OUT/start: a random model, and a tokenizer learnt from the training texts."""
    if not (out / "start").exists():
        source = JsonlSource((str(out / "data" / "train.jsonl"),))
        write_scratch(out / "start", scratch_texts(source, config.pipeline.target), config.scratch)
        say("a model with random parameters, and its own tokenizer")


def supervise(config: QuickstartConfig, out: Path, say: Say) -> None:
    """OUT/sft: supervised fine-tuning from the random model."""
    settings = SFTConfig(
        checkpoint=str(out / "start"),
        data=(str(out / "data" / "train.jsonl"),),
        num_steps=config.sft_steps,
        model=config.model,
        optimizer=config.sft_optimizer,
        pipeline=config.pipeline,
        save_every=500,
        keep=1,
        log_every=100,
        seed=config.seed,
    )
    sft.run(settings, out / "sft", say)


def reinforce(config: QuickstartConfig, out: Path, say: Say) -> None:
    """OUT/grpo: reinforcement learning from the SFT model, on the same questions."""
    settings = GRPOConfig(
        checkpoint=str(out / "sft"),
        data=(str(out / "data" / "train.jsonl"),),
        num_steps=config.grpo_steps,
        model=config.model,
        optimizer=config.grpo_optimizer,
        packing=config.packing,
        prompts_per_step=config.grpo_prompts,
        group_size=config.grpo_group,
        max_new_tokens=config.max_new_tokens,
        save_every=10,
        keep=1,
        log_every=5,
        # Other prompts first than SFT saw first.
        seed=config.seed + 1,
    )
    grpo.run(settings, out / "grpo", say)


def ask(
    config: QuickstartConfig, out: Path, name: str, checkpoint: str, images: Any, say: Say
) -> dict[str, Any]:
    """OUT/eval/NAME: results.json and items.jsonl, as `onevision eval run` writes them."""
    folder = out / "eval" / name
    questions = read_test(config, out)
    if (folder / "results.json").is_file():
        return json.loads((folder / "results.json").read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    settings = AnswerConfig(
        checkpoint=str(out / checkpoint),
        images=images,
        max_new_tokens=config.max_new_tokens,
        rows=150,
    )
    say(f"{name}: {len(questions):,} questions")
    responses = answer(questions, settings, folder, lambda done, total: None)
    rows = grade_responses(questions, responses)
    results = summarise(
        questions, rows, task="generic", mode="strict", checkpoint=checkpoint, images=images
    )
    write_results(folder, rows, results)
    say(f"{name:<14} {100 * results['accuracy']:5.1f} % of {results['n']}")
    return results


def read_test(config: QuickstartConfig, out: Path) -> list[Question]:
    """The questions that every model is asked."""
    return read_task(TASKS["generic"], out / "data" / "test.jsonl", config.num_questions)


def read_items(out: Path, name: str) -> list[dict[str, Any]]:
    """The rows of OUT/eval/NAME/items.jsonl."""
    lines = (out / "eval" / name / "items.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    scratch = path.with_name(f".{path.name}.incomplete")
    text = json.dumps(value, indent=2, ensure_ascii=False)
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(path)


def export(config: QuickstartConfig, out: Path, say: Say) -> None:
    """OUT/hf: the last model as a Hugging Face folder."""
    del config
    report = to_hf(out / "grpo", out / "hf", force=True)
    say(f"{report.parameters:,} parameters in {out / 'hf'}")
