"""What a data set is built from, and the sources that the words of the command line name."""

import dataclasses
import math

from onevision_jax.data.source import JsonlSource
from onevision_jax.data.sources.array_record import ENDING, ArrayRecordSource
from onevision_jax.data.sources.conversations import ConversationSource
from onevision_jax.data.sources.files import find_files
from onevision_jax.data.sources.mixed import MixedSource
from onevision_jax.data.sources.r1_onevision import open_r1_onevision
from onevision_jax.data.sources.sharegpt import open_sharegpt
from onevision_jax.data.sources.tfds import TfdsSource, open_tfds
from onevision_jax.data.sources.vlm_r1 import open_vlm_r1
from onevision_jax.errors import InputError

KINDS = ("r1-onevision", "sharegpt", "vlm-r1", "jsonl", "array-record", "tfds", "synth")
BuildSource = ConversationSource | JsonlSource | ArrayRecordSource | TfdsSource


@dataclasses.dataclass(frozen=True)
class SourceSpec:
    """One `--source`."""

    kind: str
    path: str
    weight: float | None = None

    @property
    def name(self) -> str:
        """What the user wrote, without the weight."""
        return f"{self.kind}:{self.path}"


@dataclasses.dataclass(frozen=True)
class BuildSettings:
    """What to build. Checked on construction; raises `InputError`."""

    sources: tuple[SourceSpec, ...]
    validation: float = 0.1  # shares of the images
    test: float = 0.1
    benchmarks: tuple[str, ...] = ()  # JSONL files whose problems must not be trained on
    image_folder: str | None = None  # of sharegpt and vlm-r1
    tokenizer: str | None = None  # folder; lengths are counted in its tokens too
    shard_bytes: int = 256 * 2**20  # of one file, before compression

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError("no source is given; name one, such as jsonl:data/train.jsonl")
        for name, share in (("validation", self.validation), ("test", self.test)):
            if not 0 <= share < 1:
                raise InputError(f"the {name} share is {share}; give 0 or more, below 1")
        if self.validation + self.test >= 1:
            raise InputError("the validation and test shares leave nothing to train on")


def parse_spec(text: str) -> SourceSpec:
    """KIND:PATH or KIND:PATH,WEIGHT; raises `InputError`. A comma may also belong to the path."""
    kind, colon, path = text.partition(":")
    if not colon or not path:
        raise InputError(f"source {text!r} is not KIND:PATH; KIND is one of {', '.join(KINDS)}")
    if kind not in KINDS:
        raise InputError(f"source kind {kind!r} is none of {', '.join(KINDS)}")
    before, comma, last = path.rpartition(",")
    try:
        weight = float(last) if comma else None
    except ValueError:
        weight = None
    if weight is None:
        return SourceSpec(kind, path)
    if not (math.isfinite(weight) and weight > 0):
        raise InputError(f"the weight of source {text!r} is {last}; give a number above 0")
    return SourceSpec(kind, before, weight)


def open_spec(spec: SourceSpec, image_folder: str | None) -> BuildSource:
    """The source of a spec; raises `InputError`."""
    if spec.kind == "r1-onevision":
        return open_r1_onevision(spec.path)
    if spec.kind == "sharegpt":
        return open_sharegpt(spec.path, image_folder)
    if spec.kind == "vlm-r1":
        return open_vlm_r1(spec.path, image_folder)
    if spec.kind == "array-record":
        return ArrayRecordSource(find_files(spec.path, (ENDING,)))
    if spec.kind == "tfds":
        return open_tfds(spec.path)
    return JsonlSource(find_files(spec.path, (".jsonl",)))  # synth: what onevision synth wrote.


def open_all(settings: BuildSettings) -> MixedSource:
    """All sources as one; without weights every record occurs once."""
    sources = tuple(open_spec(spec, settings.image_folder) for spec in settings.sources)
    weights = [spec.weight for spec in settings.sources]
    if all(weight is None for weight in weights):
        return MixedSource(sources)
    return MixedSource(sources, tuple(1.0 if w is None else w for w in weights))
