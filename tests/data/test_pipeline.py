"""The whole pipeline: every example once, exact resume, any process count, hostile records."""

import dataclasses
import gc
import json
import pickle
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from onevision_jax.data.graph import ReadAndEncode, build
from onevision_jax.data.packing import Packing, pad_patches, unpack
from onevision_jax.data.pipeline import Pipeline, PipelineConfig
from onevision_jax.data.prompts import PromptConfig, PromptIterator
from onevision_jax.data.record import to_row, write_jsonl
from onevision_jax.data.shards import ShardState, merge_states
from onevision_jax.data.source import JsonlSource, RecordSource, Rejected
from onevision_jax.data.target import TargetConfig
from onevision_jax.errors import InputError

CONFIG = PipelineConfig(
    packing=Packing(tokens_per_row=400, patch_budgets=(0, 200, 400), window=4),
    rows_per_batch=8,
    num_shards=4,
    num_epochs=2,
    seed=3,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("records")
    write_jsonl(path / "train.jsonl", records)
    return path


@pytest.fixture(scope="module")
def pipeline(folder, processor):
    return Pipeline(JsonlSource((str(folder / "train.jsonl"),)), processor, CONFIG)


@pytest.fixture(scope="module")
def reference(pipeline):
    """All batches of an uninterrupted run, and the state after each."""
    batches = pipeline.batches()
    return [(batch, json.dumps(batches.get_state())) for batch in batches]


def change(pipeline, **fields):
    return dataclasses.replace(pipeline, config=dataclasses.replace(pipeline.config, **fields))


def assert_equal(got, expected):
    assert got.keys() == expected.keys()
    for name in got:
        assert got[name].dtype == expected[name].dtype
        assert got[name].shape == expected[name].shape
        assert got[name].tobytes() == expected[name].tobytes(), name


def answers(pipeline, batch):
    """The record behind each example, known by its answer."""
    texts = [
        pipeline.processor.tokenizer.decode(example.targets[example.loss_weights > 0])
        for example in unpack(batch)
    ]
    return [int(text.split("<answer>")[1].split("<")[0]) for text in texts]


def test_every_example_once_an_epoch(pipeline, reference, records):
    seen = [number for batch, _ in reference for number in answers(pipeline, batch)]
    assert sorted(seen) == sorted([*range(len(records))] * 2)
    once = change(pipeline, num_epochs=1).batches()
    seen_once = [number for batch in once for number in answers(pipeline, batch)]
    assert sorted(seen_once) == list(range(len(records)))
    assert once.num_examples == len(records)
    assert seen_once != sorted(seen_once)


def test_epochs_and_seeds_differ(pipeline):
    first = next(change(pipeline, num_epochs=None).batches())
    other = next(change(pipeline, num_epochs=None, seed=4).batches())
    assert answers(pipeline, first) != answers(pipeline, other)


def test_same_run_same_bytes(pipeline, reference):
    for batch, (expected, _) in zip(pipeline.batches(), reference, strict=True):
        assert_equal(batch, expected)


def test_killed_and_resumed_at_50_points(pipeline):
    """Stops at 50 random points in one run; each time only the JSON state survives."""
    rng = np.random.default_rng(0)
    long = change(pipeline, num_epochs=None, rows_per_batch=4)
    expected = long.batches()
    batches, kills = long.batches(), 0
    state = json.dumps(batches.get_state())
    while kills < 50:
        if rng.random() < 0.5:
            state = json.dumps(batches.get_state())
            batches = long.batches(state=json.loads(state))
            kills += 1
        assert_equal(next(batches), next(expected))
    assert len(state) < 4000
    assert batches.num_examples == expected.num_examples
    assert batches.num_batches == expected.num_batches > 50


def test_resume_at_every_point_of_a_finite_run(pipeline, reference):
    for done, (_, state) in enumerate(reference):
        batches = pipeline.batches(state=json.loads(state))
        rest = reference[done + 1 :][:2]
        for expected, _ in rest:
            assert_equal(next(batches), expected)
        if len(rest) < 2:
            assert next(batches, None) is None


def test_set_state_goes_back(pipeline, reference):
    batches = pipeline.batches()
    for _ in range(5):
        next(batches)
    batches.set_state(json.loads(reference[1][1]))
    assert_equal(next(batches), reference[2][0])


def gather(pipeline, count, state=None):
    """Batches of several processes, put together as one process sees them."""
    processes = [
        pipeline.batches(process_index=index, process_count=count, state=state)
        for index in range(count)
    ]
    while True:
        parts = [next(process, None) for process in processes]
        if all(part is None for part in parts):
            return
        parts = [
            p.empty() if part is None else part for p, part in zip(processes, parts, strict=True)
        ]
        most = max(part["patches"].shape[1] for part in parts)
        parts = [pad_patches(part, most) for part in parts]
        whole = {}
        for name in parts[0]:
            axis = 1 if name == "positions" else 0
            stacked = np.stack([part[name] for part in parts], axis=axis + 1)
            shape = list(parts[0][name].shape)
            shape[axis] *= count
            whole[name] = stacked.reshape(shape)
        yield whole, merge_states([process.get_state() for process in processes])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_processes_sees_the_same_batches(pipeline, reference, count):
    for (got, state), (expected, saved) in zip(gather(pipeline, count), reference, strict=True):
        assert_equal(got, expected)
        assert state == json.loads(saved)


def test_number_of_processes_may_change_in_the_middle(pipeline, reference):
    state, done = None, 0
    for count, steps in ((1, 2), (2, 3), (4, 2), (1, 1)):
        run = gather(pipeline, count, state)
        for _ in range(steps):
            whole, state = next(run)
            assert_equal(whole, reference[done][0])
            done += 1
        state = json.loads(json.dumps(state))
    assert state == json.loads(reference[done - 1][1])


def test_state_of_other_settings_is_refused(pipeline, reference, processor, tmp_path):
    state = json.loads(reference[0][1])
    with pytest.raises(InputError, match="saved with seed = 3, but now it is 5"):
        change(pipeline, seed=5).batches(state=state)
    write_jsonl(tmp_path / "few.jsonl", [pipeline.source[0]])
    other = Pipeline(JsonlSource((str(tmp_path / "few.jsonl"),)), processor, CONFIG)
    with pytest.raises(InputError, match="saved with source"):
        other.batches(state=state)
    part = pipeline.batches(process_index=1, process_count=2).get_state()
    with pytest.raises(InputError, match=r"lacks shards \[0, 2\]"):
        pipeline.batches(state=part)
    with pytest.raises(InputError, match="not written by this version"):
        pipeline.batches(state={})
    with pytest.raises(InputError, match="cannot be merged"):
        merge_states([state, json.loads(reference[1][1])])


def test_bad_settings(pipeline, records, processor):
    with pytest.raises(InputError, match="no multiple of num_shards"):
        PipelineConfig(rows_per_batch=6, num_shards=4)
    with pytest.raises(InputError, match="num_epochs is 0"):
        PipelineConfig(num_epochs=0)
    with pytest.raises(InputError, match="4 data shards cannot be shared by 3 processes"):
        pipeline.batches(process_count=3)
    with pytest.raises(InputError, match="process 2 of 2 does not exist"):
        pipeline.batches(process_index=2, process_count=2)
    with pytest.raises(InputError, match="num_workers 3 does not divide"):
        change(pipeline, num_workers=3).batches()
    with pytest.raises(InputError, match="has no records"):
        Pipeline(RecordSource([]), processor, CONFIG)


def test_prints_as_its_steps(pipeline):
    text = str(pipeline)
    assert [line.split()[0] for line in text.splitlines()] == [
        "source",
        "order",
        "encode",
        "pack",
        "batch",
    ]
    assert "61 records" in text
    assert "(8, 400, 200)" in text
    assert len(text) < 1500


def test_shapes_are_those_announced(pipeline, reference):
    shapes = {(*batch["tokens"].shape, batch["patches"].shape[1]) for batch, _ in reference}
    assert shapes <= set(pipeline.shapes())


def test_unshuffled_order_is_that_of_the_file(pipeline):
    config = dataclasses.replace(CONFIG.packing, window=1, tokens_per_row=400)
    ordered = change(
        pipeline, shuffle=False, num_shards=1, rows_per_batch=1, num_epochs=1, packing=config
    )
    seen = [number for batch in ordered.batches() for number in answers(ordered, batch)]
    assert seen == sorted(seen)


# Workers.


def test_workers_change_nothing(pipeline, reference):
    with change(pipeline, num_workers=1).batches() as batches:
        for expected, state in reference[:6]:
            assert_equal(next(batches), expected)
            assert json.dumps(batches.get_state()) == state
    resumed = change(pipeline, num_workers=2).batches(state=json.loads(reference[5][1]))
    with resumed:
        for batch, (expected, _) in zip(resumed, reference[6:], strict=True):
            assert_equal(batch, expected)


def test_workers_initialise_no_jax_backend(pipeline):
    encode = pipeline.encode

    def spy(record):
        """Encodes, and says in the last target whether a jax backend runs in this process."""
        from jax._src import xla_bridge

        example = encode.train(record)
        example.targets[-1] = 1000 + xla_bridge.backends_are_initialized()
        return example

    config = dataclasses.replace(CONFIG, num_workers=1)
    step = ReadAndEncode(pipeline.source, spy)
    states = {shard: ShardState().to_json() for shard in range(4)}
    groups = iter(build(step, config, states))
    try:
        marks = {int(x) for _ in range(4) for row in next(groups)["rows"] for x in row["targets"]}
    finally:
        groups.close()
        del groups
        gc.collect()  # As `BatchIterator.close` does.
    assert 1000 in marks
    assert 1001 not in marks
    jax.devices()  # The test can fail: in this process there is one.
    assert spy(pipeline.source[0]).targets[-1] == 1001


def test_an_error_in_a_worker_arrives(pipeline, tmp_path, processor):
    (tmp_path / "bad.jsonl").write_text("nonsense\n" * 5)
    source = JsonlSource((str(tmp_path / "bad.jsonl"),))
    config = dataclasses.replace(CONFIG, num_workers=1, num_epochs=None)
    with (
        Pipeline(source, processor, config).batches() as batches,
        pytest.raises(InputError, match="all unusable"),
    ):
        next(batches)


# Hostile and malformed records.


def write_rows(path, rows):
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines))


