"""The data set `r1_onevision`: what `onevision data build` wrote, as TensorFlow Datasets hold it.

Config `pictures` (the default) has the records with a picture, `text` those without: a tfds image
cannot be absent. Images keep their encoded bytes, so building needs no tensorflow.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onevision_jax.data.record import FIELDS, Record
from onevision_jax.data.remote import is_folder, join
from onevision_jax.data.source import Rejected, Source
from onevision_jax.data.sources import open_source
from onevision_jax.data.sources.tfds import import_tfds

tfds = import_tfds()

SPLITS = {"train": tfds.Split.TRAIN, "validation": tfds.Split.VALIDATION, "test": tfds.Split.TEST}


class NoRecords(ValueError):
    """There is nothing to build."""


class Builder(tfds.core.GeneratorBasedBuilder):
    """Reads {train,validation,test}/*.arrayrecord below the manual folder."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The fields of onevision_jax's records."}  # noqa: RUF012 (tfds's way)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Give as --manual_dir the folder that `onevision data build --source "
        "r1-onevision:FOLDER --out DIR` wrote."
    )
    BUILDER_CONFIGS = [  # noqa: RUF012 (tfds's way)
        tfds.core.BuilderConfig(name="pictures", description="Records with a picture."),
        tfds.core.BuilderConfig(name="text", description="Records without a picture."),
    ]

    def _info(self) -> Any:
        text = tfds.features.Text
        features: dict[str, Any] = {name: text() for name in FIELDS if name != "image"}
        features["choices"] = tfds.features.Sequence(text())
        features["provenance"] = text(doc="A JSON object.")
        if self._has_pictures:
            features["image"] = tfds.features.Image()
        return tfds.core.DatasetInfo(
            builder=self,
            description="R1-Onevision, cleaned by onevision_jax: picture, question, reasoning "
            "and answer, one record a question.",
            features=tfds.features.FeaturesDict(features),
            homepage="https://github.com/Fancy-MLLM/R1-Onevision",
        )

    @property
    def _has_pictures(self) -> bool:
        return self.builder_config.name == "pictures"

    def _split_generators(self, dl_manager: Any) -> dict[Any, Any]:
        """The splits that have a record of this config."""
        folder = str(dl_manager.manual_dir)
        sources = {
            split: open_source(join(folder, name))
            for name, split in SPLITS.items()
            if is_folder(join(folder, name))
        }
        found = {
            split: self._generate_examples(source)
            for split, source in sources.items()
            if next(self._records(source), None) is not None
        }
        if not found:
            raise NoRecords(
                f"{folder} has no records for the config {self.builder_config.name!r}; give the "
                "folder that `onevision data build` wrote"
            )
        return found

    def _records(self, source: Source) -> Iterator[Record]:
        for index in range(len(source)):
            try:
                record = source[index]
            except Rejected as rejected:
                raise ValueError(f"a record cannot be read: {rejected}") from None
            if (record.image is not None) == self._has_pictures:
                yield record

    def _generate_examples(self, source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
        """(id, features) of each record."""
        for record in self._records(source):
            row: dict[str, Any] = {name: getattr(record, name) for name in FIELDS}
            row["choices"] = list(record.choices)
            row["provenance"] = json.dumps(dict(record.provenance), ensure_ascii=False)
            if not self._has_pictures:
                del row["image"]
            yield record.id, row


def prepare(folder: str, data_dir: Path | None) -> list[tuple[str, dict[str, int]]]:
    """Builds both configs where they have records; (folder, records of each split) of each.

    Raises ValueError when there is nothing to build, a record cannot be read, or the data set is
    there already, since tfds would leave it as it is.
    """
    if not is_folder(folder):
        raise ValueError(f"folder {folder!r} does not exist; check the path")
    download = tfds.download.DownloadConfig(manual_dir=folder)
    made = []
    for config in Builder.BUILDER_CONFIGS:
        builder = Builder(data_dir=data_dir, config=config.name, file_format="array_record")
        if Path(builder.data_dir).exists():
            raise ValueError(
                f"{builder.data_dir} is there already; remove it, or give another --data-dir"
            )
        try:
            builder.download_and_prepare(download_config=download)
        except NoRecords:
            continue
        counts = {name: info.num_examples for name, info in builder.info.splits.items()}
        made.append((str(builder.data_dir), counts))
    return made
