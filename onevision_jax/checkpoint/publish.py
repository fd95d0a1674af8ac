"""Folders that appear whole or not at all, and sentences for disks that refuse.

Content is written to a hidden neighbour of the target, on the same file system, and renamed when it
is complete. The neighbour is locked while in use and removed on failure; one left behind by a
killed process is removed by the next attempt.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from onevision_jax.errors import InputError

_REFUSALS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than the system allows",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "the file system is read-only",
}


@contextlib.contextmanager
def new_folder(
    target: Path, *, replaceable: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """Yields a folder to fill, which becomes `target` when the block ends without an error.

    The yielded folder's parent is for scratch files and vanishes with the block. A target that
    exists and is not empty is refused, unless `replaceable(target)` says it may be replaced.
    Raises InputError when the target is refused or cannot be written.
    """
    check_target(target, replaceable)
    work = target.absolute().parent / f".{target.absolute().name}.incomplete"
    with _parents(work, target), explained(target), _locked(work, target):
        new = work / "new"
        new.mkdir()
        yield new
        _flush(new)
        _replace(new, target, work / "old")


def check_target(target: Path, replaceable: Callable[[Path], bool] | None = None) -> None:
    """Raises InputError when the target is taken."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"{target} is not a folder; give a new folder")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if replaceable is None:
        raise InputError(f"{target} is not empty; give a new folder, or --force to replace it")
    if not replaceable(target):
        raise InputError(
            f"{target} holds something else than what is to be written; it will not be replaced, "
            "remove it yourself"
        )


def check_space(target: Path, num_bytes: int) -> None:
    """Raises InputError when the target's file system has fewer bytes free."""
    existing = next(p for p in target.absolute().parents if p.exists())
    free = shutil.disk_usage(existing).free
    if free < num_bytes:
        raise InputError(
            f"{target} needs {num_bytes / 1e9:.2f} GB, its disk has {free / 1e9:.2f} GB free"
        )


def reserve(handle: int, num_bytes: int) -> None:
    """Gives an open file its final size and, where the system can, its blocks.

    A full disk is then an error here; met through a memory map it would kill the process.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        try:
            os.posix_fallocate(handle, 0, num_bytes)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    os.ftruncate(handle, num_bytes)


@contextlib.contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turns an OSError of a full or forbidden disk inside the block into an InputError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise InputError(
            f"{target} cannot be written: {_REFUSALS[error.errno]}; nothing was left behind"
        ) from error


@contextlib.contextmanager
def _parents(work: Path, target: Path) -> Iterator[None]:
    """The work folder and those above it; what was made here is gone again when the block fails."""
    missing = [parent for parent in work.parents if not parent.exists()]
    try:
        for folder in reversed(missing):
            folder.mkdir()
        work.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{target} cannot be made: {error.strerror}: {error.filename}; choose another place"
        ) from None
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in missing:
                folder.rmdir()
        raise


@contextlib.contextmanager
def _locked(work: Path, target: Path) -> Iterator[None]:
    """An empty folder of our own, gone at the end. The lock dies with the process, not the file."""
    handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{target} is being written by another process") from None
        try:
            for left in work.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(handle)


def _flush(folder: Path) -> None:
    """Every file onto the disk: a power cut after the rename must find them whole."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _replace(new: Path, target: Path, old: Path) -> None:
    """Puts `new` at `target`; what was there moves aside first and dies with the work folder."""
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
