"""Sampling and the engine, with a fresh small model (parity with transformers: tests/parity)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_jax.errors import InputError
from onevision_jax.model import ModelOptions, initialise, preset
from onevision_jax.parallel import ShardingRules, make_mesh
from onevision_jax.processor import Example
from onevision_jax.rollout import Completion, Generator, Sampling
from onevision_jax.rollout.engine import ladder
from onevision_jax.rollout.sampling import keep_top_k, keep_top_p, sample

FLOAT32 = ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32, init_scale=0.3)
NEVER = 511  # A stop id that greedy decoding of the fresh model does not meet.


@pytest.fixture(scope="module")
def model():
    return initialise(preset("debug"), FLOAT32)


@pytest.fixture(scope="module")
def generator(model):
    return Generator(model, stop_ids=[NEVER])


def prompt(seed: int, length: int) -> Example:
    rng = np.random.default_rng(seed)
    return Example(
        tokens=rng.integers(0, 500, length).astype(np.int32),
        positions=np.arange(length, dtype=np.int32)[None].repeat(3, 0),
        vision_index=np.full(length, -1, np.int32),
        patches=np.zeros((0, 588), np.uint8),
        patch_positions=np.zeros((0, 2), np.int32),
        image_ids=np.zeros(0, np.int32),
        window_ids=np.zeros(0, np.int32),
        next_position=length,
    )


def test_a_row_does_not_depend_on_its_neighbours(generator):
    """Sampled, with its own seed: the same alone, in a batch, and in another place."""
    prompts = [prompt(i, n) for i, n in enumerate((5, 31, 64, 12))]
    hot = Sampling(temperature=1.0, top_k=50, top_p=0.95)
    seeds = [11, 22, 33, 44]
    batch = generator.generate(prompts, sampling=hot, max_new_tokens=12, seeds=seeds)
    assert len({tuple(c.token_ids) for c in batch}) == 4
    turned = generator.generate(prompts[::-1], sampling=hot, max_new_tokens=12, seeds=seeds[::-1])
    assert [c.token_ids for c in turned[::-1]] == [c.token_ids for c in batch]
    alone = generator.generate([prompts[1]], sampling=hot, max_new_tokens=12, seeds=[22])[0]
    assert alone.token_ids == batch[1].token_ids
    assert np.allclose(alone.logprobs, batch[1].logprobs, atol=1e-4)
    other = generator.generate([prompts[1]], sampling=hot, max_new_tokens=12, seeds=[23])[0]
    assert other.token_ids != alone.token_ids


def test_streaming_gives_the_same_tokens(generator):
    hot = Sampling(temperature=0.8)
    whole = generator.generate([prompt(0, 9)], sampling=hot, max_new_tokens=11, seeds=[5])[0]
    *tokens, last = generator.stream(prompt(0, 9), sampling=hot, max_new_tokens=11, seed=5)
    assert isinstance(last, Completion)
    assert tokens == whole.token_ids == last.token_ids
    assert len(tokens) == 11


def test_vision_tokens_are_never_drawn(model, generator):
    """Even with almost uniform logits and thousands of draws."""
    prompts = [prompt(i, 6) for i in range(32)]
    hot = Sampling(temperature=50.0)
    completions = generator.generate(prompts, sampling=hot, max_new_tokens=64)
    drawn = {token for completion in completions for token in completion.token_ids}
    assert len(drawn) > 300
    assert not drawn & set(model.config.vision_token_ids)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_logprobs_are_those_of_a_forward_pass(model, generator, num_samples):
    """Teacher forcing over the answer gives the log-probabilities the engine reported."""
    assert logprob_differences(model, generator, num_samples).max() <= 1e-4


def test_logprobs_agree_in_bfloat16():
    """Decode attention against the attention of training: less than 0.01 nat on average."""
    options = ModelOptions(dtype=jnp.bfloat16, param_dtype=jnp.bfloat16, init_scale=0.1)
    model = initialise(preset("debug"), options)
    found = logprob_differences(model, Generator(model, stop_ids=[NEVER]), 4)
    assert 0 < found.mean() < 0.01


def logprob_differences(model, generator, num_samples) -> np.ndarray:
    """|training - rollout| of each token of the last of several answers to one prompt."""
    one = prompt(3, 10)
    completion = generator.generate(
        [one],
        sampling=Sampling(temperature=0.7),
        max_new_tokens=6,
        seeds=range(num_samples),
        num_samples=num_samples,
    )[-1]
    answer = np.asarray(completion.token_ids, np.int32)
    whole = np.concatenate([one.tokens, answer])
    full = prompt(0, len(whole))
    batch = {"tokens": whole, "positions": full.positions, "vision_index": full.vision_index}
    from onevision_jax.types import Batch

    row = Batch(
        tokens=jnp.asarray(batch["tokens"])[None],
        positions=jnp.asarray(batch["positions"])[:, None],
        segment_ids=jnp.ones((1, len(whole)), jnp.int32),
        vision_index=jnp.asarray(batch["vision_index"])[None],
        patches=jnp.zeros((1, 0, 588), jnp.uint8),
        patch_positions=jnp.zeros((1, 0, 2), jnp.int32),
        image_ids=jnp.zeros((1, 0), jnp.int32),
        window_ids=jnp.zeros((1, 0), jnp.int32),
    )
    logits = np.array(model.logits(model(row).hidden)[0, len(one.tokens) - 1 : -1]) / 0.7
    logits[:, list(model.config.vision_token_ids)] = -np.inf
    want = np.asarray(jax.nn.log_softmax(logits))[np.arange(len(answer)), answer]
    return np.abs(want - completion.logprobs)


@pytest.fixture(scope="module")
def spread():
    """The same model on 4 x 2 devices."""
    rules = ShardingRules(make_mesh(fsdp=4, tensor=2))
    return Generator(
        initialise(preset("debug"), FLOAT32, shardings_for=rules.params),
        stop_ids=[NEVER],
        rules=rules,
    )


def test_a_mesh_generates_the_same(generator, spread):
    """Three prompts on four rows of devices: the missing row is filled and dropped again."""
    prompts = [prompt(i, n) for i, n in enumerate((5, 31, 12))]
    greedy = Sampling()
    got = spread.generate(prompts, sampling=greedy, max_new_tokens=8)
    want = generator.generate(prompts, sampling=greedy, max_new_tokens=8)
    assert [c.token_ids for c in got] == [c.token_ids for c in want]


@pytest.mark.parametrize("where", ["generator", "spread"])
def test_samples_of_a_prompt_are_those_of_the_prompt_repeated(generator, request, where):
    """Drawn, token by token; of one prompt stand together, whose keys and values are shared."""
    prompts = [prompt(i, n) for i, n in enumerate((5, 31, 12))]
    repeated = [one for one in prompts for _ in range(3)]
    hot = Sampling(temperature=1.0)
    seeds = list(range(100, 109))
    want = generator.generate(repeated, sampling=hot, max_new_tokens=10, seeds=seeds)
    assert len({tuple(c.token_ids) for c in want}) == 9
    got = request.getfixturevalue(where).generate(
        prompts, sampling=hot, max_new_tokens=10, seeds=seeds, num_samples=3
    )
    assert [c.token_ids for c in got] == [c.token_ids for c in want]
    assert [c.finish_reason for c in got] == [c.finish_reason for c in want]
    for one, other in zip(got, want, strict=True):
        assert np.allclose(one.logprobs, other.logprobs, atol=1e-4)


def test_the_cache_holds_prompts_once_and_is_spread(spread):
    """Rows over fsdp, kv heads over tensor, for prompts and answers alike."""
    hot = Sampling(temperature=1.0)
    prompts = [prompt(i, 5) for i in range(4)]
    state, decoding = spread._start(prompts, hot, 8, None, 3)

    def check(cache):
        assert cache.k.shape[1:4] == (4, 2, 64)
        assert cache.answers.v.shape[1:4] == (12, 2, 16)
        for array in (cache.k, cache.v, cache.answers.k, cache.answers.v):
            assert array.sharding.spec[:3] == (None, "fsdp", "tensor")

    check(state.cache)
    check(spread._more(state, decoding, 4).cache)


def test_other_parameters_of_the_same_shape_can_be_used(model):
    greedy, one = Sampling(), prompt(1, 9)

    def answer(generator):
        return generator.generate([one], sampling=greedy, max_new_tokens=8)[0].token_ids

    other = initialise(preset("debug"), FLOAT32, 1)
    generator = Generator(model, stop_ids=[NEVER])
    before = answer(generator)
    generator.use(other)
    assert answer(generator) == answer(Generator(other, stop_ids=[NEVER])) != before
    generator.use(model)
    assert answer(generator) == before
    text = dataclasses.replace(preset("debug").text, num_layers=1)
    shorter = initialise(dataclasses.replace(preset("debug"), text=text), FLOAT32)
    with pytest.raises(InputError, match="another shape or options than the one it replaces"):
        generator.use(shorter)
    with pytest.raises(InputError, match="another shape or options"):
        generator.use(initialise(preset("debug"), ModelOptions(dtype=jnp.bfloat16)))
    assert answer(generator) == before  # What was refused is not used.


def test_top_k_and_top_p_keep_what_their_definitions_say():
    logits = jnp.log(jnp.asarray([[0.1, 0.4, 0.2, 0.3], [0.97, 0.01, 0.01, 0.01]]))
    assert jnp.isfinite(keep_top_k(logits, 2)).tolist() == [
        [False, True, False, True],
        [True, True, True, True],  # Ties with the second stay.
    ]
    assert jnp.isfinite(keep_top_p(logits, 0.65)).tolist() == [
        [False, True, False, True],
        [True, False, False, False],
    ]
    assert jnp.isfinite(keep_top_p(logits, 1e-6)).sum(axis=1).tolist() == [1, 1]


def test_draws_follow_the_distribution():
    """20,000 draws at temperature 2 against the probabilities, and greedy against argmax."""
    logits = jnp.asarray([[0.0, 1.0, 2.0, 3.0, 9.0]])
    banned = jnp.asarray([False, False, False, False, True])
    keys = jax.random.split(jax.random.key(0), 20_000)
    rows = jnp.repeat(logits, 20_000, axis=0)
    tokens, logprobs = sample(rows, keys, Sampling(temperature=2.0), banned)
    want = np.exp(np.arange(4) / 2) / np.exp(np.arange(4) / 2).sum()
    seen = np.bincount(np.asarray(tokens), minlength=5) / 20_000
    assert seen[4] == 0
    assert np.abs(seen[:4] - want).max() < 0.02
    assert np.allclose(logprobs, np.log(want)[np.asarray(tokens)], atol=1e-5)
    assert sample(logits, keys[:1], Sampling(), banned)[0].tolist() == [3]


def test_the_ladder_is_short_and_covers_everything():
    sizes = {ladder(n) for n in range(1, 20_000)}
    assert len(sizes) < 20
    assert all(n <= ladder(n) <= 1.5 * n for n in range(65, 20_000, 7))
    assert (ladder(0), ladder(1), ladder(64), ladder(65), ladder(97)) == (0, 64, 64, 96, 128)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -2}, "top_k is -2"),
        ({"top_p": 0.0}, "top_p is 0.0"),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Sampling(**fields)


def test_bad_requests_are_refused(generator):
    with pytest.raises(InputError, match="at least one"):
        generator.generate([], sampling=Sampling(), max_new_tokens=4)
    with pytest.raises(InputError, match="max_new_tokens is 0"):
        generator.generate([prompt(0, 4)], sampling=Sampling(), max_new_tokens=0)
    with pytest.raises(InputError, match="as many seeds"):
        generator.generate([prompt(0, 4)], sampling=Sampling(), max_new_tokens=4, seeds=[1, 2])
    with pytest.raises(InputError, match="3 completions need as many seeds, got 1"):
        generator.generate(
            [prompt(0, 4)], sampling=Sampling(), max_new_tokens=4, seeds=[1], num_samples=3
        )
    with pytest.raises(InputError, match="num_samples is 0"):
        generator.generate([prompt(0, 4)], sampling=Sampling(), max_new_tokens=4, num_samples=0)
