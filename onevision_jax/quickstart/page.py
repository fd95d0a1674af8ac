"""report.html of a quickstart: results, curves, and what the model says about sample images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.data.record import Record, read_jsonl
from onevision_jax.quickstart.results import ROWS
from onevision_jax.quickstart.stages import read_items
from onevision_jax.report import (
    Sample,
    bars,
    curve,
    facts,
    note,
    page,
    samples,
    section,
    split_response,
    table,
)
from onevision_jax.train.metrics import read_metrics

NUM_SAMPLES = 36


def build_page(out: Path, results: Mapping[str, Any]) -> str:
    """The whole page."""
    lead = (
        "A small Qwen2.5-VL learned, from nothing, to turn rendered images into formal text, to "
        "reason over it and to answer. Every number comes from images that no training split holds."
    )
    return page(
        "onevision-jax quickstart",
        [
            section("Results", _scores(results), _families(results), _findings(results)),
            section("Training", *_curves(out)),
            section("Samples", _intro(), samples(_cards(out), label="family")),
        ],
        lead,
    )


def _scores(results: Mapping[str, Any]) -> str:
    rows = [
        (ROWS[name], 100 * row["accuracy"], 100 * row["ci95"][0], 100 * row["ci95"][1])
        for name, row in results["rows"].items()
    ]
    return bars(f"Right answers, of {results['n']} questions, with 95 % Wilson intervals", rows)


def _families(results: Mapping[str, Any]) -> str:
    header = ["family", "n", "SFT", "better control", "which", "SFT minus control", "above 0"]
    rows = [
        [
            family["family"],
            family["n"],
            f"{family['accuracy']:.1%}",
            f"{family['control_accuracy']:.1%}",
            family["control"],
            family["change"]["text"],
            "yes" if family["above"] else "no",
        ]
        for family in results["families"]
    ]
    return table(header, rows)


def _findings(results: Mapping[str, Any]) -> str:
    minutes = {name: f"{seconds / 60:.1f}" for name, seconds in results["seconds"].items()}
    return facts(
        [
            ("GRPO minus SFT, the same questions", results["grpo_minus_sft"]["text"]),
            ("SFT", f"{results['sft_tokens_per_second']:,} tokens/s"),
            ("rollout", f"{results['rollout_tokens_per_second']:,} tokens/s"),
            ("minutes", ", ".join(f"{name} {value}" for name, value in minutes.items())),
            ("device", results["device"]),
            ("versions", ", ".join(f"{k} {v}" for k, v in results["versions"].items())),
        ]
    )


def _curves(out: Path) -> list[str]:
    sft = read_metrics(out / "sft" / "metrics.jsonl")
    grpo = read_metrics(out / "grpo" / "metrics.jsonl")

    def column(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, Any]]:
        return [(row["step"], row[name]) for row in rows]

    return [
        curve("SFT: loss, nats per response token", {"loss": column(sft, "loss")}),
        curve("SFT: tokens per second", {"tokens/s": column(sft[1:], "tokens_per_second")}),
        curve(
            "GRPO: share of sampled answers",
            {"right": column(grpo, "accuracy"), "well-formed": column(grpo, "format")},
        ),
        curve(
            "GRPO: entropy, nats per token; sampler and trainer disagree by",
            {
                "entropy": column(grpo, "entropy"),
                "log-prob difference": column(grpo, "logprob_difference_mean"),
            },
        ),
        curve("GRPO: tokens per answer", {"length": column(grpo, "completion_length")}),
    ]


def _intro() -> str:
    return note(
        "Images of the test split and what the model after GRPO made of them: its formal text, its "
        "reasoning, its answer, and the verdict of the grader that also rewarded it."
    )


def _cards(out: Path) -> list[Sample]:
    records: dict[str, Record] = {}
    for record in read_jsonl(out / "data" / "test.jsonl"):
        records[record.id] = record
        if len(records) == NUM_SAMPLES:
            break
    rows = [row for row in read_items(out, "grpo") if row["id"] in records]
    return [_card(records[row["id"]], row) for row in rows]


def _card(record: Record, row: Mapping[str, Any]) -> Sample:
    parts = split_response(row["response"] or "")
    return Sample(
        id=record.id,
        image=record.image,
        question=record.question,
        choices=record.choices,
        gold=record.answer,
        formal=parts.formal,
        reasoning=parts.reasoning,
        answer=parts.answer,
        verdict=row["verdict"],
        reason=row["reason"],
        labels={"family": record.provenance["family"], "tier": record.tier},
    )
