"""What kind of folder a path is: the one place that decides.

    CKPT/model/ CKPT/assets/                       a converted checkpoint
    D/checkpoints/STEP/model/ ... D/assets/        a workdir of a training run, and its steps
    config.json, model*.safetensors, ...           a Hugging Face folder

`model/` is an Orbax tree; `assets/` holds config.json, tokenizer and processor files as they came.
A step being written has a name that is no number, so it is never taken for a finished one.
"""

import dataclasses
import os
from pathlib import Path

from onevision_jax.errors import InputError

MODEL = "model"
ASSETS = "assets"
STEPS = "checkpoints"
TREE_FILE = "_METADATA"  # in every Orbax tree


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint of ours."""

    path: Path  # the folder that holds `model/`
    assets: Path
    step: int | None = None  # of a training run


@dataclasses.dataclass(frozen=True)
class HuggingFaceFolder:
    """A folder with config.json and safetensors."""

    path: Path

    @property
    def assets(self) -> Path:
        return self.path


def identify(path: str | os.PathLike[str]) -> Checkpoint | HuggingFaceFolder:
    """What the folder is; raises InputError saying what was found and what was expected."""
    path = Path(path)
    if not path.is_dir():
        state = "is a file, not a folder" if path.exists() else "does not exist"
        raise InputError(
            f"{path} {state}; give a checkpoint, a workdir or a Hugging Face folder on this machine"
        )
    if is_tree(path / MODEL):
        return _at(path)
    if (path / STEPS).is_dir():
        return _latest(path)
    if (path / "config.json").is_file():
        return HuggingFaceFolder(path)
    if is_tree(path):
        raise InputError(f"{path} is the inside of a checkpoint; give {path.absolute().parent}")
    names = sorted(entry.name for entry in path.iterdir())
    found = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "nothing"
    raise InputError(
        f"{path} holds {found}; expected {MODEL}/ (a checkpoint), {STEPS}/ (a workdir) or "
        "config.json (a Hugging Face folder)"
    )


def resolve(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint at a path; a workdir gives its latest step.

    Raises InputError for everything else, a Hugging Face folder included.
    """
    found = identify(path)
    if isinstance(found, HuggingFaceFolder):
        raise InputError(
            f"{path} is a Hugging Face folder, not a checkpoint; convert it first with "
            "`onevision convert from-hf`"
        )
    return found


def is_tree(path: Path) -> bool:
    """Whether the folder is a finished Orbax tree."""
    return (path / TREE_FILE).is_file()


def _at(path: Path) -> Checkpoint:
    absolute = path.absolute()
    is_step = absolute.name.isdecimal() and absolute.parent.name == STEPS
    assets = path / ASSETS
    if is_step and not assets.is_dir():
        assets = absolute.parent.parent / ASSETS
    if not assets.is_dir():
        raise InputError(f"{path} has no {ASSETS}/ with the model's config.json; convert it again")
    return Checkpoint(path, assets, int(absolute.name) if is_step else None)


def _latest(workdir: Path) -> Checkpoint:
    folder = workdir / STEPS
    steps = [
        int(entry.name)
        for entry in folder.iterdir()
        if entry.name.isdecimal() and is_tree(entry / MODEL)
    ]
    if not steps:
        raise InputError(f"{workdir} has no finished checkpoint in {STEPS}/ yet")
    return _at(folder / str(max(steps)))
