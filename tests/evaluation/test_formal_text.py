"""Formal text inside the answers: counted by language, whole or wrong, shown or not."""

from pathlib import Path
from typing import Any

import pytest

from onevision_jax.data.synthetic import make_record
from onevision_jax.data.target import TargetConfig, response_text
from onevision_jax.evaluation.formal_text import describe_formal, formal_lines
from onevision_jax.evaluation.questions import Question


def questions_of(family, count):
    records = [make_record(family, 9, number) for number in range(count)]
    questions = [
        Question(
            id=record.id,
            question=record.question,
            answer=record.answer,
            answer_kind=record.answer_kind,
            formal_text=record.formal_text,
            formal_language=record.formal_language,
            folder=Path(),
        )
        for record in records
    ]
    return questions, [response_text(record, TargetConfig()) for record in records]


def test_counts_by_language():
    charts, said = questions_of("charts", 4)
    circuits, netlists = questions_of("circuits", 2)
    value = charts[1].formal_text.splitlines()[1].split(",")[1]
    said[1] = said[1].replace(f",{value}\n", ",77\n", 1)
    said[2] = "<answer>3</answer>"
    said[3] = said[3].replace("```csv\n", "```csv\nx\n")
    rows: list[dict[str, Any]] = [
        {"id": q.id, "response": text}
        for q, text in zip([*charts, *circuits], [*said, *netlists], strict=True)
    ]
    rows[-1]["response"] = None
    found = describe_formal([*charts, *circuits], rows)["formal"]
    assert list(found) == ["csv", "spice"]
    cell = found["csv"]
    assert (cell["n"], cell["shown"], cell["read"], cell["exact"]) == (4, 3, 2, 1)
    cells = len(charts[1].formal_text.splitlines()) - 1
    assert cell["mean"] == pytest.approx((1 + 1 - 1 / (2 * cells + 2)) / 4)
    assert (found["spice"]["n"], found["spice"]["mean"]) == (2, 0.5)
    lines = formal_lines({"formal": found})
    assert (
        lines[1]
        == "formal text, spice: mean score 0.500 of 2, shown 50.0 %, read 50.0 %, exact 50.0 %"
    )


def test_nothing_without_formal_text():
    charts, said = questions_of("charts", 1)
    bare = [Question(id="a", question="", answer="1", answer_kind="number", folder=Path())]
    assert describe_formal(bare, [{"id": "a", "response": said[0]}]) == {}
    assert formal_lines({}) == []
    assert charts


def test_a_damaged_truth_is_named():
    charts, said = questions_of("charts", 1)
    object.__setattr__(charts[0], "formal_text", "no table")
    found = describe_formal(charts, [{"id": charts[0].id, "response": said[0]}])
    assert charts[0].id in found["formal"]["csv"]["not_scored"]
    assert "not scored" in formal_lines(found)[0]
