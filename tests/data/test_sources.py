"""Every layout by number: what is written is read again; hostile rows are refused one by one."""

import base64
import collections
import dataclasses
import json
import math
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from onevision_jax.data.packing import Packing
from onevision_jax.data.pipeline import Pipeline
from onevision_jax.data.record import Record, write_jsonl
from onevision_jax.data.settings import PipelineConfig
from onevision_jax.data.source import JsonlSource, RecordSource, Rejected
from onevision_jax.data.sources import ArrayRecordSource, MixedSource, open_source
from onevision_jax.data.sources.array_record import open_writer, pack, unpack
from onevision_jax.data.sources.json_rows import JsonRows
from onevision_jax.data.sources.mixed import mix
from onevision_jax.data.sources.r1_onevision import open_r1_onevision
from onevision_jax.data.sources.sharegpt import open_sharegpt
from onevision_jax.data.sources.vlm_r1 import open_vlm_r1
from onevision_jax.errors import InputError


def write_shard(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = open_writer(path)
    for record in records:
        writer.write(pack(record))
    writer.close()
    return str(path)


def refusal(source, index: int) -> str:
    """The reason a record is refused for, its message naming the place; "" when it is good."""
    try:
        source[index]
    except Rejected as rejected:
        return rejected.reason if str(rejected).startswith(str(source.locate(index))) else "?"
    return ""


def reasons(source) -> dict[str, int]:
    counts = collections.Counter(refusal(source, index) for index in range(len(source)))
    return {reason: count for reason, count in counts.items() if reason}


def test_array_record_keeps_every_field(tmp_path, records):
    full = dataclasses.replace(
        records[1],
        choices=("1", "zwölf"),
        answer="B",
        answer_kind="choice",
        tier="college",
        subject="algebra",
        licence="CC0-1.0",
        provenance={"page": 3, "share": 0.5, "from": "a"},
    )
    assert unpack(pack(full)) == full
    first = write_shard(tmp_path / "a.arrayrecord", [full, *records[:20]])
    second = write_shard(tmp_path / "b.arrayrecord", records[20:])
    source = ArrayRecordSource((first, second))
    assert [source[i] for i in range(len(source))] == [full, *records]
    again = pickle.loads(pickle.dumps(source))  # noqa: S301 (as Grain sends it to its workers)
    assert again == source
    assert again[len(source) - 1] == records[-1]
    assert source.fingerprint()["records"] == 62
    assert str(source.locate(21)) == f"{second}, row 1"
    with pytest.raises(IndexError):
        source[62]


def test_damaged_array_records(tmp_path, records):
    whole = write_shard(tmp_path / "a.arrayrecord", records[:30])
    data = Path(whole).read_bytes()
    flipped = bytearray(data)
    flipped[3000] ^= 255
    (tmp_path / "flip.arrayrecord").write_bytes(flipped)
    assert reasons(ArrayRecordSource((str(tmp_path / "flip.arrayrecord"),))) == {"row": 1}
    for name, piece in (("empty", b""), ("text", b"hello\n" * 99), ("cut", data[: len(data) // 2])):
        path = tmp_path / f"{name}.arrayrecord"
        path.write_bytes(piece)
        with pytest.raises(InputError, match="no ArrayRecord file, or is damaged"):
            len(ArrayRecordSource((str(path),)))


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (b"", "does not start with OVR1"),
        (b"OVR1\xff\xff\xff\xff{}", "ends inside its header"),
        (b"OVR1\x02\0\0\0{}", "'image' is missing|'id' is missing"),
        (b"OVR1\x04\0\0\0null", "not an object"),
        (b'OVR1\x0d\0\0\0{"image": NaN', "is not JSON|not a JSON"),
    ],
)
def test_entries_that_are_no_records(entry, complaint):
    with pytest.raises(InputError, match=complaint):
        unpack(entry)


def test_open_source_takes_files_folders_and_patterns(tmp_path, records):
    write_jsonl(tmp_path / "lines" / "a.jsonl", records[:5])
    write_shard(tmp_path / "set" / "train" / "0.arrayrecord", records[5:9])
    write_shard(tmp_path / "set" / "train" / "1.arrayrecord", records[9:12])
    write_shard(tmp_path / "set" / "test" / "0.arrayrecord", records[12:14])

    def ids(*paths):
        source = open_source([str(tmp_path / path) for path in paths])
        return [source[i].id for i in range(len(source))]

    named = [record.id for record in records]
    assert ids("set/train") == ids("set/train/*.arrayrecord") == named[5:12]
    assert ids("set/*/0.arrayrecord") == named[12:14] + named[5:9]
    assert ids("lines/a.jsonl") == ids("lines") == named[:5]
    assert ids("set/train", "lines") == named[:12]
    assert isinstance(open_source(tmp_path / "lines" / "a.jsonl"), JsonlSource)
    for path, complaint in (
        ("set", "name one, such as .*set/train/"),
        ("nowhere", "does not exist; check the path"),
        ("*.jsonl", "does not exist; check the path"),
    ):
        with pytest.raises(InputError, match=complaint):
            open_source(tmp_path / path)


def test_batches_from_shards_are_those_of_memory(tmp_path, records, processor):
    write_shard(tmp_path / "0.arrayrecord", records[:30])
    write_shard(tmp_path / "1.arrayrecord", records[30:])
    packing = Packing(tokens_per_row=400, patch_budgets=(0, 200, 400), window=4)
    config = PipelineConfig(packing=packing, rows_per_batch=2, num_shards=2, num_epochs=1)
    rows = [
        [{name: array.tobytes() for name, array in batch.items()} for batch in batches]
        for source in (RecordSource(records), open_source(tmp_path))
        for batches in [Pipeline(source, processor, config).batches()]
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) > 1


def test_json_arrays_are_cut_where_json_says(tmp_path):
    values = [{"a": 'x"}],[{', "b": [1, {"c": []}]}, {}, "[", 7, None, [1, [2]], {"d": "\\"}]
    path = tmp_path / "rows.json"
    path.write_text("\ufeff \n" + json.dumps(values, indent=2))
    rows = JsonRows((str(path),))
    assert len(rows) == len(values)
    for index, value in enumerate(values):
        if isinstance(value, dict):
            assert rows.read(index) == value
        else:
            with pytest.raises(Rejected):
                rows.read(index)
    assert str(rows.locate(6)) == f"{path}, row 7"
    path.write_text(json.dumps(values)[:-3])
    with pytest.raises(InputError, match="breaks off inside its array"):
        len(JsonRows((str(path),)))
    for text in ("[]", "[ ]", ""):
        path.write_text(text)
        assert len(JsonRows((str(path),))) == 0


def test_sharegpt_files(tmp_path, png):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png(40, 30))
    think = "<think>Two and one.</think>\n<answer>3</answer>"
    user, assistant = (
        {"role": "user", "content": "<image>How many?"},
        {"role": "assistant", "content": think},
    )
    old = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": think}]
    rows = [
        {"messages": [user, assistant], "images": ["pictures/a.png"]},
        {"messages": [{"role": "system", "content": "Be kind."}, user, assistant],
         "images": ["pictures/a.png"], "id": "second"},
        {"conversations": old, "images": []},
        {"messages": [user, assistant, user, assistant], "images": ["pictures/a.png"]},
        {"messages": [user, assistant], "images": ["pictures/a.png"] * 2},
        {"messages": [user, assistant], "images": ["../../etc/passwd"]},
        {"messages": [user, assistant], "images": ["/etc/passwd"]},
        {"messages": [user, assistant]},
        {"messages": "hello"},
    ]  # fmt: skip
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows))
    source = open_sharegpt(str(path))
    first, second, third = (source.read(i) for i in range(3))
    assert first.record == Record(
        id="data-1",
        image=png(40, 30),
        question="How many?",
        answer="3",
        answer_kind="number",
        reasoning="Two and one.",
        source="sharegpt",
        provenance={"layout": 0},
    )
    assert (second.record.id, second.repairs) == ("second", ("system prompt",))
    assert (third.record.id, third.record.image) == ("data-3", None)
    assert reasons(source) == {"turns": 1, "images": 2, "image file": 2, "row": 1}
    elsewhere = tmp_path / "elsewhere" / "data.json"
    elsewhere.parent.mkdir()
    elsewhere.write_text(json.dumps(rows[:1]))
    assert open_sharegpt(str(elsewhere), str(tmp_path))[0].image == png(40, 30)


