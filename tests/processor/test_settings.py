"""Processor settings: every spelling of the files, and what is refused."""

import json

import pytest

from onevision_jax.errors import InputError
from onevision_jax.processor import Processor, ProcessorConfig


def write(folder, image=None, model=None, nested=False):
    name = "processor_config.json" if nested else "preprocessor_config.json"
    if image is not None:
        (folder / name).write_text(json.dumps({"image_processor": image} if nested else image))
    (folder / "config.json").write_text(json.dumps(model or {}))


SIZE = {"shortest_edge": 4000, "longest_edge": 50000}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, (3136, 1003520)),
        ({"min_pixels": 3136, "max_pixels": 12845056}, (3136, 12845056)),
        ({"size": SIZE}, (4000, 50000)),
        ({"size": SIZE, "max_pixels": 60000}, (4000, 60000)),
        ({"size": SIZE, "min_pixels": None, "max_pixels": None}, (4000, 50000)),
        ({"max_pixels": 60000}, (3136, 60000)),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_pixel_limits(tmp_path, image, expected, nested):
    write(tmp_path, image, nested=nested)
    config = ProcessorConfig.from_folder(tmp_path)
    assert (config.min_pixels, config.max_pixels) == expected
    config = ProcessorConfig.from_folder(tmp_path, min_pixels=5000, max_pixels=6000)
    assert (config.min_pixels, config.max_pixels) == (5000, 6000)


@pytest.mark.parametrize("part", ["root", "text_config"])
def test_ids_and_window_size_of_config(tmp_path, part):
    ids = {"image_token_id": 7, "vision_start_token_id": 8}
    model = {"vision_config": {"window_size": 56}, **(ids if part == "root" else {part: ids})}
    write(tmp_path, {}, model)
    config = ProcessorConfig.from_folder(tmp_path)
    assert (config.image_token_id, config.vision_start_token_id) == (7, 8)
    assert (config.window_size, config.video_token_id, config.factor) == (56, 151656, 28)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        ({"resample": 2}, "resample = 2"),
        ({"do_resize": False}, "do_resize = False"),
        ({"do_rescale": False}, "do_rescale"),
        ({"do_normalize": False}, "do_normalize"),
        ({"rescale_factor": 1.0}, "rescale_factor"),
        ({"temporal_patch_size": 1}, "temporal_patch_size is 1"),
        ({"size": {"height": 3}}, "shortest_edge"),
        ({"min_pixels": "3136"}, "min_pixels is '3136'"),
        ({"min_pixels": 0}, "min_pixels is 0"),
        ({"min_pixels": 10**12, "max_pixels": 10**13}, "min_pixels 1000000000000"),
        ({"min_pixels": 5000, "max_pixels": 4000}, "swap"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"image_std": [0.5, 0.5, 0]}, "image_std"),
        ({"image_std": "x"}, "image_std"),
        ({"patch_size": 16}, "take both files from one checkpoint"),
        ({"merge_size": 3}, "take both files from one checkpoint"),
    ],
)
def test_refused_settings(tmp_path, image, word):
    write(tmp_path, image, {"vision_config": {"patch_size": 14, "spatial_merge_size": 2}})
    with pytest.raises(InputError, match=word):
        ProcessorConfig.from_folder(tmp_path)


def test_accepted_spellings_of_the_supported_values(tmp_path):
    image = {"resample": 3, "do_resize": True, "rescale_factor": 0.00392156862745098}
    write(tmp_path, {**image, "do_convert_rgb": True, "image_mean": 0.5})
    assert ProcessorConfig.from_folder(tmp_path).image_mean == (0.5, 0.5, 0.5)


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match="neither preprocessor_config"):
        ProcessorConfig.from_folder(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json does not exist"):
        ProcessorConfig.from_folder(tmp_path)
    with pytest.raises(InputError, match="nowhere' does not exist"):
        ProcessorConfig.from_folder(tmp_path / "nowhere")
    (tmp_path / "preprocessor_config.json").write_text("[1]")
    with pytest.raises(InputError, match="not an object"):
        ProcessorConfig.from_folder(tmp_path)


def test_tokenizer_and_config_of_different_checkpoints(model_folder):
    config = json.loads((model_folder / "config.json").read_text())
    config["image_token_id"] += 1
    (model_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="take both files from one checkpoint"):
        Processor.from_folder(model_folder)
