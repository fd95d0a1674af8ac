"""A path -> a source of records, and a processor where there is no model yet."""

import dataclasses
import glob
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from onevision_jax.data.record import SPLITS, Record
from onevision_jax.data.remote import is_folder, is_remote, join, matches, plain
from onevision_jax.data.source import Rejected, Source
from onevision_jax.data.sources import open_source
from onevision_jax.data.target import TargetConfig, response_text
from onevision_jax.errors import InputError
from onevision_jax.processor.tiny import train_tokenizer, write_processor_files

NUM_TEXTS = 2000  # records whose texts a stand-in tokenizer learns from
NUM_MERGES = 8000
MAX_PIXELS = 750 * 28 * 28  # of a stand-in: 750 vision tokens, about R1-Onevision's 768 x 768
VISION = {"patch_size": 14, "spatial_merge_size": 2, "window_size": 112}


def open_path(path: str | os.PathLike[str]) -> Source:
    """The records of a file, a pattern, or a data set's folder, there all splits together.

    Raises InputError when there are none.
    """
    place = plain(path)
    if not is_folder(place):
        return open_source(place)
    folders = [folder for split in SPLITS if is_folder(folder := join(place, split))]
    pattern = join(place, "*.jsonl")
    lines = matches(pattern) if is_remote(place) else sorted(glob.glob(pattern))
    return open_source(folders or lines or place)


@dataclasses.dataclass(frozen=True)
class Some:
    """`count` records of a source, spread evenly over it."""

    source: Source
    count: int

    def __len__(self) -> int:
        return min(self.count, len(self.source))

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return self.source[index * len(self.source) // len(self)]

    def fingerprint(self) -> Mapping[str, int]:
        return {**self.source.fingerprint(), "some": len(self)}


def write_stand_in(source: Source, folder: Path) -> None:
    """Processor files for data without a model: a tokenizer learnt from the data's own texts.

    Qwen's splitting rule, template and image sizes; up to 8,000 merges where the published
    tokenizer has 151,000, so its token counts are somewhat higher.
    """
    backend = train_tokenizer(_texts(Some(source, NUM_TEXTS)), num_merges=NUM_MERGES)
    ids = write_processor_files(folder, backend, max_pixels=MAX_PIXELS)
    config = json.dumps({**ids, "vision_config": VISION})
    (folder / "config.json").write_text(config, encoding="utf-8")


def _texts(source: Source) -> Iterator[str]:
    for record in readable(source):
        yield "\n".join((record.question, *record.choices))
        try:
            yield response_text(record, TargetConfig())
        except InputError:
            continue


def readable(source: Source) -> Iterator[Record]:
    """The records that can be read at all, in order."""
    for index in range(len(source)):
        try:
            yield source[index]
        except Rejected:
            continue