@pytest.fixture
def hostile(tmp_path, records, png):
    """A file of good rows with one bad row of each kind between; what each should count as."""
    folder = tmp_path / "hostile"
    write_jsonl(folder / "good.jsonl", records[:8])
    good = [json.loads(line) for line in (folder / "good.jsonl").read_text().splitlines()]
    images = folder / "images"
    (tmp_path / "secret.png").write_bytes(png(40, 40))
    (images / "link.png").symlink_to(tmp_path / "secret.png")
    (images / "loop.png").symlink_to(images / "loop.png")
    (images / "broken.png").write_bytes(png(50, 50)[:300])
    (images / "empty.png").write_bytes(b"")
    (images / "text.png").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    (images / "long.png").write_bytes(png(28 * 201, 28))
    (images / "directory.png").mkdir()
    Image.new("CMYK", (50, 40)).save(images / "cmyk.jpg")
    (images / "huge.png").write_bytes(
        png(30, 30).replace(b"\0\0\0\x1e\0\0\0\x1e", b"\0\0\xff\xff" * 2)
    )
    base = dict(good[1])

    def row(**fields):
        return {**base, **fields}

    def image(name):
        return row(image=f"images/{name}")

    bad = {
        "row": [
            b"not json",
            b"\xff\xfe\x00",
            b"[1, 2]",
            b'{"id": "x", "image": null, "question": "q", "answer": NaN}',
            b'{"id": "x", "image": null, "question": "q", "provenance": {"a": NaN}, "answer": "1"}',
            b"[" * 100_000,
            {"id": "x", "image": None, "question": "q"},
            {key: value for key, value in base.items() if key != "image"},
            row(question=7),
            row(answer=""),
            row(choices="abc"),
            row(unknown=1),
            row(tier="kindergarten"),
            row(question="\ud800"),
        ],
        "image file": [
            image("missing.png"),
            image("link.png"),
            image("loop.png"),
            image("directory.png"),
            image("a" * 5000),
            row(image="../secret.png"),
            row(image=str(tmp_path / "secret.png")),
            row(image="images/\0.png"),
            row(image=["images/a.png"]),
        ],
        "image": [image("broken.png"), image("text.png"), image("long.png"), image("huge.png")],
        "text": [row(question="<|image_pad|>"), row(reasoning="<|im_end|>")],
        "target": [row(reasoning="a</think>b"), row(answer="<answer>")],
        "too long": [row(question="?" * 10_000_000), row(reasoning="1 " * 3000)],
    }
    bad["image file"].append(image("empty.png"))
    fine = [*good, image("cmyk.jpg")]
    mixed = [*fine[:4], *(entry for entries in bad.values() for entry in entries), *fine[4:]]
    write_rows(folder / "mixed.jsonl", [*mixed[:6], b"", b"   ", *mixed[6:]])
    return folder / "mixed.jsonl", len(fine), {why: len(entries) for why, entries in bad.items()}


