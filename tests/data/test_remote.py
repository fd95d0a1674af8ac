"""Object stores through fsspec: what is read and written there is what a local folder gives.

The store is fsspec's own in memory; worker processes, which do not share it, read by `file://`.
"""

import base64
import collections
import errno
import json
import pickle

import fsspec
import pytest

from onevision_jax.cli.main import main
from onevision_jax.data import remote
from onevision_jax.data.building import BuildSettings, build_dataset, parse_spec
from onevision_jax.data.opening import open_path
from onevision_jax.data.packing import Packing
from onevision_jax.data.pipeline import Pipeline
from onevision_jax.data.record import write_jsonl
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.data.source import JsonlSource, Rejected
from onevision_jax.data.sources import open_source
from onevision_jax.data.sources.array_record import open_writer, pack
from onevision_jax.data.sources.files import find_files
from onevision_jax.data.sources.json_rows import JsonRows
from onevision_jax.data.sources.r1_onevision import open_r1_onevision
from onevision_jax.data.sources.sharegpt import open_sharegpt
from onevision_jax.errors import InputError


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """An empty store, an empty cache, and nothing remembered of the store before."""
    monkeypatch.setenv("ONEVISION_CACHE", str(tmp_path / "cache"))
    remote.status.cache_clear()
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def put(store, folder, where: str) -> str:
    """Copies a local folder into the store."""
    for path in folder.rglob("*"):
        if path.is_file():
            store.pipe_file(f"{where}/{path.relative_to(folder)}", path.read_bytes())
    return f"memory://{where}"


def write_shard(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = open_writer(path)
    for record in records:
        writer.write(pack(record))
    writer.close()


def reasons(source) -> dict[str, int]:
    """How many records are refused for each reason."""
    counts = collections.Counter()
    for index in range(len(source)):
        try:
            source[index]
        except Rejected as rejected:
            is_placed = str(rejected).startswith(str(source.locate(index)))
            counts[rejected.reason if is_placed else "nowhere"] += 1
    return dict(counts)


def every(source):
    return [source[i] for i in range(len(source))]


def test_every_kind_of_path(store, tmp_path, records):
    write_jsonl(tmp_path / "set" / "lines" / "a.jsonl", records[:5])
    write_shard(tmp_path / "set" / "train" / "0.arrayrecord", records[5:9])
    write_shard(tmp_path / "set" / "train" / ".hidden.arrayrecord", records[:1])
    write_shard(tmp_path / "set" / "train" / "deep" / "1.arrayrecord", records[9:12])
    put(store, tmp_path / "set", "/bucket/set")
    for root in ("memory://bucket/set", f"file://{tmp_path}/set"):
        assert every(open_source(f"{root}/train")) == records[5:12]
        assert every(open_source(f"{root}/train/")) == records[5:12]
        assert every(open_source(f"{root}/train/*.arrayrecord")) == records[5:9]
        assert every(open_source([f"{root}/lines/a.jsonl"])) == records[:5]
        assert every(open_source([f"{root}/train", f"{root}/lines"])) == records[:12]
        assert every(open_path(root)) == records[5:12]
        with pytest.raises(InputError, match=r"name one, such as .*set/train/"):
            open_source(root)
        for missing in ("nowhere", "*.json", "nowhere/a.jsonl"):
            with pytest.raises(InputError, match="does not exist; check the path"):
                open_source(f"{root}/{missing}")
        with pytest.raises(InputError, match=r"holds no file that ends in \.parquet"):
            find_files(f"{root}/train", (".parquet",))
    source = open_source("memory://bucket/set/lines/a.jsonl")
    assert every(open_source("memory:///bucket/set/lines/a.jsonl")) == records[:5]
    local = open_source(tmp_path / "set" / "lines" / "a.jsonl")
    assert isinstance(source, JsonlSource)
    assert isinstance(local, JsonlSource)
    assert source.fingerprint() == local.fingerprint()
    assert str(source.locate(1)) == "memory://bucket/set/lines/a.jsonl, line 2"
    assert every(pickle.loads(pickle.dumps(source))) == records[:5]  # noqa: S301 (ours)


def test_what_is_no_path(tmp_path):
    for path, complaint in (
        ("ftp://host/a.jsonl", "no path that is read here"),
        ("zip://a.jsonl::memory://b.zip", "no path that is read here"),
        ("memory://a::b", "no path that is read here"),
        ("file://host/a.jsonl", "names a host"),
    ):
        with pytest.raises(InputError, match=complaint):
            open_source(path)
    assert not remote.is_remote(str(tmp_path / "a://b"))


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(InputError, match=r"pip install 'onevision-jax\[remote\]'"):
        open_source("memory://bucket/train")


def test_each_layout(store, tmp_path, png):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    turns = [
        {"from": "human", "value": "<image>How many?"},
        {"from": "assistant", "value": "<think>One.</think>1"},
    ]
    row = {"id": "a", "image": base64.b64encode(png(40, 30)).decode(), "conversations": turns}
    (tmp_path / "in").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "in" / "r1.parquet")
    (tmp_path / "in" / "r1.json").write_text(json.dumps([row, {}, row]))
    put(store, tmp_path / "in", "/b")
    table = open_r1_onevision("memory://b")
    array = open_r1_onevision("memory://b/r1.json")
    assert table[0].image == array[0].image == array[2].image == png(40, 30)
    assert reasons(array) == {"row": 1}
    assert JsonRows(("memory://b/r1.json",)).folder(0) == "memory://b"


