"""The education-tiered benchmark: drawn from a seed, checked when read, killed when run."""

import collections
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from onevision_jax.cli.main import main
from onevision_jax.convert import keymap
from onevision_jax.data.record import image_path, read_jsonl, split_of
from onevision_jax.data.synthetic import FAMILIES, make_example
from onevision_jax.data.synthetic.build import SynthSettings, draw_range
from onevision_jax.errors import InputError
from onevision_jax.evaluation import TASKS, read_task
from onevision_jax.evaluation.tasks.tiered import TIERS, macro_average, tables
from onevision_jax.evaluation.tiered import SOURCES, TieredSettings, make_tiered, quotas
from onevision_jax.model import preset, to_hf
from onevision_jax.processor.tiny import train_tokenizer, write_processor_files

NUM = 40  # two of every cell, and two more
TASK = TASKS["tiered"]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiered") / "a"
    make_tiered(folder, TieredSettings(num=NUM, seed=3))
    return folder


@pytest.fixture
def copied(benchmark, tmp_path):
    """A copy to damage: its folder and its file."""
    import shutil

    shutil.copytree(benchmark, tmp_path / "copy")
    return tmp_path / "copy", tmp_path / "copy" / f"tiered-v1-seed3-{NUM}.jsonl"


def tree(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_seed_same_bytes(benchmark, tmp_path):
    steps = []
    settings = TieredSettings(num=NUM, seed=3)
    make_tiered(tmp_path / "again", settings, lambda *step: steps.append(step))
    assert tree(tmp_path / "again") == tree(benchmark)
    assert steps[-1] == (NUM, NUM)
    make_tiered(tmp_path / "other", TieredSettings(num=5, seed=4))
    assert not tree(tmp_path / "other").keys() & {p for p in tree(benchmark) if p.parent.name}
    with pytest.raises(InputError, match="is not empty"):
        make_tiered(benchmark, TieredSettings(num=5))


def test_every_cell_has_as_many(benchmark):
    questions = read_task(TASK, benchmark)
    counts = collections.Counter((q.dimensions["tier"], q.dimensions["subject"]) for q in questions)
    assert counts == quotas(NUM)
    assert set(counts.values()) == {2, 3}
    first = questions[: len(SOURCES)]
    assert len({(q.dimensions["tier"], q.dimensions["subject"]) for q in first}) == len(SOURCES)
    assert all(question.formal_text and question.formal_language for question in questions)
    assert all(question.cluster == question.image for question in questions)
    assert len({question.image for question in questions}) == NUM
    assert [question.id for question in read_task(TASK, benchmark, 3)] == [
        f"tiered-v1-seed3-{NUM}-000{k}" for k in (1, 2, 3)
    ]
    card = json.loads((benchmark / "card.json").read_text())
    assert (card["name"], card["num"]) == (f"tiered-v1-seed3-{NUM}", NUM)
    assert {(c["tier"], c["subject"]): c["count"] for c in card["cells"]} == dict(counts)


def test_the_cells_are_those_that_the_families_ask_for():
    """Five subjects with two tiers or more; three of them from junior high to college."""
    found = collections.Counter()
    for family in FAMILIES:
        for difficulty in (1, 2, 3):
            for index in range(120):
                example = make_example(family, 1, index, difficulty)
                found[example.question.tier, example.subject, family, difficulty] += 1
    assert {key[:2] for key in found} == set(SOURCES)
    for cell, families in SOURCES.items():
        for family, several in families.items():
            assert all(found[*cell, family, difficulty] for difficulty in several)
    tiers = collections.defaultdict(set)
    for tier, subject in SOURCES:
        tiers[subject].add(tier)
    assert tiers.keys() == {"math", "physics", "chemistry", "biology", "deduction"}
    assert all(several >= {"junior_high", "high_school", "college"} for several in tiers.values())
    assert set.union(*tiers.values()) == set(TIERS)


def test_nothing_of_it_is_trained_on(benchmark, tmp_path, capsys):
    (file,) = benchmark.glob("*.jsonl")
    records = list(read_jsonl(file))
    assert all(split_of(record) == "test" for record in records)
    # Nor is the same object in a training set at another size: synth has no such seed.
    assert all(int(record.provenance["seed"]) < 0 for record in records)
    assert main(["synth", "--out", str(tmp_path / "b"), "--num", "5", "--seed", "-4"]) == 2
    capsys.readouterr()
    # Even where the seed is the benchmark's own, `synth` files all of it under test.
    for record in records[::3]:
        about = record.provenance
        family, index = str(about["family"]), int(about["index"])
        settings = SynthSettings(
            num=index + 1, seed=-4, families=(family,), difficulty=int(about["difficulty"])
        )
        (drawn,) = draw_range(settings, tmp_path, index)
        assert (drawn.image, drawn.split) == (image_path(record.image or b""), "test")


def test_a_changed_benchmark_is_refused(copied):
    folder, file = copied
    whole = file.read_bytes()
    card = json.loads((folder / "card.json").read_text())

    def refused(match, **fields):
        (folder / "card.json").write_text(json.dumps({**card, **fields}))
        with pytest.raises(InputError, match=match):
            read_task(TASK, folder)
        (folder / "card.json").write_text(json.dumps(card))

    refused("'version' is 'v0', and this program knows 'v1'", version="v0")
    refused("field 'sha256' must be a string", sha256=None)
    refused("sha256 differs", sha256="0" * 64)
    file.write_bytes(whole.replace(b'"answer": "', b'"answer": "1', 1))
    refused(r"sha256 differs\); make tiered-v1-seed3-40 again")
    file.write_bytes(whole)
    assert len(read_task(TASK, file)) == NUM
    picture = folder / read_task(TASK, folder)[0].image
    picture.write_bytes(picture.read_bytes() + b" ")
    refused(r"line 1: field 'image' names 'images/\w+.png', whose content was changed")
    (folder / "tiered-v1-seed9.jsonl").write_bytes(whole)
    refused("holds 2 files")
    (folder / "card.json").write_text("[")
    with pytest.raises(InputError, match=r"card.json is no JSON"):
        read_task(TASK, file)
    (folder / "card.json").unlink()
    with pytest.raises(InputError, match=r"card.json is missing; give the folder"):
        read_task(TASK, file)


def test_tiers_in_order_and_the_mean_over_cells(benchmark):
    questions = read_task(TASK, benchmark)
    rows = [
        {"verdict": "correct" if q.dimensions["tier"] == "college" else "wrong"} for q in questions
    ]
    found = tables(questions, rows)["tiered"]
    assert found["benchmark"] == f"tiered-v1-seed3-{NUM}"
    assert [line["tier"] for line in found["by_tier"]] == list(TIERS)
    assert [line["accuracy"] for line in found["by_tier"]] == [0, 0, 1, 0, 0]
    assert sum(line["n"] for line in found["by_tier"]) == NUM
    macro = found["macro_average"]
    assert macro["accuracy"] == pytest.approx(5 / 19)
    assert (macro["cells"], macro["ci95"][0] < 5 / 19 < macro["ci95"][1]) == (19, True)


def test_the_mean_over_cells_by_hand():
    """Cells 1 of 3 and 4 of 4: Beta(1.5, 2.5) and Beta(4.5, 0.5) have variances 3/64 and 3/200."""
    mean, (low, high) = macro_average([(1, 3), (4, 4)])
    assert mean == pytest.approx((1 / 3 + 1) / 2)
    half = 1.959963984540054 * (3 / 64 + 3 / 200) ** 0.5 / 2
    assert low == pytest.approx(mean - half)
    assert high == pytest.approx(min(1, mean + half))


@pytest.mark.parametrize("low", [0.0, 0.3])
def test_the_interval_holds_the_truth_95_times_of_100(low):
    """19 cells of 15 questions with chances from `low` to 0.9; 0 for some, as of a weak model."""
    rng = np.random.default_rng(0)
    chances = np.maximum(np.linspace(low - 0.3, 0.9, 19), 0)
    inside = 0
    for counts in rng.binomial(15, chances, (2000, 19)):
        _, (bottom, top) = macro_average([(int(correct), 15) for correct in counts])
        inside += bottom <= chances.mean() <= top
    assert 0.94 <= inside / 2000 <= 0.985


def test_the_command_line(tmp_path, capsys):
    out = tmp_path / "new" / "a"
    assert main(["eval", "make-tiered", "--out", str(out), "--num", "19", "--seed", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["junior_high", "math", "1", "charts", "1"]
    assert said[-1] == f"wrote tiered-v1-seed2-19, 19 questions, to {out}"
    rows = [{"id": q.id, "response": f"\\boxed{{{q.answer}}}"} for q in read_task(TASK, out)]
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--data", str(out), "--outputs", str(tmp_path / "gold.jsonl")]
    assert main(["eval", "regrade", "--task", "tiered", "--out", str(tmp_path), *words]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["accuracy"] == results["tiered"]["macro_average"]["accuracy"] == 1
    assert set(results["by"]) == {"tier", "subject", "family"}
    assert set(results["cells"]) == set(TIERS)
    for words, answer in [
        (["--num", "0"], "'0' is no whole number above 0"),
        (["--seed", "-1"], "'-1' is no whole number from 0"),
        (["--sed", "1"], "did you mean --seed?"),
    ]:
        assert main(["eval", "make-tiered", "--out", str(out), *words]) == 2
        assert answer in capsys.readouterr().err
    assert main(["eval", "make-tiered", "--out", str(out)]) == 1
    assert "is not empty" in capsys.readouterr().err


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A random model of the debug size."""
    folder = tmp_path_factory.mktemp("model")
    ids = write_processor_files(folder, train_tokenizer(["How many bars?"], num_merges=9))
    debug = preset("debug")
    names = [field.name for field in dataclasses.fields(debug) if field.name in ids]
    config = dataclasses.replace(debug, **{name: ids[name] for name in names})
    (folder / "config.json").write_text(json.dumps(to_hf(config)))
    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.standard_normal(shape) * (0.1 if "embed" in name else 0.4)).astype(np.float32)
        for name, shape in keymap.hf_shapes(config, "hub").items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def start(checkpoint, benchmark, out):
    """The command in a process of its own."""
    fixed = ["eval", "run", "--task", "tiered", "--data", str(benchmark), "--out", str(out)]
    more = ["--checkpoint", str(checkpoint), "--max-new-tokens", "48", "--rows", "2"]
    code = f"import sys; from onevision_jax.cli.main import main; sys.exit(main({fixed + more!r}))"
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.long
def test_killed_five_times_it_ends_the_same(checkpoint, benchmark, tmp_path):
    """SIGKILL at random moments after new answers came, one of them amid a write."""
    whole = start(checkpoint, benchmark, tmp_path / "whole")
    assert whole.wait() == 0
    rng, killed = random.Random(0), tmp_path / "killed"
    store = killed / ".responses.partial"
    for round_number in range(5):
        had = store.stat().st_size if store.exists() else 0
        child = start(checkpoint, benchmark, killed)
        deadline = time.monotonic() + 300
        while child.poll() is None and time.monotonic() < deadline:
            if store.exists() and store.stat().st_size > max(had, 600):
                break
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.03))
        assert child.poll() is None, "it ended before it was killed"
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        if round_number == 2:  # As a kill amid a write leaves it.
            with store.open("ab") as file:
                file.truncate(store.stat().st_size - 7)
        assert not (killed / "items.jsonl").exists()
    last = start(checkpoint, benchmark, killed)
    assert last.wait() == 0
    assert (killed / "items.jsonl").read_bytes() == (tmp_path / "whole/items.jsonl").read_bytes()
    first, second = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "killed")
    )
    assert first == second
    assert first["n"] == NUM
