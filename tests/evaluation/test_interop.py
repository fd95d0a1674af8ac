"""Export and import give the same responses back; others' layouts are read; damage is one line."""

import csv
import json
import os
from pathlib import Path

import pytest

from onevision_jax.cli import eval_interop
from onevision_jax.cli.main import main
from onevision_jax.evaluation.interop import EXPORTS, IMPORTS

PLACE = Path(os.environ.get("ONEVISION_DATA") or Path(__file__).parents[3] / "shared" / "data")
TEXTS = [
    "plain",
    '<think>a "quoted" line\nand\r\nanother\ttab</think><answer>4</answer>',
    "",
    " spaces around \n",
    "中文 – 𝒳 \u2028 \x00 \x1f",
    "=1+1",
    "NA",
    "x" * 200_000,
    "None",
]


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def write_lines(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """An evaluation of TEXTS, its last row without a response, its first cut off."""
    questions = [
        {
            "id": f"q{n}",
            "answer": "B",
            "question": f"Which\nof {n}?",
            "choices": ["one", "two\t2"],
            "tier": "college",
            "subject": "math",
        }
        for n in range(len(TEXTS) + 1)
    ]
    write_lines(tmp_path / "data.jsonl", questions)
    out = tmp_path / "scores"
    out.mkdir()
    settings = {"task": "generic", "data": str(tmp_path / "data.jsonl"), "n": 10, "correct": 0}
    (out / "results.json").write_text(json.dumps(settings, indent=2))
    rows = [
        {"id": f"q{n}", "response": text, "extracted": None, "gold": "B", "verdict": "wrong"}
        for n, text in enumerate([*TEXTS, None])
    ]
    rows[0]["verdict"] = "truncated"
    rows[1] |= {"verdict": "correct", "extracted": "B"}
    write_lines(out / "items.jsonl", rows)
    return out


def convert(*words):
    return main(["eval", *map(str, words)])


@pytest.mark.parametrize(
    ("layout", "name"), [("lmms-eval", "s.jsonl"), ("vlmevalkit", "p.tsv"), ("vlmevalkit", "p.csv")]
)
def test_what_is_exported_is_imported_unchanged(layout, name, folder, tmp_path, capsys):
    file, back = tmp_path / "deep" / name, tmp_path / "outputs.jsonl"
    assert convert("export", folder, "--format", layout, "--to", file) == 0
    assert "left out 1 questions without a response" in capsys.readouterr().out
    assert convert("import", file, "--format", layout, "--to", back) == 0
    assert f"wrote {len(TEXTS)} answers" in capsys.readouterr().out
    rows = lines_of(back)
    assert [row["response"] for row in rows] == TEXTS
    assert [row["id"] for row in rows] == [f"q{n}" for n in range(len(TEXTS))]
    assert [row.get("finish_reason") for row in rows] == ["length", *[None] * (len(TEXTS) - 1)]
    assert [path.name for path in file.parent.iterdir()] == [name]


def test_what_is_imported_is_regraded(folder, tmp_path, capsys):
    file, back = tmp_path / "p.tsv", tmp_path / "outputs.jsonl"
    convert("export", folder, "--format", "vlmevalkit", "--to", file)
    convert("import", file, "--format", "vlmevalkit", "--to", back)
    words = ("--task", "generic", "--data", tmp_path / "data.jsonl", "--out", tmp_path / "again")
    assert convert("regrade", *words, "--outputs", back) == 0
    results = json.loads((tmp_path / "again" / "results.json").read_text())
    assert (results["n"], results["missing"]) == (len(TEXTS) + 1, 1)
    assert "report.html" in capsys.readouterr().out
    assert "</html>" in (tmp_path / "again" / "report.html").read_text(encoding="utf-8")


def test_the_layout_of_lmms_eval(folder, tmp_path):
    convert("export", folder, "--format", "lmms-eval", "--to", tmp_path / "s.jsonl")
    row = lines_of(tmp_path / "s.jsonl")[1]
    assert row["doc_id"] == 1
    assert row["target"] == "B"
    assert row["resps"] == [TEXTS[1]]
    assert row["filtered_resps"] == "B"
    assert row["correct"] == 1.0
    assert row["doc"]["choices"] == ["one", "two\t2"]
    assert row["doc"]["tier"] == "college"
    assert len(row["doc_hash"]) == 64


def test_the_table_of_vlmevalkit(folder, tmp_path):
    convert("export", folder, "--format", "vlmevalkit", "--to", tmp_path / "p.tsv")
    text = (tmp_path / "p.tsv").read_text(encoding="utf-8")
    assert text.startswith('"index"\t"question"\t"A"\t"B"\t"answer"\t"tier"\t"category"\t')
    assert '\n"q3"\t"Which\nof 3?"\t"one"\t"two\t2"\t"B"\t"college"\t"math"\t' in text


def test_several_samples_of_a_question(folder, tmp_path, capsys):
    rows = [
        {"id": "q1", "sample": n, "response": text, "gold": "B", "verdict": "wrong"}
        for n, text in enumerate(["-1.5", "True", "x"])
    ]
    write_lines(folder / "items.jsonl", [*rows[:2], rows[2] | {"id": "q2"}])
    file, back = tmp_path / "s.jsonl", tmp_path / "o.jsonl"
    assert convert("export", folder, "--format", "lmms-eval", "--to", file) == 0
    assert lines_of(file)[0]["resps"] == [["-1.5"], ["True"]]
    assert convert("import", file, "--format", "lmms-eval", "--to", back) == 0
    assert lines_of(back) == [
        {"id": "q1", "response": "-1.5", "sample": 0},
        {"id": "q1", "response": "True", "sample": 1},
        {"id": "q2", "response": "x"},
    ]
    assert convert("export", folder, "--format", "vlmevalkit", "--to", tmp_path / "p.tsv") == 1
    assert "several samples of a question" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        # 0.7: resps are left out where the filter changed nothing; a reasoning model's is a string.
        ({"doc_id": 7, "filtered_resps": "4"}, [("7", "4")]),
        (
            {"doc_id": 7, "resps": "<think>a</think>4", "filtered_resps": "4"},
            [("7", "<think>a</think>4")],
        ),
        ({"doc_id": 7, "resps": ["raw"], "filtered_resps": "4"}, [("7", "raw")]),
        # Before 0.7, with the document.
        (
            {
                "doc_id": 7,
                "doc": {"pid": "55", "x": 1},
                "resps": [["raw"]],
                "filtered_resps": ["4"],
            },
            [("55", "raw")],
        ),
        ({"doc_id": 7, "resps": [["a"], ["b"]]}, [("7", "a"), ("7", "b")]),
        ({"doc_id": 7, "resps": [["a", "b"]]}, [("7", "a"), ("7", "b")]),
    ],
)
def test_every_shape_of_lmms_evals_responses(row, answers, tmp_path):
    write_lines(tmp_path / "s.jsonl", [row])
    read = IMPORTS["lmms-eval"](tmp_path / "s.jsonl").answers
    assert [(one.id, one.response) for one in read] == answers


