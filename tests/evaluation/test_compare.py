"""`eval compare`: published numbers, resampling against other implementations, bad input."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from onevision_jax.cli.main import main
from onevision_jax.evaluation import compare, mcnemar, paired_interval, read_side
from onevision_jax.evaluation.resample import (
    benjamini_hochberg,
    bootstrap_interval,
    holm,
    sign_flip_p,
)

PLACE = os.environ.get("ONEVISION_DATA") or Path(__file__).resolve().parents[3] / "shared/data"
CHARTS = Path(PLACE) / "charts/per_item"


@pytest.mark.skipif(not CHARTS.is_dir(), reason="the per-item files are not here")
def test_the_chartqa_files_as_published(tmp_path, capsys):
    files = [str(CHARTS / f"per_item_{name}.json") for name in ("baseline", "finetuned")]
    assert main(["eval", "compare", *files, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "84.68 ->  85.24" in said
    assert "p 0.29165" in said
    found = json.loads((tmp_path / "compare.json").read_text())
    assert found["all"]["p_value"] == pytest.approx(0.29165, abs=5e-6)
    assert found["n"] == 2500
    # The table that the authors published beside the files.
    published = json.loads((CHARTS / "results.json").read_text())["table"]
    rows = {"overall": found["all"], **{row["value"]: row for row in found["categories"]}}
    for row in published:
        ours = rows[row["test split"]]
        assert ours["n"] == row["n"]
        assert ours["accuracy_a"] == pytest.approx(row["baseline (before)"])
        assert ours["accuracy_b"] == pytest.approx(row["fine-tuned (after)"])


def test_bca_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    sums = rng.choice([-1, 0, 0, 0, 0, 1, 1], 150).tolist()
    sizes = [1] * len(sums)
    expected = stats.bootstrap(
        (np.array(sums),), np.mean, n_resamples=20_000, random_state=rng, batch=1000
    ).confidence_interval
    found = bootstrap_interval(sums, sizes, num_draws=20_000)
    assert found == pytest.approx((expected.low, expected.high), abs=0.008)
    # Clusters of different sizes: scipy resamples the pairs.
    sums = rng.integers(-2, 4, 60).astype(float)
    sizes = rng.integers(4, 9, 60)

    def ratio(x, y, axis=-1):
        return x.sum(axis) / y.sum(axis)

    expected = stats.bootstrap(
        (sums, sizes), ratio, paired=True, n_resamples=20_000, random_state=rng, batch=1000
    ).confidence_interval
    found = bootstrap_interval(sums.tolist(), sizes.tolist(), num_draws=20_000)
    assert found == pytest.approx((expected.low, expected.high), abs=0.004)


def test_the_bootstrap_is_seeded_and_knows_its_limits():
    sums, sizes = [1.0, 0.0, -1.0, 1.0, 0.0] * 8, [1] * 40
    assert bootstrap_interval(sums, sizes) == bootstrap_interval(sums, sizes)
    assert bootstrap_interval(sums, sizes, seed=1) != bootstrap_interval(sums, sizes, seed=7)
    assert bootstrap_interval([1.0], [1]) is None
    assert bootstrap_interval([0.0, 0.0], [1, 1]) == (0, 0)


@pytest.mark.parametrize(("first", "second"), [(5, 5), (9, 2), (30, 12), (0, 6)])
def test_random_signs_estimate_mcnemar(first, second):
    sums = [1.0] * first + [-1.0] * second + [0.0] * 50
    assert sign_flip_p(sums, num_draws=40_000) == pytest.approx(mcnemar(first, second), abs=0.01)
    assert sign_flip_p([0.0] * 5) == 1


def test_corrections_are_the_textbook_ones():
    """R's p.adjust on five p-values; Benjamini and Hochberg 1995, table of 15: four are found."""
    p_values = [0.03, 0.01, 0.05, 0.02, 0.04]
    assert holm(p_values) == pytest.approx([0.09, 0.05, 0.09, 0.08, 0.09])
    assert benjamini_hochberg(p_values) == pytest.approx([0.05] * 5)
    paper = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
    paper += [0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert sum(p <= 0.05 for p in benjamini_hochberg(paper)) == 4
    assert sum(p <= 0.05 for p in holm(paper)) == 3
    assert holm([]) == benjamini_hochberg([]) == []


@pytest.fixture
def folders(tmp_path):
    """Two results over 24 questions on 6 images, two tiers; B is right more often."""
    data = tmp_path / "data.jsonl"
    rows = [
        {"id": f"q{i}", "answer": "1", "image": f"{i // 4}.png", "tier": "ab"[i % 2]}
        for i in range(24)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def grade(name, right, samples=1):
        answers = [
            {"id": f"q{i}", "sample": s, "response": "1" if right(i, s) else "2"}
            for i in range(24)
            for s in range(samples)
        ]
        outputs = tmp_path / f"{name}.jsonl"
        outputs.write_text("".join(json.dumps(row) + "\n" for row in answers))
        words = ["--data", str(data), "--outputs", str(outputs), "--out", str(tmp_path / name)]
        assert main(["eval", "regrade", "--task", "generic", *words]) == 0
        return tmp_path / name

    return data, grade


def test_folders_are_compared_by_image_and_category(folders, capsys):
    data, grade = folders
    a = grade("a", lambda i, s: i % 3 == 0)
    b = grade("b", lambda i, s: i % 3 == 0 or i < 8)
    found = compare(read_side(a), read_side(b))
    right_a = [i % 3 == 0 for i in range(24)]
    right_b = [i % 3 == 0 or i < 8 for i in range(24)]
    change = paired_interval(right_b, right_a)
    assert found["all"]["newcombe95"] == [change.low, change.high]
    assert found["all"]["p_value"] == change.p_value
    assert (found["all"]["a_only"], found["all"]["b_only"]) == (0, 5)
    assert (found["n"], found["clusters"], found["left_out"]) == (24, 6, [])
    # Two of six images carry the whole change: exchanging images, p = 2 * 2^4 / 2^6.
    assert found["all"]["p_clustered"] == pytest.approx(0.5, abs=0.02)
    assert found["all"]["p_value"] < 0.1
    assert [(row["value"], row["n"]) for row in found["categories"]] == [("a", 12), ("b", 12)]
    assert all(row["p_holm"] >= row["p_bh"] >= row["p_clustered"] for row in found["categories"])
    back = compare(read_side(b), read_side(a))
    assert back["all"]["difference"] == -found["all"]["difference"]
    capsys.readouterr()
    assert main(["eval", "compare", str(a), str(b), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    # Without the data only counts are left, and that is said.
    data.unlink()
    bare = compare(read_side(a), read_side(b))
    assert bare["clusters"] == 24
    assert [row["difference"] for row in bare["categories"]] == pytest.approx(
        [row["difference"] for row in found["categories"]]
    )
    assert "p_value" not in bare["categories"][0]
    assert any("is not there" in note for note in bare["left_out"])


def test_shares_of_samples_are_compared_by_resampling(folders):
    _, grade = folders
    a = grade("a", lambda i, s: s == 0, samples=4)
    b = grade("b", lambda i, s: s <= i % 3, samples=4)
    found = compare(read_side(a), read_side(b))["all"]
    assert (found["accuracy_a"], found["accuracy_b"]) == (0.25, 0.5)
    assert (found["newcombe95"], found["p_value"], found["a_only"]) == (None, None, None)
    low, high = found["bootstrap95"]
    assert low <= 0.25 <= high
    assert found["p_clustered"] < 0.05


def test_lists_come_in_several_shapes(tmp_path):
    shapes = {
        "plain": [True, False, True],
        "objects": [{"id": f"x{i}", "correct": i != 1} for i in range(3)],
        "held": {"model": "m", "items": [True, False, True]},
        "splits": {"dev": {"rows": [True]}, "test": {"rows": [False, True]}, "k": [1, 2]},
    }
    for name, held in shapes.items():
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(held))
        side = read_side(file)
        assert list(side.shares.values()) == [1, 0, 1]
        found = compare(side, side)
        assert found["all"]["difference"] == 0
        assert found["all"]["p_value"] == 1
    assert list(read_side(tmp_path / "splits.json").split.values()) == ["dev", "test", "test"]
    assert list(read_side(tmp_path / "objects.json").shares) == ["x0", "x1", "x2"]


def test_bad_pairs_are_one_sentence(folders, tmp_path, capsys):
    _, grade = folders
    a = grade("a", lambda i, s: True)

    def file(name, held):
        (tmp_path / name).write_text(held if isinstance(held, str) else json.dumps(held))
        return tmp_path / name

    def changed(name, **fields):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "items.jsonl").write_text((a / "items.jsonl").read_text())
        results = json.loads((a / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps({**results, **fields}))
        return folder

    regold = changed("regold")
    items = (a / "items.jsonl").read_text().replace('"gold": "1"', '"gold": "3"', 1)
    (regold / "items.jsonl").write_text(items)
    twice = changed("twice")
    (twice / "items.jsonl").write_text((a / "items.jsonl").read_text() * 2)
    three = file("three.json", [True, False, True])
    table = [
        (three, file("two.json", [True, False]), "1 id only in"),
        (a, three, "24 ids only in"),
        (a, changed("other", mode="official"), "mode is 'strict' in"),
        (a, changed("task", task="mathvista"), "task is 'generic' in"),
        (a, regold, "gold of 'q0' is '1' in"),
        (a, twice, "field 'id' repeats unevenly"),
        (a, tmp_path, "has no results.json"),
        (a, tmp_path / "nowhere", "is not there"),
        (three, file("none.json", {"a": [1, 2]}), "holds no list of booleans"),
        (three, file("mixed.json", [True, 1, 0]), "expected true or false"),
        (three, file("broken.json", "[true,"), "is no JSON"),
        (three, file("deep.json", "[" * 100_000), "is no JSON"),
        (file("same.json", [{"id": 1, "correct": True}] * 2), three, "item '1' repeats"),
    ]
    for one, other, expected in table:
        capsys.readouterr()
        assert main(["eval", "compare", str(one), str(other)]) == 1, expected
        said = capsys.readouterr().err
        assert expected in said
        assert said.count("\n") == 1, said
