"""From questions to results.json: counts, intervals, resume, controls, bad input."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from onevision_jax.cli.main import main
from onevision_jax.convert import keymap
from onevision_jax.data.record import Record, write_jsonl
from onevision_jax.evaluation import TASKS, answers, read_task, wilson
from onevision_jax.evaluation.answers import shown
from onevision_jax.model import preset, to_hf
from onevision_jax.processor import load_image
from onevision_jax.processor.tiny import train_tokenizer, write_processor_files


def png(seed: int) -> bytes:
    import io

    pixels = np.random.default_rng(seed).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def data(tmp_path):
    """Six questions with images, two families, two tiers."""
    records = [
        Record(
            id=f"q{i}",
            image=png(i),
            question="How many bars?",
            answer=str(i),
            answer_kind="number",
            tier="junior_high" if i < 4 else "college",
            subject="charts",
            source="synth",
            provenance={"family": "charts" if i % 2 else "tables"},
        )
        for i in range(6)
    ]
    write_jsonl(tmp_path / "test.jsonl", records)
    return tmp_path / "test.jsonl"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
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


def items_of(folder):
    return [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]


def regrade(data, outputs, out, *words):
    fixed = ["eval", "regrade", "--task", "generic", "--data", str(data), "--outputs", str(outputs)]
    return main([*fixed, "--out", str(out), *words])


def test_wilson_against_published_values():
    """R's binom.confint(method="wilson"); 0 and n of n from the closed form z^2 / (n + z^2)."""
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(50, 100) == pytest.approx((0.4038315, 0.5961685), abs=1e-6)
    square = 1.959963984540054**2
    assert wilson(0, 20) == pytest.approx((0, square / (20 + square)))
    assert wilson(20, 20) == pytest.approx((20 / (20 + square), 1))
    assert wilson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="5 of 3"):
        wilson(5, 3)


def test_regrading_counts_every_kind_of_answer(data, tmp_path, capsys):
    rows = [
        {"id": "q0", "response": "<think>none</think><answer>0</answer>"},
        {"id": "q1", "response": "\\boxed{1.0}"},
        {"id": "q2", "response": "<answer>5</answer>"},
        {"id": "q3", "response": "I cannot tell."},
        {"id": "q4", "response": "<think>There are", "finish_reason": "length"},
    ]
    outputs = tmp_path / "outputs.jsonl"
    outputs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert regrade(data, outputs, tmp_path / "out") == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["n"], results["correct"], results["missing"]) == (6, 2, 1)
    assert (results["unparsed"], results["truncated"], results["grader_failed"]) == (1, 1, 0)
    assert results["accuracy"] == pytest.approx(2 / 6)
    assert results["ci95"] == pytest.approx(wilson(2, 6))
    assert results["by"]["family"] == {
        "tables": {"n": 3, "correct": 1},
        "charts": {"n": 3, "correct": 1},
    }
    assert results["by"]["tier"]["junior_high"] == {"n": 4, "correct": 2}
    assert results["grader"]["judge"] is None
    items = items_of(tmp_path / "out")
    assert [item["verdict"] for item in items] == [
        *("correct", "correct", "wrong", "unparsed", "truncated", "wrong"),
    ]
    assert items[5]["reason"].startswith("missing")
    assert {"id", "response", "extracted", "gold", "verdict", "reason"} == set(items[0])
    assert [p.name for p in (tmp_path / "out").glob("*.jsonl")] == ["items.jsonl"]
    assert "33.3 %  [9.7, 70.0]  2 of 6" in capsys.readouterr().out


def run(checkpoint, data, out, *words):
    fixed = ["eval", "run", "--task", "generic", "--data", str(data), "--out", str(out)]
    more = ["--checkpoint", str(checkpoint), "--max-new-tokens", "6", "--rows", "4"]
    return main([*fixed, *more, *words])


