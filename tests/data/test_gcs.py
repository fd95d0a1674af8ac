"""gs:// paths through the real gcsfs, against a server of this process; no bucket is reached."""

import importlib.util
import os
from pathlib import Path

import pytest

from onevision_jax.data import remote
from onevision_jax.data.building import BuildSettings, build_dataset, parse_spec
from onevision_jax.data.opening import open_path
from onevision_jax.data.packing import Packing
from onevision_jax.data.pipeline import Pipeline
from onevision_jax.data.record import write_jsonl
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.data.sources import open_source
from onevision_jax.errors import InputError

# Read when gcsfs is imported; `remote` sets it as well.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
gcsfs = pytest.importorskip("gcsfs", reason="gcsfs is not installed")
spec = importlib.util.spec_from_file_location("gcs_server", Path(__file__).parent / "gcs_server.py")
assert spec is not None
assert spec.loader is not None
gcs_server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gcs_server)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    monkeypatch.setenv("ONEVISION_CACHE", str(tmp_path / "cache"))
    remote.status.cache_clear()
    gcsfs.GCSFileSystem.clear_instance_cache()
    with gcs_server.serve() as (address, kind):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield kind
    gcsfs.GCSFileSystem.clear_instance_cache()


def put(bucket, folder, where):
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.objects[f"{where}/{path.relative_to(folder)}"] = path.read_bytes()


def every(source):
    return [source[i] for i in range(len(source))]


def test_a_bucket_is_read_and_written(bucket, tmp_path, records):
    write_jsonl(tmp_path / "in" / "a.jsonl", records[:20])
    put(bucket, tmp_path / "in", "in")
    assert every(open_source("gs://b/in/a.jsonl")) == records[:20]
    assert (
        every(open_source("gs://b/in")) == every(open_source("gs://b/in/*.jsonl")) == records[:20]
    )
    settings = BuildSettings((parse_spec("jsonl:gs://b/in/a.jsonl"),))
    build_dataset("gs://b/out/set", settings)
    assert {"out/set/card.json", "out/set/train/00000.arrayrecord"} <= bucket.objects.keys()
    assert {r.id for r in every(open_path("gs://b/out/set"))} == {r.id for r in records[:20]}
    with pytest.raises(InputError, match="is not empty; choose another"):
        build_dataset("gs://b/out/set", settings)
    with pytest.raises(InputError, match="does not exist; check the path"):
        open_source("gs://b/nowhere.jsonl")


def test_what_is_forbidden_is_said(bucket, tmp_path, records):
    """And does not count as a picture that is missing."""
    write_jsonl(tmp_path / "in" / "a.jsonl", records[1:3])
    put(bucket, tmp_path / "in", "in")
    source = open_source("gs://b/in/a.jsonl")
    assert every(source) == records[1:3]
    bucket.refused = ".png"
    with pytest.raises(OSError, match=r"403|[Ff]orbidden"):
        source[0]
    bucket.objects["in/b.jsonl"] = b"{}"
    bucket.refused = ".jsonl"
    with pytest.raises(InputError, match=r"cannot be reached .*credentials"):
        len(open_source("gs://b/in/b.jsonl"))


def test_workers_read_a_bucket(bucket, tmp_path, records, processor):
    """Two worker processes ask the server themselves, and give what one process gives."""
    write_jsonl(tmp_path / "in" / "a.jsonl", records)
    put(bucket, tmp_path / "in", "in")
    packing = Packing(tokens_per_row=400, patch_budgets=(0, 200, 400), window=4)

    def batches(path, workers):
        config = PipelineConfig(
            packing=packing, rows_per_batch=2, num_shards=2, num_epochs=1, num_workers=workers
        )
        with Pipeline(open_source(path), processor, config).batches() as batches:
            return [{n: array.tobytes() for n, array in batch.items()} for batch in batches]

    assert batches("gs://b/in", 2) == batches(tmp_path / "in", 0)
