"""Files of object stores, through fsspec (the extra `remote`): gs://, s3://, memory://.

A data file is copied once into a cache folder ($ONEVISION_CACHE, else ~/.cache/onevision) under
what the store says of its content (size and etag), and read there: random access is that of a local
file. Images are read one by one, when they are asked for. A `file://` path is the local path.

Objects are taken not to change while a process runs; a new process asks the store again.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from onevision_jax.errors import InputError

SCHEMES = ("gs", "gcs", "s3", "s3a", "memory")
# What a store says of an object's content, the most telling first.
_STAMPS = ("etag", "ETag", "md5Hash", "crc32c", "generation", "mtime", "LastModified", "created")
_CHUNK = 1 << 23
_SHOW_FROM = 64 * 2**20  # bytes from which a copy says how far it is


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path names an object store. Raises InputError for a scheme that none of them is."""
    scheme, separator, _ = os.fspath(path).partition("://")
    if not separator or "/" in scheme:
        return False
    if scheme not in SCHEMES or "::" in os.fspath(path):
        raise InputError(
            f"{os.fspath(path)!r} is no path that is read here; give a local path, "
            f"file:///PATH, or one of {', '.join(f'{name}://' for name in SCHEMES)}"
        )
    return True


def plain(path: str | os.PathLike[str]) -> str:
    """The path, without `file://` before it."""
    text = os.fspath(path)
    if not text.startswith("file://"):
        return text
    if not text.startswith("file:///"):
        raise InputError(f"{text!r} names a host; give file:///PATH of this machine")
    return text.removeprefix("file://")


def filesystem(path: str) -> tuple[Any, str]:
    """(fsspec's file system, path in it)."""
    # Else gcsfs asks for the bucket's type before every read, over again where it may not know it.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        core = importlib.import_module("fsspec.core")
    except ImportError:
        raise InputError(
            f"reading {path!r} needs fsspec; run pip install 'onevision-jax[remote]'"
        ) from None
    try:
        return core.url_to_fs(path)
    except ImportError as error:
        raise InputError(
            f"reading {path!r} needs a package that is not installed ({error}); "
            "run pip install 'onevision-jax[remote]'"
        ) from None