def test_images_lie_below_their_folder(store, png):
    """The rules of a local folder hold: no way out of it, and each fault has its reason."""
    store.pipe_file("/b/set/pictures/a.png", png(40, 30))
    store.pipe_file("/b/secret.png", png(41, 30))
    store.pipe_file("/b/set/empty.png", b"")
    names = ["pictures/a.png", "../secret.png", "/b/secret.png", "pictures/../../secret.png",
             "memory://b/secret.png", "no.png", "pictures", "empty.png", "a*.png", ""]  # fmt: skip
    rows = [
        {
            "messages": [
                {"role": "user", "content": "<image>How many?"},
                {"role": "assistant", "content": "<answer>3</answer>"},
            ],
            "images": [name],
        }
        for name in names
    ]
    store.pipe_file("/b/set/rows.json", json.dumps(rows).encode())
    source = open_sharegpt("memory://b/set/rows.json")
    assert source[0].image == png(40, 30)
    assert reasons(source) == {"image file": len(names) - 1}
    # From another place, such as a local file with its pictures in a store.
    store.pipe_file("/c/rows.json", json.dumps(rows[:1]).encode())
    assert open_sharegpt("memory://c/rows.json", "memory://b/set")[0].image == png(40, 30)


def test_a_link_leads_nowhere_by_file_paths(tmp_path, png):
    (tmp_path / "secret.png").write_bytes(png(40, 30))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").symlink_to(tmp_path / "secret.png")
    row = {"id": "a", "image": "a.png", "question": "Which?", "answer": "1"}
    (tmp_path / "set" / "rows.jsonl").write_text(json.dumps(row))
    source = open_source(f"file://{tmp_path}/set/rows.jsonl")
    with pytest.raises(Rejected, match="a link leads out of"):
        source[0]


def test_a_store_that_fails_stops_the_run(store, tmp_path, records, monkeypatch):
    """A store that does not answer must not thin out the data; what is missing is left out."""
    write_jsonl(tmp_path / "in" / "a.jsonl", records[:5])
    put(store, tmp_path / "in", "/b")
    source = open_source("memory://b/a.jsonl")
    assert source[1] == records[1]

    def fail(*args, **kwargs):
        raise RuntimeError("503: try again")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "cat_file", fail)
        with pytest.raises(OSError, match="503: try again") as caught:
            source[1]
        assert caught.value.errno == errno.EIO
    for name in list(store.store):
        if name.endswith(".png"):
            store.rm_file(name)
    assert reasons(source) == {"image file": 4}


def test_copies_follow_the_content(store, tmp_path, records):
    write_jsonl(tmp_path / "in" / "a.jsonl", [records[0]])
    put(store, tmp_path / "in", "/b")
    first = remote.local_copy("memory://b/a.jsonl")
    store.pipe_file("/b/a.jsonl", b"not read: the copy is there\n")
    assert remote.local_copy("memory://b/a.jsonl") == first  # This process has asked already.
    remote.status.cache_clear()
    second = remote.local_copy("memory://b/a.jsonl")
    assert second != first
    assert every(open_source(first)) == [records[0]]
    assert [path.name for path in (tmp_path / "cache" / "files").rglob("*.partial")] == []