def test_vlm_r1_files(tmp_path, png):
    (tmp_path / "clevr").mkdir()
    (tmp_path / "clevr" / "1.png").write_bytes(png(40, 30))

    def line(id, value, image: object = "clevr/1.png"):
        turns = [{"from": "human", "value": "<image>What number of purple metallic balls?"},
                 {"from": "gpt", "value": value}]  # fmt: skip
        return json.dumps({"id": id, "image": image, "conversations": turns})

    one = "clevr/1.png"
    lines = [line(1, "0"), line(2, 3), line(3, "<answer> 2.5 </answer>"), line("x", "4", [one])]
    lines += [line(5, "0", [one] * 2), line(6, "0", "no.png"), line(7, True), line(8, "")]
    path = tmp_path / "clevr.jsonl"
    path.write_text("\n".join(lines))
    source = open_vlm_r1(str(path))
    found = [source[i] for i in range(4)]
    assert [(r.id, r.answer, r.reasoning) for r in found] == [
        ("1", "0", ""), ("2", "3", ""), ("3", "2.5", ""), ("x", "4", "")
    ]  # fmt: skip
    assert all(r.question == "What number of purple metallic balls?" for r in found)
    assert reasons(source) == {"images": 1, "image file": 1, "row": 1, "no answer": 1}


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is this large and holds almost nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


