"""Settings from files and overrides: what is right arrives, what is wrong is one sentence."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest

from onevision_jax import config
from onevision_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    path: str
    weight: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    peak_lr: float = 1e-5
    warmup_steps: int = 0
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float | None = 1.0

    def __post_init__(self):
        if self.warmup_steps < 0:
            raise InputError(f"warmup_steps is {self.warmup_steps}; give 0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    checkpoint: str
    optimizer: Optimizer = Optimizer()
    second: Optimizer | None = None
    freeze: tuple[str, ...] = ()
    ladder: tuple[int, ...] = (64, 256)
    sources: tuple[Source, ...] = ()
    dtype: Any = np.float32
    shuffle: bool = True
    seed: int | None = None
    rules: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


@pytest.fixture
def file(tmp_path):
    """Writes the body of get_config() and gives the path."""

    def write(*lines):
        body = "".join(f"    {line}\n" for line in lines)
        text = (
            "from onevision_jax.config import defaults\n"
            f"from {__name__} import Optimizer, Run, Source\n\n\n"
            f"def get_config():\n    config = defaults(Run, checkpoint='a')\n{body}"
            "    return config\n"
        )
        path = tmp_path / "trial.py"
        path.write_text(text)
        return path

    return write


def test_a_file_says_only_what_differs(file):
    path = file(
        "config.optimizer.peak_lr = 1",
        "config.freeze = ['vision']",
        "config.sources = (defaults(Source, path='x'), Source(path='y', weight=2.0))",
        "config.dtype = 'bfloat16'",
        "config.second = defaults(Optimizer, warmup_steps=3)",
        "config.optimizer.clip = None",
    )
    got = config.load(Run, path, [])
    assert got == Run(
        checkpoint="a",
        optimizer=Optimizer(peak_lr=1.0, clip=None),
        second=Optimizer(warmup_steps=3),
        freeze=("vision",),
        sources=(Source(path="x"), Source(path="y", weight=2.0)),
        dtype=np.dtype("bfloat16"),
    )
    assert isinstance(got.optimizer.peak_lr, float)


def test_overrides_win_and_have_the_type_of_the_field(file):
    overrides = [
        "checkpoint=b=c",
        "optimizer.peak_lr=3e-4",
        "optimizer.warmup_steps=7",
        "optimizer.schedule=constant",
        "optimizer.clip=None",
        "second.warmup_steps=2",
        "freeze=vision/blocks,embed",
        "ladder=(8, 16)",
        "dtype=bfloat16",
        "shuffle=false",
        "seed=5",
        'rules={"embed": null}',
    ]
    assert config.load(Run, file(), overrides) == Run(
        checkpoint="b=c",
        optimizer=Optimizer(peak_lr=3e-4, warmup_steps=7, schedule="constant", clip=None),
        second=Optimizer(warmup_steps=2),
        freeze=("vision/blocks", "embed"),
        ladder=(8, 16),
        dtype=np.dtype("bfloat16"),
        shuffle=False,
        seed=5,
        rules={"embed": None},
    )
    assert config.load(Run, file("config.ladder = (1,)"), ["ladder=", "seed=none"]).ladder == ()


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("optimizr.peak_lr=1", "there is no setting optimizr; did you mean optimizer?"),
        ("optimizer.peek_lr=1", "setting optimizer.peek_lr; did you mean optimizer.peak_lr?"),
        ("zzz=1", "there is no setting zzz; there are checkpoint, optimizer"),
        ("optimizer.peak_lr=fast", "optimizer.peak_lr is 'fast', expected a number"),
        ("optimizer.warmup_steps=1.5", "optimizer.warmup_steps is '1.5', expected a whole number"),
        ("optimizer.schedule=linear", "is 'linear', expected 'cosine' or 'constant'"),
        ("shuffle=perhaps", "shuffle is 'perhaps', expected true or false"),
        ("ladder=1,x", "ladder[1] is 'x', expected a whole number"),
        ("dtype=float33", "dtype is 'float33', expected a dtype such as float32"),
        ("checkpoint.x=1", "checkpoint is one value and has no setting x"),
        ("optimizer=adam", "optimizer is a group of settings; set one of peak_lr"),
        ("seed", "--config.seed has no value; write --config.seed=VALUE"),
        ("optimizer.warmup_steps=-1", "warmup_steps is -1; give 0 or more"),
    ],
)
def test_bad_overrides_are_one_sentence(file, override, answer):
    with pytest.raises(InputError) as caught:
        config.load(Run, file(), [override])
    assert answer in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("config.optimizer.peek_lr = 1.0", 'line 7: Key "peek_lr" does not exist'),
        ("config.optimizer.peek_lr = 1.0", "locked; did you mean peak_lr?"),
        ("config.zzz = 1.0", 'line 7: Key "zzz" does not exist'),
        ("config.optimizer.peak_lr = 'fast'", "Could not override field 'peak_lr'"),
        ("config.checkpoint = None", "checkpoint is not set; give --config.checkpoint=VALUE"),
        ("config.optimizer.schedule = 'linear'", "optimizer.schedule is 'linear', expected 'cos"),
        ("config.freeze = (1,)", "freeze[0] is 1, expected text"),
        ("config.sources = ({'pth': 'x'},)", "no setting sources[0].pth; did you mean sources[0]."),
        ("config.optimizer.warmup_steps = -1", "warmup_steps is -1; give 0 or more"),
        ("return 3", "get_config() returned a int; start from"),
        ("1 / 0", "line 7: division by zero"),
    ],
)
def test_bad_files_are_one_sentence_naming_file_and_field(file, line, answer):
    path = file(line)
    with pytest.raises(InputError) as caught:
        config.load(Run, path, [])
    assert answer in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_configs(tmp_path):
    with pytest.raises(InputError, match="does not exist; give a config file"):
        config.load(Run, tmp_path / "missing.py", [])
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="is no Python file"):
        config.load(Run, tmp_path / "a.txt", [])
    (tmp_path / "b.py").write_text("x = 1\n")
    with pytest.raises(InputError, match="has no function get_config"):
        config.load(Run, tmp_path / "b.py", [])
    (tmp_path / "c.py").write_text("x = 1\ny = (\n")
    with pytest.raises(InputError, match=r"c.py, line 2: '\(' was never closed"):
        config.load(Run, tmp_path / "c.py", [])


def test_the_effective_settings_are_shown_and_stored(tmp_path):
    run = Run(checkpoint="a", optimizer=Optimizer(peak_lr=1e-3), dtype=np.dtype("bfloat16"))
    lines = config.describe(run).split("\n")
    assert "* optimizer.peak_lr = 0.001" in lines
    assert "  optimizer.warmup_steps = 0" in lines
    assert "* dtype = 'bfloat16'" in lines
    config.write(run, tmp_path / "config.json")
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["dtype"] == "bfloat16"
    assert stored["ladder"] == [64, 256]
    assert stored["optimizer"]["peak_lr"] == 1e-3
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