def test_what_vlmevalkit_parts_and_cuts_is_said(tmp_path):
    table = [
        ["index", "question", "prediction", "thinking"],
        ["3", "q", "4", "two and two"],
        ["4", "q", "Failed to obtain answer via API.", ""],
        ["5", "q", "y" * 32_767, ""],
    ]
    with (tmp_path / "p.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(table)
    read = IMPORTS["vlmevalkit"](tmp_path / "p.csv")
    assert [one.row() for one in read.answers] == [
        {"id": "3", "response": "<think>two and two</think>4"},
        {"id": "5", "response": "y" * 32_767, "finish_reason": "length"},
    ]
    assert [note.split(" ", 1)[0] for note in read.notes] == ["1", "1"]
    (tmp_path / "p.json").write_text(
        '[{"index": 3.0, "prediction": NaN}, {"index": 4, "prediction": 12}]'
    )
    read = IMPORTS["vlmevalkit"](tmp_path / "p.json")
    assert [(one.id, one.response) for one in read.answers] == [("3", ""), ("4", "12")]


@pytest.mark.parametrize(
    ("layout", "name", "content", "answer"),
    [
        ("lmms-eval", "s.jsonl", b"[1]\n", "line 1"),
        ("lmms-eval", "s.jsonl", b"{}\n", "field 'doc_id' must be a string or a whole number"),
        ("lmms-eval", "s.jsonl", b'{"doc_id": 1}\n', "neither 'resps' nor 'filtered_resps'"),
        (
            "lmms-eval",
            "s.jsonl",
            b'{"doc_id": 1, "resps": [["-1.5", "True"], ["-0.5", "False"]]}\n',
            "likelihoods",
        ),
        ("lmms-eval", "s.jsonl", b'{"doc_id": 1, "resps": [[["a"]]]}\n', "as strings"),
        ("lmms-eval", "s.jsonl", b'{"doc_id": 1, "resps": []}\n', "as strings"),
        ("lmms-eval", "s.jsonl", b"", "holds no answers"),
        (
            "lmms-eval",
            "s.jsonl",
            b'{"doc_id": 1, "resps": ["a"]}\n{"doc_id": 1, "resps": ["b"]}\n',
            "id '1' repeats",
        ),
        ("vlmevalkit", "p.xlsx", b"PK", "PRED_FORMAT=tsv"),
        ("vlmevalkit", "p.tsv", b"", "is empty"),
        ("vlmevalkit", "p.tsv", b"\xff\xfe", "is not UTF-8"),
        ("vlmevalkit", "p.tsv", b'index\tprediction\n1\t"open', "is no such table"),
        ("vlmevalkit", "p.tsv", b"index\tprediction\n1\n", "row 1: 1 cells where the header has 2"),
        ("vlmevalkit", "p.tsv", b"index\tanswer\n1\t2\n", "there is no column 'prediction'"),
        ("vlmevalkit", "p.tsv", b"index\tprediction\n\t2\n", "field 'index' must be"),
        ("vlmevalkit", "p.json", b"{}", "holds no list of objects"),
        ("vlmevalkit", "p.json", b"[" * 100_000, "is no JSON"),
        ("vlmevalkit", "p.json", b'[{"index": 1, "prediction": [1]}]', "must be text"),
        ("r1v", "r.json", b"[]", "holds no JSON object"),
        ("r1v", "r.json", b'{"results": 1}', "field 'results' must be a list"),
        ("r1v", "r.json", b'{"results": [{"model_output": "a"}, 1]}', "result 1: field"),
        ("mathvision", "m.jsonl", b'{"id": "1"}\n', "line 1: field 'response' must be a string"),
        ("mathvision", "m.jsonl", b'{"response": "1"}\n', "line 1: field 'id' must be"),
    ],
)
def test_damaged_files_are_one_sentence(layout, name, content, answer, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    to = tmp_path / "o.jsonl"
    assert convert("import", tmp_path / name, "--format", layout, "--to", to) == 1
    said = capsys.readouterr().err
    assert answer in said
    assert said.count("\n") == 1
    assert not to.exists()


def test_places_that_are_not_there_are_one_sentence(folder, tmp_path, capsys):
    for words, answer in (
        (("export", tmp_path, "--format", "lmms-eval", "--to", tmp_path / "x"), "is not there"),
        (
            ("export", folder, "--format", "vlmevalkit", "--to", tmp_path / "x.xlsx"),
            ".tsv nor .csv",
        ),
        (("export", folder, "--format", "lmms-eval", "--to", tmp_path), "is a folder"),
        (("import", tmp_path / "no", "--format", "r1v", "--to", tmp_path / "x"), "is no file"),
    ):
        assert convert(*words) == 1
        said = capsys.readouterr().err
        assert answer in said
        assert said.count("\n") == 1


def test_an_export_without_its_data_says_so(folder, tmp_path, capsys):
    (tmp_path / "data.jsonl").unlink()
    convert("export", folder, "--format", "vlmevalkit", "--to", tmp_path / "p.tsv")
    assert "the data of the evaluation is gone" in capsys.readouterr().out


def test_the_command_line_knows_every_layout():
    assert set(eval_interop.EXPORTS) == set(EXPORTS)
    assert set(eval_interop.IMPORTS) == set(IMPORTS)


@pytest.mark.skipif(not (PLACE / "r1v").is_dir(), reason="the logs of R1-V are not at hand")
def test_real_logs_of_r1v(tmp_path):
    for name, number in (("geoqa_test_qwen2vl_7b", 754), ("counting_results_superclevr_200", 200)):
        [path] = (PLACE / "r1v").glob(f"{name}*.json")
        stored = json.loads(path.read_text(encoding="utf-8"))["results"]
        to = tmp_path / f"{name}.jsonl"
        assert convert("import", path, "--format", "r1v", "--to", to) == 0
        assert lines_of(to) == [
            {"id": str(n), "response": row["model_output"]} for n, row in enumerate(stored)
        ]
        assert len(stored) == number


@pytest.mark.skipif(not (PLACE / "mathvision").is_dir(), reason="MathVision is not at hand")
def test_real_outputs_of_mathvision(tmp_path):
    files = sorted((PLACE / "mathvision" / "outputs").glob("*.jsonl"))
    assert len(files) == 5
    for path in files:
        to = tmp_path / path.name
        assert convert("import", path, "--format", "mathvision", "--to", to) == 0
        stored = lines_of(path)
        assert lines_of(to) == [{"id": r["id"], "response": r["response"]} for r in stored]
        assert len(stored) == 3040
