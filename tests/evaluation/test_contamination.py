"""Planted copies are found, strangers are not; hashes and overlaps against other computations."""

import io
import json
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from onevision_jax.cli.main import main
from onevision_jax.data.picture_hash import perceptual_hash, view_picture
from onevision_jax.evaluation.picture_hash import PictureIndex
from onevision_jax.evaluation.text_overlap import QuestionIndex, tokens


def encode(picture, kind="PNG", **settings):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


def test_the_hash_is_that_of_imagehash():
    """Its formula, `phash(hash_size=8, highfreq_factor=4)`, with scipy's DCT."""
    fft = pytest.importorskip("scipy.fft")
    rng = np.random.default_rng(0)
    for _ in range(20):
        pixels = rng.integers(0, 256, (32, 32)).astype(np.float64)
        low = fft.dct(fft.dct(pixels, axis=0), axis=1)[:8, :8]
        flags = (low > np.median(low)).ravel()
        assert perceptual_hash(pixels) == int("".join("01"[int(flag)] for flag in flags), 2)


def test_pictures_of_one_colour_match_only_as_files():
    index = PictureIndex(distance=64, correlation=0.01)
    white, grey = (encode(Image.new("RGB", (50, 40), (v, v, v))) for v in (255, 128))
    assert view_picture(white) == []
    assert index.add(white) == index.add(white) == 0
    assert index.find(white)[0].same_file
    assert index.find(grey) == {}


def test_tokens_know_no_case_layout_or_marks():
    expected = ["what", "is", "x", "2"]
    assert tokens("  What is\n x_2?") == tokens("WHAT IS X*２!") == expected
    assert tokens("图中AB的长度是3cm吗？") == [*"图中", "ab", *"的长度是", "3cm", "吗"]
    assert tokens("?!") == []


def test_shares_of_runs_by_hand():
    words = [f"w{i}" for i in range(17)]  # ten 8-grams
    index = QuestionIndex([" ".join(words), "How many bars?", "", "数一数图里有几个圆"], 8, 0.7)
    assert index.find("Well: " + ", ".join(words).upper()) == {0: 1.0}
    assert index.find(" ".join(words[3:])) == {0: pytest.approx(0.7)}
    assert index.find(" ".join(words[4:])) == {}
    assert index.find("how many BARS") == {1: 1.0}
    assert index.find("How many bars are there?") == {}
    assert index.find("请数一数图里有几个圆。") == {3: 1.0}  # nine signs: two runs
    assert index.find("") == {}