HOSTILE_IMAGES = [png_of(0, 0), png_of(60_000, 60_000), png_of(1, 10_000), b"\x89PNG", b"GIF89a"]


def test_hostile_rows(tmp_path, png):
    """Each is refused by the source, or (images) by the build; none stops either."""
    good = {
        "id": "a",
        "image": base64.b64encode(png(40, 30)).decode(),
        "conversations": [
            {"from": "human", "value": "How many?"},
            {"from": "assistant", "value": "<think>One.</think>1"},
        ],
    }
    turns = good["conversations"]
    changed = [
        *({"image": value} for value in ("????", "AAA", 7, ["a"], True, "data:x", "../../a.png")),
        *({"id": value} for value in (None, "", "  ", 1.5, [], {"a": 1})),
        *({"conversations": value} for value in (None, [], {}, "x", [1, 2], [turns], [{}, {}])),
        {"conversations": [{"from": "human", "value": 3}, turns[1]]},
        {"conversations": [{"from": [], "value": "x"}, {"from": {}, "value": "y"}]},
        {"conversations": [turns[0], {"from": "assistant", "value": None}]},
        {"conversations": [{"from": "human", "value": "\ud800 how many?"}, turns[1]]},
        {"id": "\udfff"},
    ]
    texts = [json.dumps({**good, **change}) for change in changed]
    texts += [
        "{",
        "nonsense",
        "[]",
        "3",
        '{"id": NaN}',
        '{"id": ' + "9" * 5000 + "}",
        "[" * 100_000,
    ]
    texts += [json.dumps({k: v for k, v in good.items() if k != missing}) for missing in good]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(["{}", *texts, json.dumps(good)]) + "\n")
    with path.open("ab") as file:
        file.write(b"\xff\xfe\x00\x01\n")
    source = open_r1_onevision(str(path))
    counts = reasons(source)
    assert len(source) == len(texts) + 3
    assert sum(counts.values()) == len(source) - 1
    assert counts == {"image file": 7, "row": 27, "turns": 3}
    assert source[len(texts) + 1].answer == "1"