def test_a_killed_run_goes_on_and_ends_the_same(checkpoint, data, tmp_path, monkeypatch, capsys):
    assert run(checkpoint, data, tmp_path / "whole") == 0
    add = answers.Store.add

    def add_and_die(self, responses):
        add(self, responses)
        with self.path.open("a") as file:
            file.write('{"id": "q5", "te')  # A line torn by the kill.
        raise KeyboardInterrupt

    monkeypatch.setattr(answers.Store, "add", add_and_die)
    assert run(checkpoint, data, tmp_path / "killed") == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert run(checkpoint, data, tmp_path / "killed") == 0
    assert capsys.readouterr().err.startswith("4 of 6 answered")
    for name in ("items.jsonl", "results.json"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert run(checkpoint, data, tmp_path / "killed", "--temperature", "1") == 1
    assert "give another --out" in capsys.readouterr().err


def test_images_are_shown_blanked_or_left_out(checkpoint, data, tmp_path):
    said = {}
    for images in ("real", "blank", "none"):
        assert run(checkpoint, data, tmp_path / images, "--images", images, "--limit", "3") == 0
        said[images] = [item["response"] for item in items_of(tmp_path / images)]
        results = json.loads((tmp_path / images / "results.json").read_text())
        assert (results["images"], results["n"]) == (images, 3)
    # The questions are the same text: without their images the answers cannot differ.
    assert len(set(said["real"])) > 1
    assert len(set(said["blank"])) == len(set(said["none"])) == 1
    record = read_task(TASKS["generic"], data)[0].record()
    assert record.image is not None
    blank = shown(record, "blank").image
    assert blank is not None
    assert load_image(blank).size == load_image(record.image).size
    assert load_image(blank).getextrema() == ((127, 127),) * 3
    assert shown(record, "none").image is None


def test_bad_input_is_one_sentence(data, tmp_path, capsys):
    def rows(name, *lines):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
        return tmp_path / name

    good = rows("good.jsonl", '{"id": "q0", "response": "1"}')
    table = [
        (data, rows("odd.jsonl", '{"id": "q9", "response": "1"}'), "id 'q9' is not in"),
        (data, rows("twice.jsonl", *['{"id": "q0", "response": "1"}'] * 2), "id 'q0' repeats"),
        (data, rows("number.jsonl", '{"id": "q0", "response": 1}'), "'response' must be a string"),
        (data, rows("broken.jsonl", '{"id": "q0"'), "line 1"),
        (data, tmp_path / "none.jsonl", "none.jsonl is no file"),
        (tmp_path / "nowhere.jsonl", good, "nowhere.jsonl is not there"),
        (rows("empty.jsonl"), good, "has no rows"),
        (rows("noid.jsonl", '{"answer": "1"}'), good, "field 'id'"),
        (rows("same.jsonl", *['{"id": "a", "answer": "1"}'] * 2), good, "repeats 'a'"),
        (rows("kind.jsonl", '{"id": "a", "answer": "1", "answer_kind": "x"}'), good, "'x'"),
    ]
    for questions, outputs, expected in table:
        assert regrade(questions, outputs, tmp_path / "out") == 1, expected
        said = capsys.readouterr().err
        assert expected in said
        assert said.count("\n") == 1, said
    assert regrade(data, good, tmp_path / "out", "--limit", "0") == 1
    assert main(["eval", "regrade", "--task", "generc"]) == 2
    assert "did you mean generic" in capsys.readouterr().err


def test_the_command_line_knows_every_task():
    from onevision_jax.cli import eval as verb

    assert set(verb.TASKS) == set(TASKS)


def test_killed_samples_go_on_and_end_the_same(checkpoint, data, tmp_path, monkeypatch, capsys):
    more = ("--num-samples", "3", "--temperature", "1", "--rows", "6")
    assert run(checkpoint, data, tmp_path / "whole", *more) == 0
    items = items_of(tmp_path / "whole")
    assert [(item["id"], item["sample"]) for item in items] == [
        (f"q{i}", sample) for i in range(6) for sample in range(3)
    ]
    assert len({item["response"] for item in items}) > 6  # Draws differ within a question.
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert (results["n"], results["num_samples"], results["samples"]["k"]) == (6, 3, 3)
    add = answers.Store.add

    def add_and_die(self, responses):
        add(self, responses)
        lines = self.path.read_text().splitlines(keepends=True)
        self.path.write_text("".join(lines[:-1]) + lines[-1][:20])  # Torn within a question.
        raise KeyboardInterrupt

    monkeypatch.setattr(answers.Store, "add", add_and_die)
    assert run(checkpoint, data, tmp_path / "killed", *more) == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert run(checkpoint, data, tmp_path / "killed", *more) == 0
    assert capsys.readouterr().err.startswith("1 of 6 answered")
    for name in ("items.jsonl", "results.json"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert run(checkpoint, data, tmp_path / "cold", "--num-samples", "2") == 1
    assert "give a temperature above 0" in capsys.readouterr().err