@contextlib.contextmanager
def asking(path: str) -> Iterator[None]:
    """What a store answers instead of data becomes an InputError: each store has its own errors."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"data file {path!r} does not exist; check the path") from None
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path!r} cannot be reached ({type(error).__name__}: {said}); check the name, the "
            "network and the credentials"
        ) from None


def parent(path: str) -> str:
    """The folder a file lies in, local or remote."""
    return path.rpartition("/")[0] if is_remote(path) else str(Path(path).parent)


def join(folder: str | os.PathLike[str], name: str) -> str:
    """A name below a folder, local or remote."""
    text = os.fspath(folder)
    return f"{text.rstrip('/')}/{name}" if is_remote(text) else os.path.join(text, name)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a folder, local or remote."""
    text = os.fspath(path)
    if not is_remote(text):
        return os.path.isdir(text)
    return _kind(text) == "directory"


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file, local or remote."""
    text = os.fspath(path)
    if not is_remote(text):
        return os.path.isfile(text)
    return _kind(text) == "file"


def _kind(path: str) -> str | None:
    """Whether it is a "file" or a "directory"; None = neither. What is forbidden is an error."""
    system, inside = filesystem(path)
    with asking(path):
        try:
            return system.info(inside)["type"]
        except FileNotFoundError:
            return None


def list_below(folder: str) -> list[str]:
    """The files of a remote folder and of those in it, sorted, hidden ones left out."""
    system, inside = filesystem(folder)
    with asking(folder):
        found = system.find(inside)
    base = inside.rstrip("/") + "/"
    names = (name.removeprefix(base) for name in found if name.startswith(base))
    shown = (name for name in names if not any(part[:1] == "." for part in name.split("/")))
    return [join(folder, name) for name in sorted(shown)]


def matches(pattern: str) -> list[str]:
    """The remote files that a pattern matches, sorted, hidden ones left out."""
    system, inside = filesystem(pattern)
    with asking(pattern):
        found = system.glob(inside, detail=True)
    files = [name for name, info in found.items() if info["type"] == "file"]
    shown = [name for name in files if not name.rpartition("/")[2].startswith(".")]
    return sorted(system.unstrip_protocol(name) for name in shown)


def read_below(name: str, folder: str, most: int) -> bytes:
    """An object below a remote folder, `most` + 1 bytes of it at most; the name is checked already.

    Raises FileNotFoundError, and OSError with errno EIO for what only fails now.
    """
    system, inside = filesystem(folder)
    path = f"{inside.rstrip('/')}/{name}"
    try:
        return system.cat_file(path, start=0, end=most + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"{join(folder, name)} does not exist") from None
    except Exception as error:
        said = f"{join(folder, name)}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise OSError(errno.EIO, said) from None


class Status(NamedTuple):
    """What a store says of an object."""

    size: int
    content: str  # changes when the content does


@functools.lru_cache(maxsize=4096)
def status(path: str) -> Status:
    """Asked once in a process."""
    system, inside = filesystem(path)
    with asking(path):
        info = system.info(inside)
        if info.get("type") != "file":
            raise InputError(f"{path!r} is no file; name a file, a folder or a pattern")
        said = next((f"{name} {info[name]}" for name in _STAMPS if info.get(name)), "")
        return Status(int(info["size"]), said)


def cache_folder() -> Path:
    """Where copies of remote files lie."""
    named = os.environ.get("ONEVISION_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "onevision"


def local_copy(path: str) -> str:
    """The path of a local file; of a remote one, that of its copy, made if need be.

    One process copies, others that ask wait for it. Raises InputError when the file cannot be had.
    """
    path = plain(path)
    if not is_remote(path):
        return path
    size, content = status(path)
    key = hashlib.sha256(f"{path}\0{size}\0{content}".encode()).hexdigest()[:32]
    name = path.rpartition("/")[2]
    target = cache_folder() / "files" / key / name
    if not target.is_file():
        _fetch(path, size, target)
    return str(target)


def _fetch(path: str, size: int, target: Path) -> None:
    """Copies an object to where none is yet; the copy appears whole."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.is_file():
                return
            partial = target.with_name(f".{target.name}.partial")
            try:
                with partial.open("wb") as file:
                    _pour(path, size, file)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path!r} cannot be copied to {cache_folder()} ({error}); set ONEVISION_CACHE to a "
            f"folder with {size / 2**30:.1f} GiB of room"
        ) from None


def _pour(path: str, size: int, file: IO[bytes]) -> None:
    system, inside = filesystem(path)
    done, shown, began = 0, 0, time.monotonic()
    while done < size:
        with asking(path):
            piece = system.cat_file(inside, start=done, end=min(done + _CHUNK, size))
        if not piece:
            break
        file.write(piece)
        done += len(piece)
        if size >= _SHOW_FROM and (tenth := done * 10 // size) > shown:
            shown = tenth
            rate = done / 2**20 / max(time.monotonic() - began, 1e-9)
            print(f"copying {path}: {shown}0 %, {rate:.0f} MiB/s", file=sys.stderr, flush=True)
    if done != size:
        raise InputError(f"{path!r} gave {done} of {size} bytes; it changed meanwhile: start again")


@contextlib.contextmanager
def sent_to(folder: str) -> Iterator[Path]:
    """A local folder whose files go to a remote one at the end, `card.json` last.

    Stores have no rename: what has a card is whole. Raises InputError when there are files already.
    What was sent before a failure is removed.
    """
    system, inside = filesystem(folder)
    with asking(folder):
        there = system.isfile(inside) or (system.exists(inside) and system.find(inside))
    if there:
        raise InputError(f"the folder {folder} is not empty; choose another or remove it")
    scratch = cache_folder() / "outgoing"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as made:
        local = Path(made) / "new"
        yield local
        sent: list[str] = []
        try:
            for file in sorted(_files(local), key=lambda file: (file.name == "card.json", file)):
                target = join(folder, file.relative_to(local).as_posix())
                sent.append(filesystem(target)[1])
                with asking(target):
                    system.put_file(str(file), sent[-1])
        except BaseException:
            for target in sent:
                with contextlib.suppress(Exception):
                    system.rm_file(target)
            raise


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
