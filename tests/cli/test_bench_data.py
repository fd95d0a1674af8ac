"""`onevision bench data`: counts what it says it counts, and sees pixels that differ."""

import json

import pytest

from onevision_jax.bench.consumption import examples_per_second, train_flops
from onevision_jax.bench.data_peer import PeerDataset, installed, largest_difference
from onevision_jax.cli.main import main
from onevision_jax.data.opening import open_path, write_stand_in
from onevision_jax.model import preset
from onevision_jax.processor import Processor


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "synth"
    assert main(["synth", "--out", str(folder), "--num", "12", "--processes", "1"]) == 0
    return folder / "train.jsonl"


def test_bench_data(data, tmp_path, capsys):
    words = ["--records", "8", "--rounds", "1", "--workers", "0", "--seconds", "1"]
    words += ["--tokens-per-row", "512", "--patch-budgets", "0,512"]
    out = tmp_path / "data.json"
    assert main(["bench", "data", str(data), *words, "--json", str(out)]) == 0
    result, shown = json.loads(out.read_text()), capsys.readouterr().out
    assert result["packing"]["examples"] == 8
    assert result["dropped"] == {}
    assert result["step_7b"]["examples_per_second"] > 0
    for part in ("one_core", "one_core_images"):
        ours = result[part]["onevision"]
        assert ours["examples_per_second"] == pytest.approx(1e3 / ours["median_cpu_ms_per_example"])
        assert ours["images_per_second"] == pytest.approx(ours["examples_per_second"])
        assert ("transformers" in result[part]) == installed()
        assert ("\ntransformers " in shown) == installed()
    if installed():
        assert result["equality"]["images"] == 8
        assert result["equality"]["largest_difference"] <= 1e-5


def test_bad_numbers(data, capsys):
    assert main(["bench", "data", str(data), "--rounds", "0"]) == 1
    assert capsys.readouterr().err == "onevision: --rounds must be 1 or more\n"
    assert main(["bench", "data", str(data), "--workers", "0,x"]) == 2


@pytest.mark.skipif(not installed(), reason="needs torch and transformers")
def test_the_comparison_sees_other_pixels(data, tmp_path):
    source = open_path(data)
    write_stand_in(source, tmp_path)
    dataset = PeerDataset(source, tmp_path)
    processor = Processor.from_folder(tmp_path)
    assert largest_difference(dataset, processor, 4) == (4, pytest.approx(0, abs=1e-5))
    dataset.images.image_mean = [0.5, 0.5, 0.5]
    assert largest_difference(dataset, processor, 4)[1] > 0.01


def test_step_of_the_7b():
    """About 6 operations a weight: 7.07 G of them for a token, 0.64 G for a patch."""
    config = preset("7b")
    assert train_flops(config, [(1, 0)]) == pytest.approx(6 * 7.07e9, rel=0.01)
    vision = train_flops(config, [(1, 4)]) - train_flops(config, [(1, 0)])
    assert vision == pytest.approx(6 * 4 * 0.64e9, rel=0.03)
    assert examples_per_second(config, [(1000, 0)]) == pytest.approx(12.5, rel=0.05)
