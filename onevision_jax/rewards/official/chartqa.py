"""Relaxed accuracy of ChartQA, in the variant of pix2struct's metrics.py.

ChartQA (section 5.1), after Methani et al. (PlotQA): a number within 5 % of the gold is right,
other answers must match. Most published scores come from pix2struct's `relaxed_correctness`, which
Qwen-VL and lmms-eval took over: "%" divides by 100 on either side; where the gold is a number other
than 0 and the prediction is a number, the change relative to the gold must not exceed 0.05;
everything else, a gold of 0 included, is compared as lower-case text ("0.0" is not "0"). Thousands
separators and units make no number.

The published function has no extraction, because its models answer with the value alone. Here a
response in <answer> tags counts by what they hold, and spaces around it are dropped.
"""

from collections.abc import Mapping
from typing import Any

from onevision_jax.rewards.extract import find_tags
from onevision_jax.rewards.grade import Grade
from onevision_jax.rewards.official.protocol import Protocol

MAX_CHANGE = 0.05
SHOWN = 200


def to_number(text: str) -> float | None:
    """As `float` reads it, percent as hundredths; None where it is no number."""
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed_correctness(gold: str, prediction: str, max_change: float = MAX_CHANGE) -> bool:
    """Whether a prediction is right; max_change is relative to the gold."""
    wanted, given = to_number(gold), to_number(prediction)
    if given is not None and wanted:
        return abs(given - wanted) / abs(wanted) <= max_change
    return prediction.lower() == gold.lower()


def extract(response: str) -> str:
    """What the last pair of answer tags holds, else the whole response."""
    tags = find_tags(response)
    span = response[tags.answer_start : tags.answer_end] if tags.answer_end >= 0 else response
    return span.strip()


def grade(
    response: str, gold: str, *, choices: tuple[str, ...] = (), facts: Mapping[str, Any]
) -> Grade:
    """One response against the gold's text."""
    del choices, facts
    answer = extract(response)
    if not answer:
        return Grade("unparsed", None, "the response is empty")
    right = relaxed_correctness(gold.strip(), answer)
    reason = "equal, or within 5 %" if right else "other text, or further than 5 % off"
    return Grade("correct" if right else "wrong", answer[:SHOWN], reason)


PROTOCOL = Protocol(
    grade=grade,
    extractor="the whole response, or what its answer tags hold",
    equality="relaxed accuracy of pix2struct: numbers within 5 %, else the same text",
    version="chartqa-1",
)
