"""We-Math: its layout, and its four-dimensional scores on the counts of two published runs.

The rows are written here in the layout of data/testmini.json: the data is not at hand.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from onevision_jax.cli.main import main
from onevision_jax.errors import InputError
from onevision_jax.evaluation import TASKS, Question, read_task

TASK = TASKS["wemath"]
PARTS = {2: ("1", "2", "multi"), 3: ("1", "2", "3", "multi")}


def row(steps, family, part):
    return {
        "ID": f"{steps}steps_{family}",
        "split": "testmini",
        "knowledge concept": "Area of Circles;Circumference of Circles",
        "question": "The block to the right of H is ( ).",
        "option": "A. F;    B. D;    C. B;    D. I; E. No correct answer",
        "answer": "D",
        "image_path": f"{steps}steps/image/{family}-{part}.png",
        "key": f"{steps}steps_{part}",
        "question number": 9,
        "knowledge concept description": "...",
    }


def family(steps, number):
    return [row(steps, number, part) for part in PARTS[steps]]


def test_fields_and_prompt(tmp_path):
    (tmp_path / "testmini.json").write_text(json.dumps([*family(2, 1), *family(3, 1)]))
    questions = read_task(TASK, tmp_path / "testmini.json")
    assert [one.id for one in questions[:3]] == [
        "2steps_1@2steps_1",
        "2steps_1@2steps_2",
        "2steps_1@2steps_multi",
    ]
    assert [one.cluster for one in questions] == ["2steps_1"] * 3 + ["3steps_1"] * 4
    steps = [one.dimensions["steps"] for one in questions]
    assert steps == ["one-step"] * 2 + ["two-step"] + ["one-step"] * 3 + ["three-step"]
    assert questions[0].dimensions["knowledge_concept"] == (
        "Area of Circles",
        "Circumference of Circles",
    )
    assert questions[0].choices == ("F", "D", "B", "I", "No correct answer")
    assert TASK.prompt(questions[0]).splitlines()[1:] == [
        "Question: The block to the right of H is ( ).",
        "Option: A. F;    B. D;    C. B;    D. I; E. No correct answer",
        (
            "Regarding the format, please answer following the template below, and be sure to "
            "include two <> symbols:"
        ),
        "<Thought process>: <<your thought process>> <Answer>: <<your option>>",
    ]


def questions_of(steps, number):
    """What `tables` reads of a family's questions."""
    name = f"{steps}steps_{number}"
    for part in PARTS[steps]:
        key = f"{steps}steps_{part}"
        yield Question(
            id=f"{name}@{key}",
            question="?",
            answer="A",
            answer_kind="choice",
            facts={"family": name, "key": key},
            folder=Path(),
        )


def make(steps, kind, rights):
    """Verdicts of a family: its one-step problems, `rights` of them right, and its composite."""
    composite = kind in ("CM", "RM")
    return [place < rights for place in range(steps)] + [composite]


def verdicts_for(insufficient, inadequate, mastered, rote_none, rote_some, solved_two, one_step):
    """525 families with these counts, `solved_two` two-step composites solved, `one_step` rights.

    rote_none: solved with all one-step problems wrong; rote_some: with some wrong.
    """
    kinds = ["CM"] * mastered + ["none"] * rote_none + ["some"] * rote_some
    unsolved = ["IG"] * inadequate + ["IK"] * insufficient
    two = kinds[:solved_two] + unsolved[: 360 - solved_two]
    three = kinds[solved_two:] + unsolved[360 - solved_two :]
    families = [(2, kind) for kind in two] + [(3, kind) for kind in three]
    rights = [
        {"CM": steps, "IG": steps, "none": 0, "some": 1, "IK": 0}[kind] for steps, kind in families
    ]
    missing = one_step - sum(rights)
    for place, (steps, kind) in enumerate(families):
        if kind == "IK":
            more = min(steps - 1, missing)
            rights[place] += more
            missing -= more
    assert missing == 0
    return [
        (steps, make(steps, "RM" if kind in ("none", "some") else kind, right))
        for (steps, kind), right in zip(families, rights, strict=True)
    ]


def tables(families) -> dict[str, Any]:
    questions, verdicts = [], []
    for number, (steps, found) in enumerate(families):
        questions += questions_of(steps, number)
        verdicts += found
    rows = [{"verdict": "correct" if found else "wrong"} for found in verdicts]
    return TASK.tables(questions, rows)["wemath"]


def percent(value):
    return f"{100 * value:.2f}"


