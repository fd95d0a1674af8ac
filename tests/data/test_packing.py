"""Packing puts every example in exactly one row, whole, and unpacks to what went in."""

import dataclasses

import numpy as np
import pytest

from onevision_jax.data.encode import Encode, TrainingExample
from onevision_jax.data.filling import Filling, fill
from onevision_jax.data.packing import Packing, join, pad_patches, stack, unpack
from onevision_jax.errors import InputError

PACKING = Packing(tokens_per_row=400, patch_budgets=(0, 200, 400), window=8)
ARRAYS = [f.name for f in dataclasses.fields(TrainingExample) if f.name != "next_position"]


@pytest.fixture(scope="module")
def examples(processor, records):
    encode = Encode(processor, max_tokens=400, max_patches=400)
    return [encode.train(record) for record in records]


def pack(examples, packing=PACKING, pad_id=0):
    rows = packing.arrange([(len(e.tokens), len(e.patches)) for e in examples])
    joined = [join([examples[i] for i in row]) for row in rows]
    return rows, stack(joined, packing, pad_id=pad_id, patch_bytes=588)


def assert_same(got: TrainingExample, expected: TrainingExample):
    assert got.next_position == expected.next_position
    for name in ARRAYS:
        one, two = getattr(got, name), getattr(expected, name)
        assert one.dtype == two.dtype, name
        np.testing.assert_array_equal(one, two, err_msg=name)


def test_unpacks_to_what_went_in(examples):
    rows, batch = pack(examples)
    order = [i for row in rows for i in row]
    assert sorted(order) == list(range(len(examples)))
    found = unpack(batch)
    assert len(found) == len(examples)
    for example, i in zip(found, order, strict=True):
        assert_same(example, examples[i])
    assert any(len(row) > 2 for row in rows)


@pytest.mark.parametrize("seed", range(20))
def test_random_sizes_each_in_one_row_none_over(seed):
    rng = np.random.default_rng(seed)
    packing = Packing(int(rng.integers(1, 500)), (0, int(rng.integers(0, 100)) * 4), window=1)
    count = int(rng.integers(0, 60))
    tokens = rng.integers(1, packing.tokens_per_row + 1, count)
    patches = rng.integers(0, packing.patches_per_row // 4 + 1, count) * 4
    sizes = list(zip(tokens.tolist(), patches.tolist(), strict=True))
    num_first = int(rng.integers(0, count + 1))
    rows = packing.arrange(sizes, num_first)
    assert sorted(i for row in rows for i in row) == list(range(count))
    for row in rows:
        assert sum(sizes[i][0] for i in row) <= packing.tokens_per_row
        assert sum(sizes[i][1] for i in row) <= packing.patches_per_row
    for before, row in enumerate(rows[1:]):  # A new row is opened only when all others are full.
        first = sizes[row[0]]
        room = [sum(sizes[i][k] for i in rows[before]) for k in range(2)]
        assert (
            first[0] + room[0] > packing.tokens_per_row
            or first[1] + room[1] > packing.patches_per_row
        )


def test_batch_is_as_the_design_says(examples):
    rows, batch = pack(examples, pad_id=7)
    assert all(len(array) == len(rows) for name, array in batch.items() if name != "positions")
    assert batch["positions"].shape == (3, len(rows), 400)
    assert batch["patches"].shape[1:] == (400, 588)
    kinds = {"patches": np.uint8, "loss_weights": np.float32}
    for name, array in batch.items():
        assert array.dtype == kinds.get(name, np.int32), name
    padding = batch["segment_ids"] == 0
    assert padding.any()
    assert (batch["tokens"][padding] == 7).all()
    assert (batch["targets"][padding] == 7).all()
    assert (batch["vision_index"][padding] == -1).all()
    assert (batch["loss_weights"][padding] == 0).all()
    assert (batch["positions"][:, padding] == 0).all()
    empty = batch["image_ids"] == 0
    assert (empty == (batch["window_ids"] == 0)).all()
    assert (batch["patches"][empty] == 0).all()


def test_ids_are_contiguous_runs_from_one(examples):
    _, batch = pack(examples)
    for name in ("segment_ids", "image_ids", "window_ids"):
        for ids in batch[name]:
            real = ids[ids > 0]
            assert (np.diff(real) >= 0).all()
            assert (np.diff(real) <= 1).all()
            assert (ids[len(real) :] == 0).all()
            assert len(real) == 0 or real[0] == 1


def test_image_tokens_take_the_patches_of_their_own_image(examples):
    """The vision rows of a segment are those of its own images and no others."""
    _, batch = pack(examples)
    for row in range(len(batch["tokens"])):
        index = batch["vision_index"][row]
        np.testing.assert_array_equal(np.sort(index[index >= 0]), np.arange((index >= 0).sum()))
        segment_of_image = {}
        for place in np.flatnonzero(index >= 0):
            (image,) = set(batch["image_ids"][row, 4 * index[place] : 4 * index[place] + 4])
            segment = batch["segment_ids"][row, place]
            assert segment_of_image.setdefault(image, segment) == segment
        assert len(segment_of_image) == batch["image_ids"][row].max()


def test_windows_stay_inside_images(examples):
    _, batch = pack(examples)
    for windows, images in zip(batch["window_ids"], batch["image_ids"], strict=True):
        for window in range(1, windows.max() + 1):
            assert len(set(images[windows == window])) == 1


def test_weights_never_cross_segments(examples):
    """Where there is weight, the target is the next token of the same segment."""
    _, batch = pack(examples)
    rows, places = np.nonzero(batch["loss_weights"])
    segments = batch["segment_ids"]
    np.testing.assert_array_equal(segments[rows, places], segments[rows, places + 1])
    np.testing.assert_array_equal(batch["targets"][rows, places], batch["tokens"][rows, places + 1])
    total = sum(example.loss_weights.sum() for example in examples)
    assert batch["loss_weights"].sum() == total


def test_budget_is_the_smallest_that_holds_the_fullest_row(examples):
    text = [example for example in examples if len(example.patches) == 0]
    assert pack(text)[1]["patches"].shape[1] == 0
    small = next(example for example in examples if 0 < len(example.patches) <= 200)
    assert pack([*text, small])[1]["patches"].shape[1] == 200


def test_empty_rows_and_more_patches(examples):
    row = join(examples[:1])
    batch = stack([None, row, None], PACKING, pad_id=0, patch_bytes=588)
    assert not batch["segment_ids"][[0, 2]].any()
    assert_same(unpack(batch)[0], examples[0])
    wider = pad_patches(batch, 400)
    assert wider["patches"].shape == (3, 400, 588)
    assert wider["patch_positions"].shape == (3, 400, 2)
    assert_same(unpack(wider)[0], examples[0])
    assert unpack(stack([None], PACKING, pad_id=0, patch_bytes=588)) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_budgets": ()}, "ascending"),
        ({"patch_budgets": (8, 4)}, "ascending"),
        ({"patch_budgets": (6,)}, "multiples of 4"),
        ({"tokens_per_row": 0}, "tokens_per_row is 0"),
        ({"window": 0}, "window is 0"),
    ],
)
def test_settings(settings, message):
    with pytest.raises(InputError, match=message):
        Packing(**settings)


