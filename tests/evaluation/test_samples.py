"""Several samples a question: estimators against enumeration, votes, files, resume."""

import itertools
import json

import pytest

from onevision_jax.cli.main import main
from onevision_jax.evaluation import (
    Question,
    Response,
    clustered_wilson,
    first_samples,
    g_pass_at_k,
    grade_responses,
    mean_g_pass_at_k,
    pass_at_k,
    summarise,
    wilson,
)
from onevision_jax.evaluation.samples import describe_samples, ladder, majority

COUNTS = [(n, c, k) for n in range(1, 7) for c in range(n + 1) for k in range(1, n + 1)]


@pytest.mark.parametrize(("n", "c", "k"), COUNTS)
def test_estimators_against_every_draw_of_k(n, c, k):
    samples = [True] * c + [False] * (n - c)
    draws = [sum(draw) for draw in itertools.combinations(samples, k)]

    def share(fewest):
        return sum(right >= fewest for right in draws) / len(draws)

    assert pass_at_k(n, c, k) == pytest.approx(share(1))
    # ceil(k tau), and one at the least, in whole numbers
    for quarters in (0, 1, 2, 3, 4):
        fewest = max(1, -(-k * quarters // 4))
        assert g_pass_at_k(n, c, k, quarters / 4) == pytest.approx(share(fewest))
    sums = sum(share(i) for i in range(-(-k // 2) + 1, k + 1))
    assert mean_g_pass_at_k(n, c, k) == pytest.approx(2 * sums / k)


def test_estimators_at_published_sizes():
    """The numerically stable product of Chen et al.'s figure 3; scipy's hypergeometric tail."""
    product = 1.0
    for i in range(200 - 30 + 1, 201):
        product *= 1 - 100 / i
    assert pass_at_k(200, 30, 100) == pytest.approx(1 - product)
    stats = pytest.importorskip("scipy.stats")
    for c in (3, 24, 40, 48):
        assert g_pass_at_k(48, c, 16, 0.75) == pytest.approx(stats.hypergeom.sf(11, 48, c, 16))
    assert mean_g_pass_at_k(48, 48, 16) == 1
    assert mean_g_pass_at_k(3, 3, 3) == pytest.approx(2 / 3)  # as printed: odd k never reach 1
    for counts in ((3, 4, 1), (3, 1, 0), (3, 1, 4)):
        with pytest.raises(ValueError, match="expected"):
            pass_at_k(*counts)


def question(tmp_path, name="a", answer="4", choices=(), **more):
    kind = "choice" if choices else "number"
    return Question(
        id=name,
        question="?",
        answer=answer,
        answer_kind=kind,
        choices=choices,
        folder=tmp_path,
        **more,
    )


@pytest.mark.parametrize(
    ("answers", "choices", "right"),
    [
        (["4", " 4 ", "5"], (), True),
        (["5", "5", "4"], (), False),
        (["5", "4"], (), False),  # A tie: the first one wins.
        (["4", "5"], (), True),
        ([None, None, "4"], (), True),  # Who says nothing does not vote.
        ([None, None], (), False),
        (["**5**", "5", "4", "4", "$4$"], (), True),
        (["B", "(B)", "B. seven", "seven", "A", "A", "A"], ("4", "seven"), False),
    ],
)
def test_the_majority_decides(answers, choices, right, tmp_path):
    gold = "A" if choices else "4"
    asked = question(tmp_path, answer=gold, choices=choices)
    said = {"a": [Response(text=_tag(one), sample=i) for i, one in enumerate(answers)]}
    rows = grade_responses([asked], said)
    assert [row["sample"] for row in rows] == list(range(len(answers)))
    assert majority(rows, asked) is right


def _tag(answer):
    return "I cannot tell." if answer is None else f"<answer>{answer}</answer>"


def test_a_summary_of_samples_by_hand(tmp_path):
    """Three questions, four samples: 4, 2 and 0 right; one sample of the last is missing."""
    asked = [question(tmp_path, name, dimensions={"tier": "college"}) for name in "abc"]
    texts = {"a": "4444", "b": "4554", "c": "567"}
    said = {
        name: [Response(text=_tag(one), sample=f"s{i}") for i, one in enumerate(answers)]
        for name, answers in texts.items()
    }
    rows = grade_responses(asked, said)
    assert [row["sample"] for row in rows] == ["s0", "s1", "s2", "s3"] * 3
    assert rows[-1]["response"] is None
    assert rows[-1]["verdict"] == "wrong"
    results = summarise(asked, rows, task="generic")
    assert (results["n"], results["correct"], results["missing"]) == (3, 1.5, 1)
    assert results["accuracy"] == 0.5
    assert results["ci95"] == list(clustered_wilson([4, 2, 0], [4, 4, 4]))
    assert results["by"]["tier"] == {"college": {"n": 3, "correct": 1.5}}
    samples = results["samples"]
    assert samples["pass@k"] == pytest.approx({"1": 0.5, "2": (1 + 5 / 6) / 3, "4": 2 / 3})
    assert samples["maj@k"] == pytest.approx(2 / 3)  # b ties, and its first answer is right
    shares = {"0.25": 2 / 3, "0.5": 2 / 3, "0.75": 1 / 3, "1.0": 1 / 3}
    assert samples["g_pass@k"] == pytest.approx(shares)
    assert samples["mg_pass@k"] == pytest.approx(1 / 3)
    assert samples["g_pass_by_k"]["2"]["1.0"] == pytest.approx((1 + 1 / 6) / 3)
    assert [row["id"] for row in first_samples(rows)] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="11 rows for 3 questions"):
        summarise(asked, rows[:-1])


def test_one_sample_leaves_the_files_as_they_were(tmp_path):
    asked = [question(tmp_path, name) for name in "ab"]
    rows = grade_responses(asked, {"a": Response(text=_tag("4"), sample=7)})
    assert all("sample" not in row for row in rows)
    results = summarise(asked, rows)
    assert (results["correct"], type(results["correct"])) == (1, int)
    assert results["ci95"] == list(wilson(1, 2))
    assert not {"samples", "ci95_clustered", "clusters"} & set(results)


def test_rows_that_share_an_image_widen_the_interval(tmp_path):
    asked = [question(tmp_path, f"q{i}", cluster=f"images/{i // 4}.png") for i in range(12)]
    said = {q.id: Response(text=_tag("4" if i < 4 else "5")) for i, q in enumerate(asked)}
    results = summarise(asked, grade_responses(asked, said))
    assert results["clusters"] == 3
    assert results["ci95_clustered"] == list(clustered_wilson([4, 0, 0], [4, 4, 4]))
    assert results["ci95"] == list(wilson(4, 12))
    assert results["ci95_clustered"][1] > results["ci95"][1]


def test_ladders_double_up_to_k():
    assert [ladder(k) for k in (1, 2, 3, 4, 6, 8)] == [
        *([1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 6], [1, 2, 4, 8]),
    ]


def test_stored_samples_are_read_and_written(tmp_path, capsys):
    data = tmp_path / "data.jsonl"
    data.write_text('{"id": "a", "answer": "4"}\n{"id": "b", "answer": "5"}\n')
    rows = [
        {"id": "a", "sample": 1, "response": _tag("4")},
        {"id": "a", "response": _tag("9")},
        {"id": "b", "sample": 0, "response": _tag("5"), "finish_reason": "stop"},
    ]
    outputs = tmp_path / "outputs.jsonl"

    def regrade(more=()):
        outputs.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *more]))
        words = ["--data", str(data), "--outputs", str(outputs), "--out", str(tmp_path / "out")]
        return main(["eval", "regrade", "--task", "generic", *words])

    assert regrade() == 0
    assert "pass@1 50.0 %, pass@2 100.0 %" in capsys.readouterr().out
    items = [json.loads(x) for x in (tmp_path / "out" / "items.jsonl").read_text().splitlines()]
    assert [(item["id"], item["sample"], item["verdict"]) for item in items] == [
        *(("a", 0, "wrong"), ("a", 1, "correct"), ("b", 0, "correct"), ("b", 1, "wrong")),
    ]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["n"], results["correct"], results["missing"]) == (2, 1.0, 1)
    for bad, words in (
        ({"sample": 0}, "repeats with sample 0"),
        ({"sample": True}, "'sample' must be a whole number or a string"),
        ({"sample": 1.5}, "'sample' must be a whole number or a string"),
    ):
        assert regrade([{"id": "a", "response": "4", **bad}]) == 1
        assert words in capsys.readouterr().err


def test_describing_needs_no_votes(tmp_path):
    asked = [question(tmp_path)]
    rows = grade_responses(asked, {"a": [Response(text="?", sample=i) for i in range(2)]})
    found = describe_samples(asked, [rows])
    assert found["maj@k"] == 0
    assert set(found["pass@k"].values()) == {0}