def test_looking_up_rare_runs_misses_nothing():
    """Against comparing every question with every text, over words few enough to overlap."""
    rng = random.Random(0)
    phrases = [" ".join(rng.choices("abc", k=5)) for _ in range(6)]
    questions = [" ".join(rng.choices(phrases, k=rng.randint(1, 4))) for _ in range(60)]
    texts = [" ".join(rng.choices(phrases, k=rng.randint(1, 6))) for _ in range(60)]
    index = QuestionIndex(questions, 4, 0.6)

    def runs(text):
        found = text.split()
        return {tuple(found[i : i + 4]) for i in range(len(found) - 3)}

    hits = 0
    for text in texts:
        expected = {}
        for row, question in enumerate(questions):
            share = len(runs(question) & runs(text)) / len(runs(question))
            if share >= 0.6 - 1e-12:
                expected[row] = share
        assert index.find(text) == pytest.approx(expected)
        hits += len(expected)
    assert hits > 100


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Synthetic records of every family: (folder, rows)."""
    folder = tmp_path_factory.mktemp("drawn") / "synth"
    words = ["--num", "90", "--seed", "3", "--processes", "1"]
    assert main(["synth", "--out", str(folder), *words]) == 0
    names = ("train", "validation", "test")
    lines = [line for n in names for line in (folder / f"{n}.jsonl").read_text().splitlines()]
    return folder, [json.loads(line) for line in lines]


def changed(kind, encoded):
    picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    width, height = picture.size
    if kind == "resized":
        return encode(picture.resize((width * 3 // 2, height * 3 // 2), Image.Resampling.BICUBIC))
    if kind == "jpeg":
        return encode(picture, "JPEG", quality=40)
    return encode(picture.crop((1, 1, width - 1, height - 1)))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def search(data, training, out, *more):
    words = ["--task", "generic", "--data", str(data), "--out", str(out), *more]
    return main(["eval", "contamination", *words, "--training", *map(str, training)])


def test_planted_copies_are_found(drawn, tmp_path, capsys):
    folder, rows = drawn
    bench, training = rows[:30], rows[30:]
    shutil.copytree(folder / "images", tmp_path / "images")
    kinds = ["resized", "jpeg", "cropped"] * 3
    for place, kind in enumerate(kinds):
        row = bench[place]
        copy = changed(kind, (folder / row["image"]).read_bytes())
        (tmp_path / f"images/copy{place}.bin").write_bytes(copy)
        question = "\n ".join(row["question"].upper().split())
        image = f"images/copy{place}.bin"
        training.append({**row, "id": f"copy{place}", "image": image, "question": question})
    training.append({**bench[9], "id": "file", "question": "Something else entirely?"})
    training += [
        {"id": "gone", "question": "Where?", "image": "images/none.png"},
        {"id": "far", "question": "Where?", "image": "../secret.png"},
        {"id": "odd", "question": None, "image": 7},
    ]
    random.Random(0).shuffle(training)
    files = [
        write(tmp_path / "one.jsonl", training[:40]),
        write(tmp_path / "two.jsonl", training[40:]),
    ]
    data = write(tmp_path / "bench.jsonl", bench)
    assert search(data, files, tmp_path / "out") == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "contamination.json").read_text())
    assert (found["n"], found["training_rows"]) == (30, len(training))
    planted = {row["id"] for row in bench[: len(kinds)]}
    for cause in ("question", "image_near", "question_and_image", "accuracy_relevant"):
        assert planted <= set(found["ids"][cause]), cause
    assert found["ids"]["image_file"] == [bench[9]["id"]]
    # Strangers: drawn figures look alike, so a few are let pass, and none with its question.
    assert len(set(found["ids"]["image_near"]) - planted) <= 2
    assert set(found["ids"]["question_and_image"]) == planted
    assert found["counts"]["any"] == len(found["ids"]["any"])
    assert found["unreadable_images"]["training"] == 3
    assert found["training_rows_without_question"] == 1
    assert "images not readable: 0 of the data, 3 of the training rows" in said
    pair = next(p for p in found["pairs"] if p["training_id"] == "copy0")
    assert (pair["id"], pair["question"], pair["image"]) == (bench[0]["id"], 1.0, "near")
    lines = (tmp_path / pair["file"].split("/")[-1]).read_text().splitlines()
    assert json.loads(lines[pair["line"] - 1])["id"] == "copy0"


def test_pairs_are_cut_and_counted(tmp_path):
    data = write(
        tmp_path / "data.jsonl", [{"id": i, "answer": "1", "question": "Q?"} for i in "ab"]
    )
    training = write(tmp_path / "train.jsonl", [{"question": "q"}] * 700)
    assert search(data, [training], tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "contamination.json").read_text())
    assert (found["num_pairs"], len(found["pairs"])) == (1400, 1000)
    # Without an image the question is all there is.
    assert found["ids"]["accuracy_relevant"] == ["a", "b"]


def test_bad_input_is_one_sentence(tmp_path, capsys):
    data = write(tmp_path / "data.jsonl", [{"id": "a", "answer": "1", "question": "Q?"}])
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"question": "q"}\n[1]\n')
    table = [
        ([tmp_path / "none.jsonl"], (), "none.jsonl is no file"),
        ([broken], (), "broken.jsonl, line 2"),
        ([data], ("--share", "1.5"), "share is 1.5"),
        ([data], ("--distance", "65"), "distance is 65"),
        ([data], ("--correlation", "0"), "correlation is 0.0"),
        ([data], ("--words", "0"), "words is 0"),
        ([data], ("--limit", "0"), "--limit is 0"),
    ]
    for training, more, expected in table:
        assert search(data, training, tmp_path / "out", *more) == 1, expected
        said = capsys.readouterr().err
        assert expected in said
        assert said.count("\n") == 1, said
