"""What kind of folder a path is."""

import pytest

from onevision_jax.checkpoint import Checkpoint, HuggingFaceFolder, identify, resolve
from onevision_jax.errors import InputError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


@pytest.fixture
def workdir(tmp_path):
    for step in (2, 10, 9):
        touch(tmp_path / f"run/checkpoints/{step}/model/_METADATA")
    touch(tmp_path / "run/checkpoints/11/model/half")  # no tree yet
    touch(tmp_path / "run/checkpoints/12.orbax-checkpoint-tmp-0/model/_METADATA")
    touch(tmp_path / "run/assets/config.json")
    return tmp_path / "run"


def test_workdir_is_its_latest_finished_step(workdir):
    latest = workdir / "checkpoints" / "10"
    assert resolve(workdir) == Checkpoint(latest, workdir / "assets", 10)
    assert resolve(latest) == Checkpoint(latest, workdir / "assets", 10)
    assert resolve(str(workdir / "checkpoints" / "2")).step == 2


def test_relative_paths(workdir, monkeypatch):
    monkeypatch.chdir(workdir / "checkpoints" / "9")
    found = resolve(".")
    assert (found.step, found.assets) == (9, workdir / "assets")


def test_converted_checkpoint_and_hugging_face_folder(tmp_path):
    touch(tmp_path / "ckpt/model/_METADATA")
    touch(tmp_path / "ckpt/assets/config.json")
    assert resolve(tmp_path / "ckpt") == Checkpoint(tmp_path / "ckpt", tmp_path / "ckpt/assets")
    touch(tmp_path / "hf/config.json")
    found = identify(tmp_path / "hf")
    assert found == HuggingFaceFolder(tmp_path / "hf")
    assert found.assets == tmp_path / "hf"
    with pytest.raises(InputError, match="hf is a Hugging Face folder, not a checkpoint; convert"):
        resolve(tmp_path / "hf")


def test_everything_else_says_what_was_found(tmp_path, workdir):
    for name in "abcdefg":
        touch(tmp_path / "odd" / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "new" / "checkpoints").mkdir(parents=True)
    touch(tmp_path / "bare/model/_METADATA")
    sentences = {
        "nothing": "nothing does not exist; give",
        "odd/a": "a is a file, not a folder",
        "odd": r"odd holds a, b, c, d, e, …; expected model/ \(a checkpoint\)",
        "empty": "empty holds nothing; expected",
        "new": "new has no finished checkpoint in checkpoints/ yet",
        "bare": "bare has no assets/ with the model's config.json",
        "bare/model": "model is the inside of a checkpoint; give .*bare$",
    }
    for path, sentence in sentences.items():
        with pytest.raises(InputError, match=sentence):
            identify(tmp_path / path)
