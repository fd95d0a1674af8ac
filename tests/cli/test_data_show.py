"""`onevision data stats` and `data show` on real records: their numbers and their picture."""

import json

import numpy as np
import pytest
from PIL import Image

from onevision_jax.cli.main import main
from onevision_jax.data.encode import Encode
from onevision_jax.data.opening import open_path
from onevision_jax.data.packing import Packing, join, stack
from onevision_jax.processor import Processor, load_image
from onevision_jax.processor.tiny import train_tokenizer, write_processor_files
from onevision_jax.report.packed_row import draw_row, picture_of

VISION = {"patch_size": 14, "spatial_merge_size": 2, "window_size": 112}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown") / "synth"
    assert main(["synth", "--out", str(folder), "--num", "24", "--processes", "1"]) == 0
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"id": "broken"}\n')
    return folder


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processor")
    ids = write_processor_files(folder, train_tokenizer(["Add the numbers."] * 3, num_merges=20))
    (folder / "config.json").write_text(json.dumps({**ids, "vision_config": VISION}))
    return Processor.from_folder(folder)


def test_stats(data, tmp_path, capsys):
    words = ["--tokens-per-row", "512", "--patch-budgets", "0,512", "--out", str(tmp_path / "out")]
    assert main(["data", "stats", str(data), *words]) == 0
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "out/stats.json").read_text())
    assert (found["records"], found["usable"], found["with image"]) == (25, 24, 24)
    assert found["dropped"]["counts"] == {"row": 1}
    lines = [line for path in data.glob("*.jsonl") for line in path.read_text().splitlines()]
    records = list(map(json.loads, lines))
    tiers = [record["tier"] for record in records if "tier" in record]
    assert found["counts"]["tier"] == {tier: tiers.count(tier) for tier in set(tiers)}
    lengths, packing = found["lengths"], found["packing"]
    assert lengths["width"]["percentiles"]["50"] == 84
    assert lengths["vision tokens"]["sum"] == 24 * 9
    assert lengths["tokens"]["sum"] == packing["tokens_used"]
    assert sum(lengths["tokens"]["bins"]) == 24
    parts = ("prompt tokens", "response tokens")
    assert sum(lengths[part]["sum"] for part in parts) == lengths["tokens"]["sum"]
    assert packing["tokens_available"] == 512 * packing["rows"]
    assert f"{packing['tokens']:.1%} of the tokens" in shown
    page = (tmp_path / "out/stats.html").read_text()
    assert page.count("<svg") == 11
    assert "first complaint" in page
    assert "http" not in page.replace("http-equiv", "")


def test_show(data, tmp_path, capsys):
    words = ["--tokens-per-row", "512", "--patch-budgets", "0,512", "--out"]
    assert main(["data", "show", str(data), "--row", "1", *words, str(tmp_path / "r.png")]) == 0
    assert "row 1" in capsys.readouterr().out
    with Image.open(tmp_path / "r.png") as image:
        assert image.width == 1400
    assert main(["data", "show", str(data), "--row", "999", *words, str(tmp_path / "r.png")]) == 1
    assert "--row is 999, but the data give" in capsys.readouterr().err
    assert main(["data", "show", str(data), *words, str(tmp_path / "r.jpg")]) == 1
    assert ".png" in capsys.readouterr().err


def test_a_folder_without_data_is_one_sentence(tmp_path, capsys):
    assert main(["data", "stats", str(tmp_path)]) == 1
    assert "holds no file that ends in .arrayrecord or .jsonl; name" in capsys.readouterr().err


def test_the_picture_is_what_the_row_holds(data, processor):
    """Images come back whole from their patches, and the strip's colours are the segments."""
    encode = Encode(processor, max_tokens=1500, max_patches=1024)
    records = [open_path(data / "train.jsonl")[index] for index in range(2)]
    examples = [encode.train(record) for record in records]
    for record, example in zip(records, examples, strict=True):
        found = picture_of(example, processor)
        assert found is not None
        assert record.image is not None
        expected = load_image(record.image)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    packing = Packing(1500, (0, 1024))
    batch = stack([None, join(examples)], packing, pad_id=0, patch_bytes=588)
    image = draw_row(batch, 1, processor)
    strip = np.asarray(image)[94, 31:1369]  # One line of pixels through the top of the strip.
    padding = 1 - sum(len(example.tokens) for example in examples) / 1500
    assert (strip == (213, 216, 220)).all(axis=1).mean() == pytest.approx(padding, abs=0.01)
    vision = sum((example.vision_index >= 0).sum() for example in examples) / 1500
    full = [(37, 99, 184), (194, 87, 12)]
    share = sum((strip == colour).all(axis=1).mean() for colour in full)
    assert 0.4 * vision < share <= vision + 0.01


def test_an_empty_row_is_drawn(processor):
    batch = stack([None], Packing(100, (0, 64)), pad_id=0, patch_bytes=588)
    assert draw_row(batch, 0, processor).width == 1400
