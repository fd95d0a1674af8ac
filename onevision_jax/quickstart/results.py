"""What a quickstart found: results.json and the table at its end."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.evaluation import (
    FamilyComparison,
    PairedDifference,
    Question,
    describe_change,
    families_above,
    majority_items,
    paired_interval,
    training_rows,
    wilson,
)
from onevision_jax.quickstart.stages import read_items
from onevision_jax.train.metrics import read_metrics

# Name of an evaluation -> what the table calls it.
ROWS = {
    "untrained": "untrained",
    "majority": "most frequent answer, no model",
    "sft": "SFT",
    "sft_blank": "SFT, images blanked",
    "sft_none": "SFT, no images",
    "grpo": "SFT + GRPO",
    "grpo_blank": "SFT + GRPO, images blanked",
}


def gather(out: Path, questions: Sequence[Question]) -> dict[str, Any]:
    """The findings of OUT: accuracies, families, what GRPO changed, rates."""
    items = {name: read_items(out, name) for name in ROWS if name != "majority"}
    items["majority"] = majority_items(training_rows(out / "data" / "train.jsonl"), questions)
    right = {name: [row["verdict"] == "correct" for row in rows] for name, rows in items.items()}
    controls = {name: items[name] for name in ("sft_blank", "majority")}
    families = families_above(questions, items["sft"], controls)
    change = paired_interval(right["grpo"], right["sft"])
    return {
        "n": len(questions),
        "rows": {name: _share(right[name]) for name in ROWS},
        "families": [_family(comparison) for comparison in families],
        "families_above": sum(comparison.above for comparison in families),
        "grpo_minus_sft": _change(change),
        **rates(out),
    }


def rates(out: Path) -> dict[str, Any]:
    """Median tokens per second of SFT steps and of rollouts, the first steps (compiling) apart."""
    sft = [row["tokens_per_second"] for row in read_metrics(out / "sft" / "metrics.jsonl")[1:]]
    grpo = [
        row["completion_tokens"] / row["rollout_seconds"]
        for row in read_metrics(out / "grpo" / "metrics.jsonl")[1:]
    ]
    return {
        "sft_tokens_per_second": round(statistics.median(sft)) if sft else None,
        "rollout_tokens_per_second": round(statistics.median(grpo)) if grpo else None,
    }


def table(results: Mapping[str, Any]) -> list[str]:
    """Lines for the console."""
    lines = [f"{'':32}{'n':>6}{'right':>9}   95 % interval"]
    for name, label in ROWS.items():
        row = results["rows"][name]
        low, high = row["ci95"]
        lines.append(f"{label:32}{row['n']:6}{row['accuracy']:9.1%}   {low:.1%} to {high:.1%}")
    lines += ["", f"{'family':14}{'SFT':>8}{'control':>10}   SFT minus the better control"]
    for family in results["families"]:
        lines.append(
            f"{family['family']:14}{family['accuracy']:8.1%}{family['control_accuracy']:10.1%}   "
            f"{family['change']['text']} ({family['control']})"
        )
    lines += ["", f"GRPO minus SFT, the same questions: {results['grpo_minus_sft']['text']}"]
    sft, rollout = results["sft_tokens_per_second"], results["rollout_tokens_per_second"]
    lines.append(f"tokens per second: SFT {sft:,}, rollout {rollout:,}")
    seconds = results["seconds"]
    stages = ", ".join(f"{name} {value / 60:.1f}" for name, value in seconds.items())
    lines.append(f"minutes: {stages}; in all {sum(seconds.values()) / 60:.1f}")
    return lines


def _share(right: Sequence[bool]) -> dict[str, Any]:
    correct, n = sum(right), len(right)
    return {"n": n, "correct": correct, "accuracy": correct / n, "ci95": list(wilson(correct, n))}


def _family(comparison: FamilyComparison) -> dict[str, Any]:
    return {
        "family": comparison.family,
        "n": comparison.change.n,
        "accuracy": comparison.accuracy,
        "control": ROWS[comparison.control],
        "control_accuracy": comparison.control_accuracy,
        "change": _change(comparison.change),
        "above": comparison.above,
    }


def _change(change: PairedDifference) -> dict[str, Any]:
    return {**dataclasses.asdict(change), "text": describe_change(change)}