def test_hostile_records_are_left_out_and_counted(hostile, processor):
    path, num_good, counts = hostile
    source = JsonlSource((str(path),))
    assert len(source) == num_good + sum(counts.values())
    config = dataclasses.replace(CONFIG, num_epochs=1)
    batches = Pipeline(source, processor, config).batches()
    found = sum(len(unpack(batch)) for batch in batches)
    assert batches.dropped.counts == counts
    assert found == num_good
    first = batches.dropped.first
    assert "mixed.jsonl, line" in first["row"]
    assert all(len(message) <= 240 for message in first.values())


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes overwritten, cut out or repeated at random places."""
    array = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        place, length = int(rng.integers(len(array))), int(rng.integers(1, 30))
        kind = rng.integers(3)
        if kind == 0:
            array[place : place + length] = rng.bytes(len(array[place : place + length]))
        elif kind == 1 and len(array) > length:
            del array[place : place + length]
        else:
            array[place:place] = array[place : place + length]
    return bytes(array)


def test_mutated_rows_and_images_never_crash(tmp_path, records, processor):
    """Whatever a byte does, a row becomes an example or is left out with a reason."""
    rng = np.random.default_rng(0)
    write_jsonl(tmp_path / "good.jsonl", records[1:9])
    lines = (tmp_path / "good.jsonl").read_bytes().splitlines()
    for number in range(60):
        good = records[1 + number % 4].image
        (tmp_path / "images" / f"{number}.png").write_bytes(mutate(good, rng))
    rows = [mutate(lines[number % 8], rng).replace(b"\n", b" ") for number in range(240)]
    rows += [
        json.dumps({**json.loads(lines[0]), "image": f"images/{number}.png"}).encode()
        for number in range(60)
    ]
    (tmp_path / "fuzzed.jsonl").write_bytes(b"\n".join(rows))
    pipeline = Pipeline(JsonlSource((str(tmp_path / "fuzzed.jsonl"),)), processor, CONFIG)
    step = ReadAndEncode(pipeline.source, pipeline.encode.train)
    results = [step(number) for number in range(len(pipeline.source))]
    reasons = {result.reason for result in results if isinstance(result, Rejected)}
    assert reasons >= {"row", "image"}
    assert any(not isinstance(result, Rejected) for result in results)


def test_counts_are_in_the_state_and_survive_a_resume(hostile, processor):
    path, num_good, counts = hostile
    pipeline = Pipeline(
        JsonlSource((str(path),)), processor, dataclasses.replace(CONFIG, num_epochs=1)
    )
    batches = pipeline.batches()
    next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    resumed = pipeline.batches(state=state)
    for _ in resumed:
        pass
    assert resumed.dropped.counts == counts
    assert resumed.num_examples == num_good


def test_nothing_usable_is_one_clear_error(tmp_path, processor):
    (tmp_path / "bad.jsonl").write_text('{"id": 1}\n' * 3)
    pipeline = Pipeline(
        JsonlSource((str(tmp_path / "bad.jsonl"),)),
        processor,
        dataclasses.replace(CONFIG, num_epochs=None),
    )
    with pytest.raises(InputError, match=r"all unusable: 1000 x row .*line \d"):
        next(pipeline.batches())


def test_nothing_usable_in_one_epoch_is_one_clear_error(pipeline, records):
    packing = dataclasses.replace(CONFIG.packing, tokens_per_row=20)
    short = change(pipeline, num_epochs=1, packing=packing)
    with pytest.raises(InputError, match=r"no record can be used: 61 x too long .*lengthen the"):
        next(short.batches())
    with pytest.raises(InputError, match="no record can be used: 61 x too long"):
        next(short.prompts())
    few = dataclasses.replace(pipeline, source=RecordSource(records[:1]))
    last = change(few, num_epochs=1).batches(process_index=3, process_count=4)
    assert next(last, None) is None  # Another process has the only record.


@pytest.mark.parametrize("text", ["", "\n\n", "  \n \n"])
def test_empty_file_is_one_clear_error(tmp_path, processor, text):
    (tmp_path / "empty.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"empty.jsonl.*has no records"):
        Pipeline(JsonlSource((str(tmp_path / "empty.jsonl"),)), processor, CONFIG)
    with pytest.raises(InputError, match="does not exist"):
        JsonlSource((str(tmp_path / "absent.jsonl"),))


def test_data_that_changed_since_are_noticed(pipeline, records, processor, tmp_path):
    folder = tmp_path / "changing"
    write_jsonl(folder / "train.jsonl", records)
    mine = dataclasses.replace(pipeline, source=JsonlSource((str(folder / "train.jsonl"),)))
    batches = mine.batches()
    next(batches)
    state = batches.get_state()
    shutil.rmtree(folder / "images")
    with pytest.raises(InputError, match="data changed since"):
        next(mine.batches(state=state))


# Sources.


def test_jsonl_source_reads_any_row_of_any_file(folder, records):
    path = str(folder / "train.jsonl")
    source = JsonlSource((path, path))
    assert len(source) == 2 * len(records)
    for number in (0, 60, 61, 121, 7):
        assert source[number] == records[number % 61]
    with pytest.raises(IndexError):
        source[122]
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301


def test_long_line_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("onevision_jax.data.source.MAX_LINE_BYTES", 1000)
    (tmp_path / "long.jsonl").write_bytes(b" " * 2000 + b"{}\n")
    with pytest.raises(Rejected, match="longer than"):
        JsonlSource((str(tmp_path / "long.jsonl"),))[0]


def test_rejected_can_be_sent_to_another_process():
    again = pickle.loads(pickle.dumps(Rejected("row", "why")))  # noqa: S301
    assert (again.reason, str(again)) == ("row", "why")


# Prompts.


def test_prompts_are_the_records_in_order(pipeline, records):
    prompts = list(pipeline.prompts())
    assert [prompt.record.id for prompt in prompts] == [record.id for record in records]
    assert prompts[1].record == records[1]
    text = pipeline.processor.tokenizer.decode(prompts[1].example.tokens)
    assert text.endswith("What is value 1?<|im_end|>\n<|im_start|>assistant\n")


def test_prompts_resume_anywhere_on_any_number_of_processes(pipeline, processor):
    config = PromptConfig(num_shards=4, shuffle=True, seed=1, num_epochs=None)
    expected = PromptIterator(pipeline.source, processor, config)
    state = None
    for count, steps in ((1, 8), (2, 6), (4, 20), (1, 4)):
        parts = [
            PromptIterator(
                pipeline.source,
                processor,
                config,
                process_index=index,
                process_count=count,
                state=state,
            )
            for index in range(count)
        ]
        got = [next(part).record.id for _ in range(steps) for part in parts]
        assert got == [next(expected).record.id for _ in got]
        state = json.loads(json.dumps(merge_states([part.get_state() for part in parts])))


def test_prompts_leave_out_what_cannot_be_used(hostile, processor):
    path, num_good, counts = hostile
    config = PromptConfig(target=TargetConfig(), max_tokens=400, max_patches=400)
    prompts = PromptIterator(JsonlSource((str(path),)), processor, config)
    found = list(prompts)
    # Reasoning and answer are not part of a prompt: what is wrong with them does no harm.
    expected = counts | {"text": 1, "target": 0, "too long": 1}
    assert prompts.dropped.counts == {why: count for why, count in expected.items() if count}
    assert len(found) == num_good + sum(counts.values()) - sum(expected.values())
    assert to_row(found[0].record)["id"] == "r0"