def test_a_copy_that_breaks_off_is_none(store, monkeypatch):
    store.pipe_file("/b/a.jsonl", b"x" * 100)
    whole = type(store).cat_file
    monkeypatch.setattr(
        type(store),
        "cat_file",
        lambda self, path, start=None, end=None: whole(self, path, 0, 40)[:0],
    )
    with pytest.raises(InputError, match="gave 0 of 100 bytes"):
        remote.local_copy("memory://b/a.jsonl")
    monkeypatch.undo()


def test_large_copies_say_how_far_they_are(store, capsys, monkeypatch):
    monkeypatch.setattr(remote, "_SHOW_FROM", 100)
    monkeypatch.setattr(remote, "_CHUNK", 30)
    store.pipe_file("/b/a.jsonl", bytes(range(120)))
    with open(remote.local_copy("memory://b/a.jsonl"), "rb") as file:
        assert file.read() == bytes(range(120))
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(":")[2].split("%")[0].strip() for line in shown] == ["20", "50", "70", "100"]


def test_a_set_is_built_in_a_store(store, tmp_path, records):
    """The same bytes as in a local folder; a store that is not empty is left alone."""
    write_jsonl(tmp_path / "in" / "a.jsonl", records)
    put(store, tmp_path / "in", "/in")
    here = BuildSettings((parse_spec(f"jsonl:{tmp_path}/in/a.jsonl"),))
    there = BuildSettings((parse_spec("jsonl:memory://in/a.jsonl"),))
    build_dataset(tmp_path / "out", here)
    build_dataset("memory://out/set", there)
    for split in ("train", "validation", "test"):
        one = (tmp_path / "out" / split / "00000.arrayrecord").read_bytes()
        assert store.cat_file(f"/out/set/{split}/00000.arrayrecord") == one
    assert every(open_path("memory://out/set")) == every(open_path(tmp_path / "out"))
    assert list((tmp_path / "cache" / "outgoing").iterdir()) == []
    before = dict(store.store)
    with pytest.raises(InputError, match="is not empty; choose another"):
        build_dataset("memory://out/set", there)
    assert store.store == before


def test_a_set_half_sent_is_removed(store, tmp_path, records, monkeypatch):
    write_jsonl(tmp_path / "a.jsonl", records[:20])
    send = type(store).put_file

    def fail(self, here, there, **options):
        if there.endswith("card.json"):
            raise PermissionError("403")
        send(self, here, there, **options)

    monkeypatch.setattr(type(store), "put_file", fail)
    settings = BuildSettings((parse_spec(f"jsonl:{tmp_path}/a.jsonl"),))
    with pytest.raises(InputError, match=r"cannot be reached .PermissionError: 403"):
        build_dataset("memory://out/set", settings)
    assert [name for name in store.store if name.startswith("/out")] == []


def test_commands_read_and_write_stores(store, tmp_path, records, capsys):
    write_jsonl(tmp_path / "in" / "a.jsonl", records[:30])
    put(store, tmp_path / "in", "/in")
    words = ["--source", "jsonl:memory://in/a.jsonl", "--out", "memory://out/set"]
    assert main(["data", "build", *words, "--workers", "1"]) == 0
    assert main(["data", "stats", "memory://out/set", "--tokens-per-row", "512"]) == 0
    show = ["--out", str(tmp_path / "row.png"), "--tokens-per-row", "512"]
    assert main(["data", "show", "memory://out/set", *show]) == 0
    assert (tmp_path / "row.png").stat().st_size > 1000
    assert "wrote              30 of 30 rows" in capsys.readouterr().out


def test_workers_read_by_file_paths(tmp_path, records, processor):
    """Batches of two worker processes are those of one process and a local path."""
    write_jsonl(tmp_path / "in" / "a.jsonl", records)
    packing = Packing(tokens_per_row=400, patch_budgets=(0, 200, 400), window=4)

    def batches(path, workers):
        config = PipelineConfig(
            packing=packing, rows_per_batch=2, num_shards=2, num_epochs=1, num_workers=workers
        )
        with Pipeline(open_source(path), processor, config).batches() as batches:
            return [{n: array.tobytes() for n, array in batch.items()} for batch in batches]

    assert batches(f"file://{tmp_path}/in", 2) == batches(tmp_path / "in", 0)