def test_hostile_images_in_a_build(tmp_path, png):
    from onevision_jax.data.building import BuildSettings, SourceSpec, build_dataset

    noise = png(300, 200)
    images = [*HOSTILE_IMAGES, noise[: len(noise) // 2], b"<svg/>", noise]
    rows = [
        {
            "id": f"h{number}",
            "image": base64.b64encode(image).decode(),
            "conversations": [
                {"from": "human", "value": "<image>How many?"},
                {"from": "assistant", "value": "<think>One.</think>1"},
            ],
        }
        for number, image in enumerate(images)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    spec = SourceSpec("r1-onevision", str(tmp_path / "rows.json"))
    summary = build_dataset(tmp_path / "out", BuildSettings((spec,)))
    assert (sum(summary.splits.values()), summary.rejects) == (1, {"image": len(images) - 1})


def test_parquet_that_is_none_or_lacks_columns(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and no more PAR1")
    with pytest.raises(InputError, match="no readable parquet"):
        len(open_r1_onevision(str(path)))
    parquet.write_table(pyarrow.table({"id": ["a"], "picture": ["b"]}), path)
    assert reasons(open_r1_onevision(str(path))) == {"row": 1}
    # The image type of the hub: bytes in a struct.
    assert open_r1_onevision(str(tmp_path)).rows.paths == (str(path),)


def test_parquet_images_as_bytes(tmp_path, png):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    turns = [{"from": "human", "value": "How many?"},
             {"from": "assistant", "value": "<think>One.</think>1"}]  # fmt: skip
    rows = [{"id": str(i), "image": {"bytes": png(30, 40, i), "path": None}, "conversations": turns}
            for i in range(10)]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=3)
    source = pickle.loads(pickle.dumps(open_r1_onevision(str(tmp_path))))  # noqa: S301
    assert [source[i].image for i in (9, 0, 5)] == [png(30, 40, i) for i in (9, 0, 5)]
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    start = data.index(png(30, 40, 4)[:60])
    data[start - 200 : start + 4000] = bytes(4200)
    (tmp_path / "a.parquet").write_bytes(data)
    counts = reasons(open_r1_onevision(str(tmp_path)))
    assert set(counts) <= {"row", "image file"}


def numbered(prefix, count):
    return RecordSource([Record(f"{prefix}{i}", None, "q", "a") for i in range(count)])


def test_mixtures():
    a, b = numbered("a", 60), numbered("b", 10)
    joined = MixedSource((a, b))
    assert [joined[i].id for i in (0, 59, 60, 69)] == ["a0", "a59", "b0", "b9"]
    mixed = MixedSource((a, b), (3, 1))
    ids = [mixed[i].id for i in range(len(mixed))]
    assert len(ids) == len(set(ids)) == 40  # b is used up; 30 of a go with it.
    for start in range(len(ids) - 8):
        assert sum(id.startswith("b") for id in ids[start : start + 8]) in (1, 2, 3)
    again = MixedSource((a, b), (3, 1), "all")
    ids = [again[i].id for i in range(len(again))]
    assert {id for id in ids if id.startswith("a")} == {f"a{i}" for i in range(60)}
    assert ids.count("b3") == 2
    assert again.fingerprint() != mixed.fingerprint()


@pytest.mark.parametrize("sizes", [(1, 1), (7, 0, 3), (1000, 1, 13), (5,), (0, 0)])
def test_mixing_by_weight_never_leaves_a_source(sizes):
    rng = np.random.default_rng(0)
    for _ in range(5):
        weights = rng.uniform(0.01, 9, len(sizes))
        for epoch in ("first", "all"):
            table = mix(sizes, list(weights), epoch)
            assert all(0 <= number < sizes[source] for source, number in table)
            full = [
                i for i, n in enumerate(sizes) if n and len(set(table[table[:, 0] == i, 1])) == n
            ]
            assert bool(full) == any(sizes)
            if epoch == "all":
                assert len(full) == sum(map(bool, sizes))
            else:
                assert len({tuple(pair) for pair in table.tolist()}) == len(table)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, math.nan)])
def test_weights_that_are_none(weights):
    with pytest.raises(InputError, match="weights"):
        MixedSource((numbered("a", 1), numbered("b", 1)), weights)
