"""Properties of the model that need no reference: packing, remat, sizes, the cache."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from onevision_jax.errors import InputError
from onevision_jax.model import (
    ModelOptions,
    QwenVL,
    abstract,
    initialise,
    num_parameters,
    preset,
)
from onevision_jax.types import Batch

FLOAT32 = ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32, init_scale=0.2)


@pytest.fixture(scope="module")
def model() -> QwenVL:
    return initialise(preset("debug"), FLOAT32)


@functools.partial(jax.jit, static_argnames="graphdef")
def _hidden(graphdef, params, batch):
    return nnx.merge(graphdef, params)(batch).hidden


def hidden_of(model, batch) -> np.ndarray:
    return np.asarray(_hidden(*nnx.split(model), batch))


def example(seed: int, num_text: int, units: int) -> dict[str, np.ndarray]:
    """Random text with one image of 2 x `units` merged rows in the middle (or none)."""
    rng = np.random.default_rng(seed)
    P, num_vision = 8 * units, 2 * units
    T = num_text + num_vision
    index = np.full(T, -1)
    index[num_text // 2 : num_text // 2 + num_vision] = rng.permutation(num_vision)
    return {
        "tokens": rng.integers(0, 500, T),
        "positions": np.sort(rng.integers(0, T, (3, T)), axis=1),
        "segment_ids": np.ones(T, int),
        "vision_index": index,
        "patches": rng.integers(0, 256, (P, 588)),
        "patch_positions": rng.integers(0, 9, (P, 2)),
        "image_ids": np.ones(P, int),
        "window_ids": np.repeat([1, 2], P // 2),
    }


def pack(*examples: dict[str, np.ndarray], pad_tokens=0, pad_patches=0) -> Batch:
    """One row; ids and vision rows shifted so that the examples stay apart."""
    rows = [{name: value.copy() for name, value in e.items()} for e in examples]
    offset = 0
    for number, row in enumerate(rows):
        row["segment_ids"] *= number + 1
        row["image_ids"] *= number + 1
        row["window_ids"] += 2 * number
        row["vision_index"][row["vision_index"] >= 0] += offset
        offset += len(row["patches"]) // 4
    fields = {}
    for name in rows[0]:
        axis = 1 if name == "positions" else 0
        value = np.concatenate([row[name] for row in rows], axis=axis)
        padding = [(0, 0)] * value.ndim
        tokenwise = name in ("tokens", "positions", "segment_ids", "vision_index")
        padding[axis] = (0, pad_tokens if tokenwise else pad_patches)
        value = np.pad(value, padding, constant_values=-1 if name == "vision_index" else 0)
        kind = np.uint8 if name == "patches" else np.int32
        fields[name] = jnp.asarray(np.expand_dims(value, axis).astype(kind))
    return Batch(**fields)


def test_packed_equals_unpacked(model):
    examples = [example(0, 7, 4), example(1, 5, 0), example(2, 11, 6)]
    packed = hidden_of(model, pack(*examples, pad_tokens=9, pad_patches=12))[0]
    start = 0
    for one in examples:
        alone = hidden_of(model, pack(one))[0]
        assert np.abs(packed[start : start + len(alone)] - alone).max() <= 1e-5
        start += len(alone)
    assert np.isfinite(packed).all()


def test_another_segment_changes_no_bit(model):
    a, b, c = example(0, 7, 4), example(1, 5, 4), example(2, 11, 6)
    changed = {**b, "tokens": b["tokens"][::-1], "patches": 255 - b["patches"]}
    before, after = hidden_of(model, pack(a, b, c))[0], hidden_of(model, pack(a, changed, c))[0]
    first, second = len(a["tokens"]), len(a["tokens"]) + len(b["tokens"])
    assert (before[:first] == after[:first]).all()
    assert (before[second:] == after[second:]).all()
    assert (before[first:second] != after[first:second]).any()


def test_the_cache_changes_nothing(model):
    """Prefill, then token by token, against one pass over the whole row."""
    row = pack(example(3, 12, 4))
    want = hidden_of(model, row)[0]
    T, prefix = want.shape[0], want.shape[0] - 3

    def part(start, stop):
        cut = {
            name: getattr(row, name)[..., start:stop]
            for name in ("tokens", "positions", "segment_ids", "vision_index")
        }
        return dataclasses.replace(row, **cut)

    output = model(part(0, prefix), model.empty_cache(jnp.zeros(1, jnp.int32), T))
    got = [np.asarray(output.hidden[0])]
    for t in range(prefix, T):
        output = model(part(t, t + 1), output.cache)
        got.append(np.asarray(output.hidden[0]))
    assert int(output.cache.length) == T
    assert np.abs(np.concatenate(got) - want).max() <= 1e-5


@pytest.mark.parametrize("at_once", [1, 2])
def test_answers_that_share_a_prompt_equal_whole_rows(model, at_once):
    """Two answers of four tokens to each of two prompts, against rows of prompt and answer."""
    T, rows = 12, np.random.default_rng(5).integers(0, 500, (4, 16)).astype(np.int32)
    rows[1, :T], rows[3, :T] = rows[0, :T], rows[2, :T]

    def text(tokens, start):
        B, length = tokens.shape
        positions = np.broadcast_to(np.arange(start, start + length), (3, B, length))
        fields = {
            "positions": positions,
            "segment_ids": np.ones((B, length)),
            "vision_index": np.full((B, length), -1),
            "patch_positions": np.zeros((B, 0, 2)),
            "image_ids": np.zeros((B, 0)),
            "window_ids": np.zeros((B, 0)),
        }
        arrays = {name: jnp.asarray(value, jnp.int32) for name, value in fields.items()}
        return Batch(
            tokens=jnp.asarray(tokens), patches=jnp.zeros((B, 0, 588), jnp.uint8), **arrays
        )

    want = hidden_of(model, text(rows, 0))[:, T:]
    cache = model(text(rows[::2, :T], 0), model.empty_cache(jnp.zeros(2, jnp.int32), T)).cache
    cache = model.with_answers(cache, 2, 6)
    assert cache.k.shape[1] == 2, "the prompts are held once"
    got = []
    for t in range(T, 16, at_once):
        output = model(text(rows[:, t : t + at_once], t), cache)
        cache = output.cache
        got.append(np.asarray(output.hidden))
    assert cache.answers.lengths.tolist() == [4] * 4
    assert np.abs(np.concatenate(got, axis=1) - want).max() <= 1e-5


def test_ended_answers_grow_no_longer(model):
    """And change nothing of the others."""
    cache = model.empty_cache(jnp.asarray([1, 0], jnp.int32), 4)
    cache = dataclasses.replace(model.with_answers(cache, 2, 3), length=jnp.int32(4))
    row = pack(example(1, 1, 0))
    one = jax.tree.map(lambda leaf: jnp.repeat(leaf, 4, axis=leaf.ndim - 2), row)
    one = dataclasses.replace(one, patches=jnp.zeros((4, 0, 588), jnp.uint8))
    one = dataclasses.replace(one, patch_positions=jnp.zeros((4, 0, 2), jnp.int32))
    first = model(one, cache).cache
    ended = dataclasses.replace(
        first, answers=first.answers.end(jnp.asarray([False, True, False, True]))
    )
    going, stopped = model(one, first), model(one, ended)
    assert going.cache.answers.lengths.tolist() == [2, 2, 2, 2]
    assert stopped.cache.answers.lengths.tolist() == [2, 0, 2, 0]
    assert (going.hidden[::2] == stopped.hidden[::2]).all()


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_rematerialisation_changes_no_gradient(model, remat):
    batch = pack(example(0, 7, 4))
    direction = jax.random.normal(jax.random.key(1), (1, 15, 64))

    def gradient(model):
        graphdef, params = nnx.split(model)

        def loss(params):
            return (nnx.merge(graphdef, params)(batch).hidden * direction).sum()

        return jax.jit(jax.grad(loss))(params)

    plain, again = gradient(model), gradient(model.with_options(remat=remat))
    everything = np.sqrt(sum(np.linalg.norm(leaf) ** 2 for leaf in jax.tree.leaves(plain)))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        assert np.linalg.norm(a - b) <= 1e-5 * (np.linalg.norm(a) + 1e-6 * everything)


def test_presets_have_the_published_sizes():
    published = {"3b": 3_754_622_976, "7b": 8_292_166_656}
    published |= {"32b": 33_452_718_336, "72b": 73_410_777_344}
    assert {name: num_parameters(abstract(preset(name))) for name in published} == published


def test_unknown_settings_are_refused():
    with pytest.raises(InputError, match="preset '4b' is none of debug, 3b"):
        preset("4b")
    with pytest.raises(InputError, match="remat is 'some'"):
        ModelOptions(remat="some")
