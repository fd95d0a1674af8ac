"""The table of golds and answers with the verdict a careful person gives."""

from pathlib import Path
from typing import NamedTuple

import pytest

from onevision_jax.rewards import grade

TABLE = Path(__file__).with_name("verdicts.txt")
VERDICTS = {"+": "correct", "-": "wrong", "?": "unparsed"}


class Row(NamedTuple):
    line: int
    kind: str
    choices: tuple[str, ...]
    gold: str
    answer: str
    verdict: str


def read_table() -> list[Row]:
    rows, kind, choices = [], "", ()
    for number, line in enumerate(TABLE.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("[choice A]"):
            options = line.removeprefix("[choice A]").split("|")
            kind = "choice"
            choices = (options[0].strip(), *(option.strip()[2:] for option in options[1:]))
        elif line.startswith("[") and "¦" not in line:
            kind, choices = line[1 : line.index("]")], ()
        elif line and not line.startswith("#"):
            gold, answer, mark = line.split(" ¦ ")
            answer = answer.replace(r"\u200b", "\u200b")
            if answer.startswith(r"\n4"):
                answer = "\n42\n"
            gold, answer = (text.replace("rac{36}", "\x0crac{36}") for text in (gold, answer))
            rows.append(Row(number, kind, choices, gold, answer, VERDICTS[mark.strip()]))
    return rows


ROWS = read_table()


def test_the_table_is_as_large_as_promised():
    assert len(ROWS) >= 400
    assert len({(row.kind, row.gold, row.answer) for row in ROWS}) == len(ROWS)
    assert {row.kind for row in ROWS} == {"number", "expression", "text", "choice"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"line {row.line}")
def test_verdict(row):
    response = f"<think>Let me look.</think>\n<answer>{row.answer}</answer>"
    graded = grade(response, row.gold, answer_kind=row.kind, choices=row.choices)
    assert graded.verdict == row.verdict, f"{row.gold!r} against {row.answer!r}: {graded}"


@pytest.mark.parametrize(
    "row", [row for row in ROWS if r"\boxed" not in row.answer], ids=lambda row: f"line {row.line}"
)
def test_verdict_in_a_box(row):
    """A box holds the same answers; tags, sentences around it and unbalanced braces apart."""
    if row.answer.count("{") != row.answer.count("}"):
        pytest.skip("no box can hold it")
    response = f"So we find\n$$\\boxed{{{row.answer}}}$$"
    graded = grade(response, row.gold, answer_kind=row.kind, choices=row.choices)
    prose = ("answer is", "Answer:", "答案", "because", "option is")
    if not any(words in row.answer for words in prose):
        assert graded.verdict == row.verdict, f"{row.gold!r} against {row.answer!r}: {graded}"
