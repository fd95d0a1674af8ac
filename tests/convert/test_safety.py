"""A target is whole or absent: killed, full, forbidden, taken."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from onevision_jax.checkpoint import identify
from onevision_jax.convert import from_hf, to_hf
from onevision_jax.errors import InputError


@pytest.fixture
def converted(folders, sample) -> Path:
    from_hf(sample, folders.root / "ckpt")
    return folders.root / "ckpt"


def call(direction, source, target):
    {"from-hf": from_hf, "to-hf": to_hf}[direction](source, target)


@pytest.mark.parametrize("direction", ["from-hf", "to-hf"])
def test_a_taken_target_is_refused(folders, sample, converted, direction):
    source = sample if direction == "from-hf" else converted
    target = folders.root / "taken"
    target.mkdir()
    call(direction, source, target)  # empty: welcome
    before = {p: p.read_bytes() for p in target.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="taken is not empty; give a new folder, or --force"):
        call(direction, source, target)
    assert {p: p.read_bytes() for p in target.rglob("*") if p.is_file()} == before
    with pytest.raises(InputError, match="is not a folder"):
        call(direction, source, sample / "config.json")


def test_force_replaces_the_same_kind_only(folders, sample, converted):
    config = folders.config(tied=False)
    other = folders.write("other", config, folders.tensors(config))
    from_hf(other, converted, force=True)
    to_hf(converted, folders.root / "out")
    assert "lm_head.weight" in folders.read(folders.root / "out")
    from_hf(sample, converted, force=True)
    to_hf(converted, folders.root / "out", force=True)
    assert "lm_head.weight" not in folders.read(folders.root / "out")
    diary = folders.root / "diary"
    diary.mkdir()
    (diary / "monday.txt").write_text("dear diary")
    for direction, source in ((from_hf, sample), (to_hf, converted)):
        with pytest.raises(InputError, match="diary holds something else"):
            direction(source, diary, force=True)
    assert [p.name for p in diary.iterdir()] == ["monday.txt"]


def test_force_never_replaces_the_source(folders, sample, converted):
    before = sorted(p.name for p in folders.root.iterdir())
    with pytest.raises(InputError, match="holds something else"):
        from_hf(sample, sample, force=True)
    with pytest.raises(InputError, match="holds something else"):
        to_hf(converted, converted, force=True)
    assert sorted(p.name for p in folders.root.iterdir()) == before


def test_a_failed_replacement_keeps_the_old(folders, sample, converted):
    class Stop(Exception):
        pass

    def stop(done, total, name):
        if done > total / 2:
            raise Stop

    before = {p: p.read_bytes() for p in converted.rglob("*") if p.is_file()}
    with pytest.raises(Stop):
        from_hf(sample, converted, force=True, progress=stop)
    assert {p: p.read_bytes() for p in converted.rglob("*") if p.is_file()} == before
    with pytest.raises(Stop):
        to_hf(converted, folders.root / "out", progress=stop)
    assert sorted(p.name for p in folders.root.iterdir()) == ["ckpt", "sample"]


CHILD = """
import os, resource, shutil, signal, sys, types
from onevision_jax.convert import from_hf, to_hf
direction, source, target, how = sys.argv[1:]
if how == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
if how == "blind":
    shutil.disk_usage = lambda path: types.SimpleNamespace(free=10**12)
def die(done, total, name):
    if done > total / 2:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
convert = from_hf if direction == "from-hf" else to_hf
try:
    convert(source, target, progress=die)
except Exception as error:
    print(type(error).__name__, error)
    sys.exit(1)
"""


def run_child(*args):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize("direction", ["from-hf", "to-hf"])
def test_killed_in_the_middle(folders, sample, converted, direction):
    source = sample if direction == "from-hf" else converted
    target = folders.root / "new"
    done = run_child(direction, source, target, "kill")
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    left = folders.root / ".new.incomplete"
    for folder in (left, *(p for p in left.rglob("*") if p.is_dir())):
        with pytest.raises(InputError):
            identify(folder)
    call(direction, source, target)  # the next attempt clears the remains
    assert target.is_dir()
    assert not left.exists()


@pytest.mark.parametrize("direction", ["from-hf", "to-hf"])
def test_a_file_that_must_not_grow(folders, sample, converted, direction):
    source = sample if direction == "from-hf" else converted
    done = run_child(direction, source, folders.root / "new", "limit")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("InputError ")
    assert "new cannot be written: a file would be larger than the system allows" in done.stdout
    assert sorted(p.name for p in folders.root.iterdir()) == ["ckpt", "sample"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB, where mounting one is permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(place)]
    if not shutil.which("mount") or subprocess.run(options, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("direction", ["from-hf", "to-hf"])
@pytest.mark.parametrize(
    ("how", "words"),
    [("live", "GB, its disk has 0.00 GB free"), ("blind", "cannot be written: the disk is full")],
)
def test_full_disk(folders, sample, converted, direction, how, words, small_disk):
    """Seen before the start; and met while writing, as when others fill the disk meanwhile."""
    source = sample if direction == "from-hf" else converted
    done = run_child(direction, source, small_disk / "new", how)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("InputError ")
    assert words in done.stdout
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("direction", ["from-hf", "to-hf"])
def test_unwritable_target(folders, sample, converted, direction):
    source = sample if direction == "from-hf" else converted
    with pytest.raises(InputError, match=r"cannot be made: Not a directory: .*config.json"):
        call(direction, source, sample / "config.json" / "new")
    if os.geteuid() == 0 and Path("/sys/kernel").is_dir():  # root may write everywhere else
        with pytest.raises(InputError, match=r"new cannot be (made|written)"):
            call(direction, source, Path("/sys/kernel/new"))
    locked = folders.root / "locked"
    locked.mkdir(mode=0o555)
    if os.geteuid() != 0:
        with pytest.raises(InputError, match="new cannot be written: permission is denied"):
            call(direction, source, locked / "new")
    assert list(locked.iterdir()) == []


def test_two_writers_of_one_target(folders, sample):
    target = folders.root / "new"
    refused = []

    def intrude(done, total, name):
        with pytest.raises(InputError, match="new is being written by another process"):
            from_hf(sample, target)
        refused.append(name)

    from_hf(sample, target, progress=intrude)
    assert refused
    assert target.is_dir()


def test_parents_made_for_a_target_go_again(folders, sample):
    (sample / "model.safetensors").unlink()
    with pytest.raises(InputError):
        from_hf(sample, folders.root / "a" / "b" / "new")
    assert not (folders.root / "a").exists()
