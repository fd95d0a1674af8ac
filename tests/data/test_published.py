"""The published layout, made from real images with its known defects planted: exact results.

The images are found through ONEVISION_DATA or beside the repository.
"""

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from onevision_jax.data.building import BuildSettings, SourceSpec, build_dataset
from onevision_jax.data.sources import open_source
from onevision_jax.data.target import TargetConfig, response_text

PLACE = Path(os.environ.get("ONEVISION_DATA") or Path(__file__).parents[3] / "shared" / "data")
pytestmark = pytest.mark.skipif(
    not (PLACE / "geometry3k").exists(), reason="the real images are not at hand"
)
HINT = (
    "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at "
    "the end.\n"
)
WHY = "The image shows a figure with its lengths. Putting them together gives the value."


def images() -> list[bytes]:
    patterns = ("geometry3k/examples/*/img_diagram.png", "clevr/images/*.png")
    paths = [path for pattern in patterns for path in sorted(PLACE.glob(pattern))]
    return [path.read_bytes() for path in [*paths, *sorted(PLACE.glob("charts/ood_charts/o*.png"))]]


def row(id, image, question, response, prefix="", human="human", assistant="assistant"):
    coded = None if image is None else prefix + base64.b64encode(image).decode()
    turns = [{"from": human, "value": question}, {"from": assistant, "value": response}]
    return {"id": id, "image": coded, "conversations": turns}