def realistic_sizes(count: int, seed: int) -> list[tuple[int, int]]:
    """200 to 4,000 tokens, log-normal; 100 to 750 of them vision, but for 15 % text alone."""
    rng = np.random.default_rng(seed)
    tokens = np.clip(np.exp(rng.normal(np.log(900), 0.65, count)), 200, 4000).astype(int)
    vision = np.minimum(rng.integers(100, 751, count), tokens - 100)
    vision[rng.random(count) < 0.15] = 0
    return list(zip(tokens.tolist(), (4 * vision).tolist(), strict=True))


@pytest.mark.parametrize(
    ("seed", "patch_budgets", "least_patches"),
    [(0, (0, 5120, 10240), 0.90), (1, (0, 5120, 10240), 0.90), (2, (0, 4096, 8192, 12288), 0.75)],
)
def test_realistic_lengths_fill_95_percent_of_the_tokens(seed, patch_budgets, least_patches):
    """Rows of 8,192 tokens as a shard packs them: windows of 64, the last row carried on."""
    found = fill(realistic_sizes(6000, seed), Packing(8192, patch_budgets, window=64), 8)
    assert found.examples == 6000
    assert found.tokens >= 0.95
    assert found.patches >= least_patches


def test_what_was_carried_opens_the_first_row():
    packing = Packing(100, (400,), window=4)
    rows = packing.arrange([(20, 0), (30, 40), (90, 0), (50, 8)], num_first=2)
    assert rows == [[0, 1, 3], [2]]


def test_filling_counts_what_a_batch_holds(examples):
    rows, batch = pack(examples)
    found = Filling()
    found.add_batch(batch)
    assert found.examples == len(examples)
    assert found.tokens_used == sum(len(example.tokens) for example in examples)
    assert found.patches_used == sum(len(example.patches) for example in examples)
    assert found.tokens_available == len(rows) * 400
    assert found.patches_available == len(rows) * 400
    assert found.budgets == {400: 1}
