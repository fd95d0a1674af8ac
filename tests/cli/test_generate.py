"""`onevision generate` from end to end, on a small random checkpoint made here."""

import dataclasses
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from onevision_jax.cli.main import main
from onevision_jax.convert import keymap
from onevision_jax.model import preset, to_hf
from onevision_jax.processor import Tokenizer
from onevision_jax.processor.tiny import train_tokenizer, write_processor_files


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """`hf/` (a Hugging Face folder), `ckpt/` (converted) and two pictures."""
    root = tmp_path_factory.mktemp("generate")
    folder = root / "hf"
    tokenizer = train_tokenizer(["What is shown? A chart of two bars."], num_merges=20)
    ids = write_processor_files(folder, tokenizer)
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
    assert main(["convert", "from-hf", str(folder), str(root / "ckpt")]) == 0
    for name, size in (("a.png", (90, 60)), ("b.png", (200, 57))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / name)
    return root


def ask(root, *words, checkpoint="hf", prompt="What is shown?"):
    fixed = ["generate", "--checkpoint", str(root / checkpoint), "--prompt", prompt]
    return main([*fixed, "--max-new-tokens", "9", *words])


def answer(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_json_line_and_stream_agree(root, capsys):
    pictures = ["--image", str(root / "a.png"), "--image", str(root / "b.png")]
    assert ask(root, *pictures, "--json") == 0
    line = answer(capsys)
    assert set(line) == {"prompt_token_ids", "token_ids", "text", "finish_reason"}
    tokenizer = Tokenizer.from_folder(root / "hf")
    pad = tokenizer.token_id("<|image_pad|>")
    # 90 x 60 becomes 84 x 56 pixels and 200 x 57 becomes 196 x 56: 3 x 2 and 7 x 2 tokens.
    assert line["prompt_token_ids"].count(pad) == 3 * 2 + 7 * 2
    assert len(line["token_ids"]) == 9 or line["finish_reason"] == "stop"
    assert line["text"] == tokenizer.decode(line["token_ids"], skip_special=True)
    assert ask(root, *pictures) == 0
    shown = capsys.readouterr()
    assert shown.out == line["text"] + "\n"
    assert "prompt tokens (20 of images), 9 generated" in shown.err


def test_folder_checkpoint_and_workdir_answer_alike(root, tmp_path, capsys):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "7").symlink_to(root / "ckpt")
    (tmp_path / "run" / "assets").symlink_to(root / "ckpt" / "assets")
    answers = []
    for place, name in ((root, "hf"), (root, "ckpt"), (tmp_path, "run")):
        assert ask(place, "--json", "--image", str(root / "a.png"), checkpoint=name) == 0
        answers.append(answer(capsys))
    assert answers[0] == answers[1] == answers[2]


def test_the_image_is_seen_and_the_seed_counts(root, capsys):
    seen = set()
    for words in ([], ["--seed", "1"], ["--seed", "2"]):
        hot = ["--temperature", "1", *words] if words else []
        assert ask(root, "--json", "--image", str(root / "a.png"), *hot) == 0
        seen.add(tuple(answer(capsys)["token_ids"]))
    assert ask(root, "--json", "--image", str(root / "b.png")) == 0
    seen.add(tuple(answer(capsys)["token_ids"]))
    assert len(seen) == 4, seen


def test_two_devices_answer_as_one(root, capsys):
    assert ask(root, "--json") == 0
    one = answer(capsys)
    assert ask(root, "--json", "--tensor", "2") == 0
    assert answer(capsys) == one


def bomb(path):
    """A PNG that says 30,000 x 30,000 and holds almost nothing."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        tagged = kind + body
        data += struct.pack(">I", len(body)) + tagged + struct.pack(">I", zlib.crc32(tagged))
    path.write_bytes(data)
    return path


def test_bad_input_is_one_sentence(root, tmp_path, capsys):
    (tmp_path / "cut.png").write_bytes((root / "a.png").read_bytes()[:400])
    (tmp_path / "text.png").write_text("no image")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "llama"}')
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (bare / name).write_bytes((root / "hf" / name).read_bytes())
    picture = ["--image", str(root / "a.png")]
    table = [
        (["--image", str(tmp_path / "none.png")], "hf", "none.png"),
        (["--image", str(tmp_path / "cut.png")], "hf", "cut.png"),
        (["--image", str(tmp_path / "text.png")], "hf", "text.png"),
        (["--image", str(bomb(tmp_path / "bomb.png"))], "hf", "bomb.png"),
        (["--prompt", "see <|image_pad|>"], "hf", "1 image placeholders"),
        ([*picture, "--prompt", "see <|image_pad|>"], "hf", "2 image placeholders"),
        (["--temperature", "-1"], "hf", "temperature is -1.0"),
        (["--top-p", "2"], "hf", "top_p is 2.0"),
        (["--max-new-tokens", "0"], "hf", "max_new_tokens is 0"),
        (["--tensor", "99"], "hf", "--tensor is 99"),
        ([], "nowhere", "nowhere"),
    ]
    for words, checkpoint, expected in table:
        assert ask(root, *words, checkpoint=checkpoint) == 1, words
        said = capsys.readouterr().err.strip()
        assert expected in said, (words, said)
        assert len(said.splitlines()) == 1, said
        assert "internal error" not in said
    for folder, expected in ((other, "model_type is 'llama'"), (bare, "tokenizer.json")):
        assert main(["generate", "--checkpoint", str(folder), "--prompt", "x"]) == 1
        said = capsys.readouterr().err.strip()
        assert expected in said
        assert len(said.splitlines()) == 1, said


def test_bad_usage_exits_with_2(root, capsys):
    assert main(["generate", "--checkpoint", str(root / "hf")]) == 2
    assert "--prompt" in capsys.readouterr().err
    assert ask(root, "--imge", "x.png") == 2
    assert "did you mean --image" in capsys.readouterr().err
    assert ask(root, "--dtype", "int8") == 2