def test_the_published_row_of_qwen2_vl():
    """result/qwen2vl/*.csv of SnowNation101/We-Math, which ran the published scripts."""
    found = tables(verdicts_for(269, 66, 71, 23, 96, 134, 649))
    assert found["families"] == 525
    strict, loose = found["strict"], found["loose"]
    for mode in (strict, loose):
        assert mode["insufficient_knowledge"]["n"] == 269
        assert percent(mode["insufficient_knowledge"]["share"]) == "51.24"
        assert mode["inadequate_generalization"]["n"] == 66
        assert percent(mode["inadequate_generalization"]["share"]) == "12.57"
    assert (strict["complete_mastery"]["n"], strict["rote_memorization"]["n"]) == (71, 119)
    assert (loose["complete_mastery"]["n"], loose["rote_memorization"]["n"]) == (167, 23)
    assert percent(strict["complete_mastery"]["share"]) == "13.52"
    assert percent(loose["complete_mastery"]["share"]) == "31.81"
    assert percent(strict["rote_memorization"]["rate"]) == "62.63"
    assert percent(loose["rote_memorization"]["rate"]) == "12.11"
    assert (percent(strict["score"]), percent(loose["score"])) == ("19.81", "38.10")
    accuracies = [percent(found[name]["accuracy"]) for name in ("S1", "S2", "S3")]
    assert accuracies == ["53.42", "37.22", "33.94"]
    assert [found[name]["n"] for name in ("S1", "S2", "S3")] == [1215, 360, 165]


def test_the_published_row_of_internvl2():
    found = tables(verdicts_for(291, 63, 49, 32, 90, 120, 600))
    assert (percent(found["strict"]["score"]), percent(found["loose"]["score"])) == (
        "15.33",
        "32.48",
    )
    assert percent(found["strict"]["rote_memorization"]["rate"]) == "71.35"
    assert percent(found["loose"]["rote_memorization"]["rate"]) == "18.71"


def published(families, loose):
    """(525 - IG / 2 - RM - IK) / 525 over any number of families, from the script's conditions."""
    n = len(families)
    ik = ig = rm = 0
    for _, (*steps, multi) in families:
        ik += not all(steps) and not multi
        ig += all(steps) and not multi
        rm += (not any(steps) if loose else not all(steps)) and multi
    return (n - 0.5 * ig - rm - ik) / n


def test_every_family_of_two_and_three_steps():
    families = [
        (steps, list(found))
        for steps in (2, 3)
        for found in itertools.product([False, True], repeat=steps + 1)
    ]
    found = tables(families)
    assert found["strict"]["score"] == pytest.approx(published(families, loose=False))
    assert found["loose"]["score"] == pytest.approx(published(families, loose=True))
    for families in ([(2, [True] * 3)], [(3, [False] * 4)]):
        assert tables(families)["strict"]["score"] == published(families, loose=False)


def test_families_cut_by_a_limit_are_left_out():
    questions = [*questions_of(2, 1), *itertools.islice(questions_of(3, 2), 2)]
    found = TASK.tables(questions, [{"verdict": "correct"}] * 5)["wemath"]
    assert (found["families"], found["incomplete_families"]) == (1, 1)
    assert found["strict"]["score"] == 1
    assert found["S1"] == {"n": 4, "correct": 4, "accuracy": 1.0}
    assert "S3" not in found


def test_regrading_by_the_published_rules(tmp_path):
    data, outputs = tmp_path / "testmini.json", tmp_path / "outputs.jsonl"
    data.write_text(json.dumps(family(2, 1)))
    said = {"1": "Answer:<<D>>.", "2": "**Answer**: D", "multi": "Answer: D. I"}
    lines = [
        json.dumps({"id": f"2steps_1@2steps_{part}", "response": text}) + "\n"
        for part, text in said.items()
    ]
    outputs.write_text("".join(lines))
    words = ["eval", "regrade", "--task", "wemath", "--data", str(data), "--mode", "official"]
    assert main([*words, "--outputs", str(outputs), "--out", str(tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["correct"], results["unparsed"]) == (2, 1)
    assert results["wemath"]["strict"]["rote_memorization"]["rate"] == 1
    assert results["wemath"]["loose"]["complete_mastery"]["n"] == 1
    assert results["grader"]["version"] == "wemath-1"


def test_bad_rows(tmp_path):
    table = [
        ({"ID": None}, "field 'ID'"),
        ({"key": "2steps_3"}, "field 'key' is '2steps_3'"),
        ({"key": "4steps_1"}, "field 'key' is '4steps_1'"),
        ({"answer": "AB"}, "field 'answer' is 'AB'"),
        ({"answer": {}}, "field 'answer'"),
        ({"option": ""}, "field 'option'"),
        ({"knowledge concept": ["x"]}, "field 'knowledge concept'"),
    ]
    for fields, said in table:
        (tmp_path / "a.json").write_text(json.dumps([{**row(2, 1, "1"), **fields}]))
        with pytest.raises(InputError, match=rf"a\.json, row 1: {said}"):
            read_task(TASK, tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps([{**row(2, 1, "1"), "image_path": "/etc/x.png"}]))
    with pytest.raises(InputError, match="expected a relative path"):
        read_task(TASK, tmp_path / "a.json")[0].record()