def published() -> tuple[list[dict], list[tuple], dict[str, int], dict[str, int]]:
    """(rows, (id, question, choices, response) expected, rejects, repairs)."""
    picture = images()
    rows, expected = [], []

    def good(question, response, clean, choices, answer, reasoning=WHY, **more):
        number = len(expected)
        rows.append(row(f"g{number}", picture[number], question, response, **more))
        text = f"<think>{reasoning}</think>\n<answer>{answer}</answer>"
        expected.append((f"g{number}", clean, choices, text))

    options = "\nChoices:\n(A) 12\n(B) 14"
    pair = ("12", "14")
    # The four layouts; the third has no answer and is among the bad rows.
    good("<image>\nFind x.", f"<think>{WHY}\n\n**Answer:** 14</think>", "Find x.", (), "14")
    good("<image>\nFind y.", f"<think>\n{WHY}\n</think>\n\n14", "Find y.", (), "14")
    good(
        f"<image>\n{HINT}Question: Find z.{options}",
        f"<think>{WHY}</think>\nOption A: 12 is too short.\nOption B: 14 fits.\n**Answer:** B",
        "Find z.",
        pair,
        "B",
        f"{WHY}\n\nOption A: 12 is too short.\nOption B: 14 fits.",
    )
    # Wrappers, placeholders, prefixes of data URIs, styles, residue.
    good("Find u.\nAnswer the question using a single word or phrase.",
         f"<think>{WHY}</think>Answer: 14", "Find u.", (), "14")  # fmt: skip
    good("<image><image>\nFind v.", f"<think>{WHY}</think>$\\boxed{{14}}$", "Find v.", (), "14")
    good(
        f"<image>\n{HINT}Question: Find w.{options}\nAnswer with the given options directly.",
        f"<think>{WHY}</think>The correct answer is: **(B) 14**.",
        "Find w.",
        pair,
        "B",
        prefix="data:image/png;base64,",
    )
    good(
        f"<image>\nFind t.{options}",
        "<think>Here is the revised Chain of Thought:\n\n"
        f"{WHY} The image directly shows them, so no additional visualization is needed.</think>B",
        "Find t.",
        pair,
        "B",
    )
    repairs = {
        "answer out of the thought": 1,
        "question prefix": 2,
        "question suffix": 2,
        "choices parsed": 3,
        "reasoning out of the answer": 1,
        "<image> missing": 1,
        "<image> doubled": 1,
        "data-URI prefix": 1,
        "answer to letter": 1,
        "revision residue": 1,
        "id doubled": 1,
    }
    fine = f"<think>{WHY}</think>14"
    rows += [
        row("b0", picture[7], "<image>\nFind x.", f"<think>{WHY}</think>"),  # layout 3
        row("b1", picture[7], "<image>\nFind x.", f"<think>{WHY}</think>\nA is so.\nB is not."),
        row("b2", picture[7], f"<image>\nFind x.{options}", f"<think>{WHY}</think>C"),
        row("b3", picture[7], "<image>\nFind x.", "14"),
        row("b4", picture[7], "<image>\nFind x.", f"<think>{WHY} 14"),
        row("b5", None, "<image>\nFind x.", fine),
        row("b6", picture[7], f"<image>\n{HINT}", fine),
        row("b7", picture[7], "<image>\nFind x.", fine, human="assistant"),
        row("b8", picture[7][: len(picture[7]) // 2], "<image>\nFind x.", fine),
        row("b9", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "<image>\nFind x.", fine),
        row("b10", b"", "<image>\nFind x.", fine),
        row("b11", picture[7], "<image>\nFind x.", fine, prefix="data:image/png,"),
        row("b12", picture[7], "<image>\nFind x.", "<think>Here is the revised CoT.</think>14"),
        row("", picture[7], "<image>\nFind x.", fine),
        row("b14", picture[7], "x" * 10_000_000, fine),
        row("b15", picture[0], "<image>\nFind x.", f"<think>{WHY}</think>14"),  # as g0
        {**row("b16", picture[7], "", fine), "image": "../../etc/passwd"},
    ]
    rows.append(row("g0", picture[8], "<image>\nFind s.", fine))
    text = f"<think>{WHY}</think>\n<answer>14</answer>"
    expected.append(("g0#2", "Find s.", (), text))
    rejects = {
        "no answer": 1,
        "unclear answer": 1,
        "not a choice": 1,
        "no reasoning": 1,
        "tags": 1,
        "images": 1,
        "no question": 1,
        "turns": 1,
        "image": 2,
        "image file": 3,
        "residue": 1,
        "row": 1,
        "too long": 1,
        "duplicate": 1,
    }
    return rows, expected, rejects, repairs


def write(rows: list[dict], folder: Path, form: str) -> Path:
    folder.mkdir()
    path = folder / f"train-00000-of-00001.{form}"
    if form == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=7)
    elif form == "json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.mark.parametrize("form", ["parquet", "json", "jsonl"])
def test_a_real_import(form, tmp_path):
    rows, expected, rejects, repairs = published()
    path = write(rows, tmp_path / "hub", form)
    settings = BuildSettings((SourceSpec("r1-onevision", str(path)),))
    summary = build_dataset(tmp_path / "out", settings)
    assert dict(summary.rejects) == rejects
    assert dict(summary.repairs) == repairs
    assert summary.rows == len(rows) == len(expected) + sum(rejects.values())

    found = {}
    for split in ("train", "validation", "test"):
        source = open_source(tmp_path / "out" / split)
        for number in range(len(source)):
            record = source[number]
            asked = (record.question, record.choices, response_text(record, TargetConfig()))
            found[record.id] = (record.image, *asked)
            assert (record.source, record.licence) == ("r1-onevision", "Apache-2.0")
    picture = images()
    assert {id: rest[1:] for id, rest in found.items()} == {id: tuple(e) for id, *e in expected}
    assert all(found[f"g{number}"][0] == picture[number] for number in range(7))

    left_out = [
        json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    ]
    assert [each["id"] for each in left_out] == [
        each["id"] for each in rows if each["id"] not in found
    ]
    unit = "line" if form == "jsonl" else "row"
    assert left_out[0] == {
        "id": "b0",
        "source": f"r1-onevision:{path}",
        "file": str(path),
        "line": f"{unit} 8",
        "reason": "no answer",
        "message": "the thought does not end with an answer, and none follows it",
    }
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["counts"]["layout"] == {"2": 6, "1": 1, "4": 1}
    assert card["counts"]["answer_kind"] == {"number": 5, "choice": 3}
    assert card["measures"]["width"]["count"] == 8


def test_the_same_bytes_whatever_the_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("onevision_jax.data.building.build.POOL_FROM", 1)
    rows, *_ = published()
    path = write(rows * 4, tmp_path / "hub", "jsonl")
    settings = BuildSettings((SourceSpec("r1-onevision", str(path)),), shard_bytes=100_000)
    build_dataset(tmp_path / "one", settings, workers=1)
    build_dataset(tmp_path / "two", settings, workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len(list((tmp_path / "one" / "train").iterdir())) > 1
