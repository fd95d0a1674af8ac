"""The files beside the weights: config, tokenizer, processor, template, generation settings.

They travel byte for byte in both directions. Weights in any format stay behind, and so do hidden
files and folders other than the one in which transformers keeps further chat templates.
"""

import shutil
from pathlib import Path

from onevision_jax.errors import InputError

WEIGHTS = (
    ".safetensors",
    ".safetensors.index.json",
    ".bin",
    ".bin.index.json",
    ".pt",
    ".pth",
    ".ckpt",
    ".pkl",
    ".gguf",
    ".h5",
    ".msgpack",
    ".onnx",
)
_FOLDERS = ("additional_chat_templates",)


def copy_assets(source: Path, target: Path) -> None:
    """Copies what is not weights; `target` is made when it does not exist.

    Raises InputError for a link that leads out of the folder (and out of a Hugging Face cache).
    """
    target.mkdir(exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.is_file() and not file.name.startswith(".") and not file.name.endswith(WEIGHTS):
            _copy(file, target / file.name, source)
        elif file.is_dir() and not file.is_symlink() and file.name in _FOLDERS:
            (target / file.name).mkdir()
            for template in sorted(file.glob("*.jinja")):
                _copy(template, target / file.name / template.name, source)


def _copy(file: Path, target: Path, source: Path) -> None:
    # A folder from elsewhere may hold `README.md -> ~/.ssh/id_rsa`, to be published with the model.
    real, home = file.resolve(), source.resolve()
    blobs = home.parent.parent / "blobs"  # where the Hugging Face cache keeps what it links to
    if file.is_symlink() and not (real.is_relative_to(home) or real.parent == blobs):
        raise InputError(f"{file} links to {real}, outside its folder; put a copy in its place")
    shutil.copyfile(real, target)
