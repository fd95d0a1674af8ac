"""Draws batches in a process of its own and writes down what it got: made to be killed.

    python emit.py SETTINGS.json

Line after line goes to `log`: the batch's number, the digest of its bytes, and one digest for each
row. After every batch the state lies whole in FOLDER/NUMBER.json.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from onevision_jax.data.packing import Packing, pad_patches
from onevision_jax.data.pipeline import Batch, Pipeline, PipelineConfig
from onevision_jax.data.source import JsonlSource
from onevision_jax.processor import Processor


def make_pipeline(settings: dict) -> Pipeline:
    """The pipeline that the settings name."""
    config = dict(settings["config"])
    packing = Packing(**config.pop("packing"))
    return Pipeline(
        JsonlSource((settings["data"],)),
        Processor.from_folder(settings["model"]),
        PipelineConfig(packing=packing, **config),
    )


def digests(batch: Batch, patches_per_row: int) -> tuple[str, list[str]]:
    """Of the whole batch as it is, and of each row with all its patches' room."""
    whole, rows = hashlib.sha256(), []
    for name, array in sorted(batch.items()):
        whole.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
    wide = pad_patches(batch, patches_per_row)
    for number in range(len(wide["tokens"])):
        row = hashlib.sha256()
        for name, array in sorted(wide.items()):
            row.update(array[:, number].tobytes() if name == "positions" else array[number].data)
        rows.append(row.hexdigest())
    return whole.hexdigest(), rows


def main(path: str) -> None:
    settings = json.loads(Path(path).read_text())
    pipeline = make_pipeline(settings)
    folder = Path(settings["folder"])
    width = pipeline.config.packing.patches_per_row
    with (
        pipeline.batches(
            process_index=settings["index"],
            process_count=settings["count"],
            state=settings["state"],
        ) as batches,
        open(settings["log"], "a", buffering=1) as log,
    ):
        for batch in batches:
            whole, rows = digests(batch, width)
            log.write(json.dumps([batches.num_batches, whole, rows]) + "\n")
            partial = folder / f"{batches.num_batches}.partial"
            partial.write_text(json.dumps(batches.get_state()))
            os.replace(partial, folder / f"{batches.num_batches}.json")
        log.write('"end"\n')


if __name__ == "__main__":
    main(sys.argv[1])
