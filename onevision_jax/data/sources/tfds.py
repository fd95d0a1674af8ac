"""Data sets of TensorFlow Datasets by number, through `tfds.data_source` (the extra `tfds`).

`NAME[/CONFIG][/VERSION][:SPLIT]` is a data set below $TFDS_DATA_DIR (else ~/tensorflow_datasets),
FOLDER[:SPLIT] one that lies elsewhere; SPLIT is `train` unless said, and may be a slice such as
`train[:10%]`. It must be prepared, and as ArrayRecord: `tfds build NAME
--file_format=array_record`. Reading runs no code of the data set and needs no tensorflow.

Two layouts are known by their features: CLEVR's, each question about a picture a record of its own,
and that of our own builder, `data.tfds_builder`. How many questions each picture has is counted
once, in one pass over the files, and kept in the cache folder of `data.remote`.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from onevision_jax.data.record import Record, from_row, parse_row
from onevision_jax.data.remote import cache_folder, is_remote, plain
from onevision_jax.data.source import Place, Rejected
from onevision_jax.data.sources.files import place
from onevision_jax.errors import InputError

PREFIX = "tfds:"
_SPEC = re.compile(r"(?P<name>.+?)(?::(?P<split>[A-Za-z_]\w*(?:\[[^\[\]]*\])?))?")
_NAME = re.compile(r"[a-z0-9_]+(/[\w.\-+]+){0,2}")
Layout = Literal["clevr", "records"]
FEATURES: dict[Layout, frozenset[str]] = {
    "clevr": frozenset(("image", "file_name", "objects", "question_answer")),
    "records": frozenset(("id", "question", "answer", "answer_kind", "provenance")),
}


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """The records of one split of a prepared data set."""

    name: str  # of the data set, or its folder
    split: str = "train"

    def __post_init__(self) -> None:
        self._opened()

    def _opened(self) -> "_Opened":
        return _open(os.getpid(), self.name, self.split)

    @functools.cached_property
    def _ends(self) -> np.ndarray | None:
        """How many questions there are up to each picture; None: one each."""
        opened = self._opened()
        return _question_ends(opened) if opened.layout == "clevr" else None

    def __len__(self) -> int:
        if self._ends is None:
            return len(self._opened().data)
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Record:
        example, number = self._find(index)
        where = self.locate(index)
        opened = self._opened()
        try:
            row = opened.data[example]
        except Exception as error:  # The library's: a damaged chunk or example.
            said = " ".join(str(error).split())[:200]
            raise Rejected("row", f"{where}: cannot be read ({said})") from None
        try:
            if opened.layout == "clevr":
                return clevr_record(row, number, opened.objects)
            return own_record(row)
        except Rejected as rejected:
            raise Rejected(rejected.reason, f"{where}: {rejected}", rejected.id) from None
        except InputError as error:
            raise Rejected("row", f"{where}: {error}") from None

    def _find(self, index: int) -> tuple[int, int]:
        """(example, question in it)."""
        if self._ends is not None:
            return place(self._ends, index)
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return index, 0

    def locate(self, index: int) -> Place:
        """The data set and example of a number."""
        example, number = self._find(index)
        question = "" if self._ends is None else f" question {number + 1}"
        return Place(f"{PREFIX}{self.name}:{self.split}", f"example {example + 1}{question}")

    def fingerprint(self) -> dict[str, int]:
        return {"records": len(self), "bytes": self._opened().num_bytes}

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "split": self.split}  # A worker opens the files again by itself.


def open_tfds(spec: str) -> TfdsSource:
    """The source of a spec (see above), with or without `tfds:` before it; raises InputError."""
    found = _SPEC.fullmatch(spec.removeprefix(PREFIX))
    if found is None:
        raise InputError(f"{spec!r} names no data set; give NAME, NAME:SPLIT or FOLDER:SPLIT")
    return TfdsSource(plain(found["name"]), found["split"] or "train")


class _Opened(NamedTuple):
    """What a process keeps of a data set."""

    data: Any  # tfds's random-access source, images as their encoded bytes
    layout: Layout
    objects: Mapping[str, Any]  # CLEVR: the class labels of an object, by name
    num_bytes: int
    folder: str


@functools.lru_cache(maxsize=16)
def _open(process: int, name: str, split: str) -> _Opened:
    del process  # Only part of the key: a forked process opens its own.
    tfds = import_tfds()
    folder = _folder(tfds, name)
    _check_classes(folder)
    with _explained(f"{PREFIX}{name}:{split}"):
        builder = tfds.builder_from_directory(folder)
        features = builder.info.features
        layout = _layout(set(features))
        if layout is None:
            raise InputError(
                f"{PREFIX}{name} has the features {', '.join(sorted(features))}; read are those "
                "of CLEVR 3.1.0 and of our builder r1_onevision"
            )
        decoders = {"image": tfds.decode.SkipDecoding()} if "image" in features else None
        data = builder.as_data_source(split=split, decoders=decoders)
        objects = features["objects"].feature if layout == "clevr" else {}
        # Of the whole split, if a slice of it is read: the number of records tells slices apart.
        whole = builder.info.splits[split.partition("[")[0]].num_bytes
        return _Opened(data, layout, objects, int(whole), str(folder))


def _layout(features: set[str]) -> Layout | None:
    return next((layout for layout, need in FEATURES.items() if need <= features), None)


def import_tfds() -> Any:
    """The module tensorflow_datasets; raises InputError where it is not installed."""
    try:
        return importlib.import_module("tensorflow_datasets")
    except ImportError:
        raise InputError(
            "TFDS data sets need tensorflow-datasets; run pip install 'onevision-jax[tfds]'"
        ) from None


def _folder(tfds: Any, name: str) -> str:
    """The folder of a prepared data set: the one given, or of the newest version of a name."""
    if is_remote(name) or os.path.isdir(name):
        return name
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is neither a folder nor the name of a data set")
    base, *rest = name.split("/")
    version = rest.pop() if rest and re.fullmatch(r"\d+\.\d+\.\d+", rest[-1]) else None
    full = "/".join([base, *rest]) + (f":{version}" if version else "")
    reading = importlib.import_module("tensorflow_datasets.core.read_only_builder")
    with contextlib.suppress(tfds.core.DatasetNotFoundError):
        return str(reading.builder_from_files(full).data_dir)
    raise InputError(
        f"no prepared data set {name!r} is below {tfds.core.constants.DATA_DIR}; run "
        f"`tfds build {base} --file_format=array_record`, or name its folder or $TFDS_DATA_DIR"
    )


def _check_classes(folder: str) -> None:
    """Features are classes that tfds imports by their names: only its own are let through."""
    if is_remote(folder):
        raise InputError(f"{folder!r} is remote, and tfds data sets are read locally; copy it")
    for name in ("features.json", "dataset_info.json"):
        path = Path(folder) / name
        try:
            text = path.read_text(encoding="utf-8")
            stack: list[Any] = [json.loads(text)]
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{folder!r} is no folder of a tfds version ({error})") from None
        while stack:
            node = stack.pop()
            stack += (
                node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
            )
            if isinstance(node, dict):
                for key in ("pythonClassName", "type"):
                    kind = node.get(key, "")
                    if (
                        isinstance(kind, str)
                        and "." in kind
                        and not kind.startswith("tensorflow_datasets.core.features.")
                    ):
                        raise InputError(
                            f"{path} names the feature class {kind!r}, which is not tfds's own"
                        )


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(
            f"{what} cannot be opened ({type(error).__name__}: {said}); check name and split, and "
            "that it was prepared with --file_format=array_record"
        ) from None


def _question_ends(opened: _Opened) -> np.ndarray:
    """int64 [pictures]: questions of each and those before it."""
    data = opened.data
    key = f"{opened.folder}\0{data.split}\0{len(data)}\0{opened.num_bytes}"
    path = cache_folder() / "tables" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"
    with contextlib.suppress(OSError, ValueError):
        ends = np.load(path, allow_pickle=False)
        if ends.shape == (len(data),):
            return ends
    counts = [len(data[i]["question_answer"]["question"]) for i in range(len(data))]
    ends = np.cumsum(counts, dtype=np.int64)
    with contextlib.suppress(OSError):  # Counted again another time.
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.stem}.{os.getpid()}.npy")
        np.save(partial, ends, allow_pickle=False)
        partial.replace(path)
    return ends


def _text(value: Any) -> str:
    """Text as tfds gives it: bytes."""
    if not isinstance(value, bytes):
        value = str(value).encode()
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InputError("a text is not UTF-8") from None


def clevr_record(row: Mapping[str, Any], number: int, labels: Mapping[str, Any]) -> Record:
    """Question `number` of an example with CLEVR's features; raises `Rejected` and InputError.

    Answers are whole numbers, "yes", "no", and words. The formal text lists the objects from left
    to right as JSON: phrase, and the pixel of the middle. labels: the classes of an object's parts.
    """
    name = _text(row["file_name"])
    id = f"clevr-{name.rpartition('.')[0] or name}-{number}"
    asked = row["question_answer"]
    answer = _text(asked["answer"][number]).strip()
    if not answer:  # As in the published test split.
        raise Rejected("no answer", "the data set gives no answer", id)
    formal_text = scene_text(row["objects"], labels)
    return Record(
        id=id,
        image=_image(row["image"], id),
        question=_text(asked["question"][number]).strip(),
        answer=answer,
        answer_kind="number" if answer.isascii() and answer.isdigit() else "text",
        formal_text=formal_text,
        formal_language="scene_json" if formal_text else "",
        subject="scenes",
        source="clevr",
        licence="CC-BY-4.0",
    )


def scene_text(objects: Mapping[str, Any], labels: Mapping[str, Any]) -> str:
    """`[{"large red metal cube": [x, y]}, ...]` in pixels, from left to right; "" for none."""
    parts = ("size", "color", "material", "shape")
    things = []
    for number, middle in enumerate(objects["pixel_coords"]):
        words = (labels[part].int2str(int(objects[part][number])) for part in parts)
        things.append((int(middle[0]), int(middle[1]), " ".join(words)))
    rows = [{phrase: [x, y]} for x, y, phrase in sorted(things)]
    return json.dumps(rows, separators=(",", ":")) if rows else ""


def own_record(row: Mapping[str, Any]) -> Record:
    """The record of an example with our builder's features; raises `Rejected` and InputError."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        if name == "choices":
            values[name] = [_text(choice) for choice in value]
        elif name == "provenance":
            values[name] = parse_row(_text(value).encode())
        elif name != "image":
            values[name] = _text(value)
    record = from_row({**values, "image": None}, "")
    if "image" not in row:
        return record
    return dataclasses.replace(record, image=_image(row["image"], record.id))


def _image(value: Any, id: str) -> bytes:
    data = value if isinstance(value, bytes) else bytes(value)
    if not data:
        raise Rejected("image file", "the image is empty", id)
    return data
