"""The gradient of a GRPO step on a real model is the formula's, however it is cut or spread."""

import dataclasses
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from onevision_jax.data.encode import Encode
from onevision_jax.data.packing import Packing
from onevision_jax.model import from_folder
from onevision_jax.parallel import ShardingRules, make_mesh
from onevision_jax.parallel.prefetch import to_devices
from onevision_jax.processor import collate
from onevision_jax.rewards import GraderPool
from onevision_jax.rollout import Sampling
from onevision_jax.train import Setup
from onevision_jax.train.policy import Policy
from onevision_jax.train.policy_loss import PolicyLossConfig
from onevision_jax.train.rollouts import Sample, Scoring, micro_batches, roll_out
from onevision_jax.types import Batch

SAMPLING = Sampling(temperature=0.7)
NEW = 12  # tokens of a completion, at most
PACKING = Packing(tokens_per_row=320, patch_budgets=(192,))
CAP = 1.2
# A later update, with a sampler that disagrees; and the first one, with a reference.
LATER = PolicyLossConfig(clip_high=0.3, importance_cap=CAP)
FIRST = PolicyLossConfig(kl_weight=0.2, importance_cap=CAP)
spec = importlib.util.spec_from_file_location("grpo_child", Path(__file__).parent / "grpo_child.py")
assert spec is not None
assert spec.loader is not None
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)


class Parts:
    """The parts of a run on a mesh, with a policy that has moved away from the run's start."""

    def __init__(self, start, processor, mesh=(1, 1), loss=LATER):
        config = child.short_run(start / "no.jsonl", start, loss=loss)
        devices = jax.devices()[: mesh[0] * mesh[1]]
        self.rules = ShardingRules(make_mesh(fsdp=mesh[0], tensor=mesh[1], devices=devices))
        self.setup = Setup(config, from_folder(start / "assets"), self.rules)
        self.policy = Policy(self.setup, config.loss, SAMPLING, processor)
        self.start = self.setup.start(self.setup.load())[1]
        moved = jax.tree.map(lambda x: x * 1.03, self.start.trainable)
        self.state = dataclasses.replace(self.start, trainable=moved)

    def gradient(self, arrays):
        """(numbers, {path: gradient}), summed over micro-batches, by the code of a step."""
        compute, reference = self.policy._gradients, self.policy._reference_state()
        found = [compute(self.state, reference, to_devices(part, self.rules)) for part in arrays]
        grads = [by_path(grads) for grads, _ in found]
        numbers = {name: sum(float(more[name]) for _, more in found) for name in found[0][1]}
        return numbers, {path: sum(g[path] for g in grads) for path in grads[0]}


def by_path(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def check_equal(got, want):
    """Design section 6: 1e-5 of each tensor's norm; prints the worst share of it."""
    off = abs(got[0]["loss"] - want[0]["loss"]) / abs(want[0]["loss"])
    assert got[1].keys() == want[1].keys()
    total = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in want[1].values()))
    errors = {
        path: np.linalg.norm(got[1][path] - g) / (np.linalg.norm(g) + 1e-6 * total)
        for path, g in want[1].items()
    }
    print(f"loss {off:.1e}, gradients {max(errors.values()):.1e}")
    assert off <= 1e-5
    assert max(errors.values()) <= 1e-5, errors


@pytest.fixture(scope="module")
def encode(pipeline):
    return Encode(pipeline.processor, max_tokens=320, max_patches=192)


@pytest.fixture(scope="module")
def one(start, pipeline):
    """On one device."""
    return Parts(start, pipeline.processor)


@pytest.fixture(scope="module")
def samples(one, encode, records):
    """16 drawn completions; with advantages of both signs, one masked, one idle."""
    asked = [encode.prompt(record) for record in records[:4]]
    sampler = one.policy.sampler(one.start)
    groups = roll_out(
        sampler, asked, group_size=4, sampling=SAMPLING, max_new_tokens=NEW, seed=(1, 0)
    )
    scoring = Scoring(
        processor=encode.processor,
        rewards=one.setup.config.rewards,
        scale="group",
        aggregation="token",
        max_new_tokens=NEW,
    )
    with GraderPool(num_workers=1, timeout_seconds=60) as graders:
        samples = scoring(asked, groups, graders)
    rng = np.random.default_rng(2)
    samples = [dataclasses.replace(s, advantage=float(rng.normal(0.5))) for s in samples]
    samples[5] = dataclasses.replace(samples[5], weight=0.0)
    samples[6] = dataclasses.replace(samples[6], advantage=0.0)
    return samples


def noisy(sample: Sample) -> Sample:
    """As if the sampler had computed other log-probs."""
    rng = np.random.default_rng(sample.completion.token_ids)
    logprobs = [x + float(rng.normal(0, 0.3)) for x in sample.completion.logprobs]
    drawn = dataclasses.replace(sample.completion, logprobs=logprobs)
    return dataclasses.replace(sample, completion=drawn)


def cut(samples, encode, loss=LATER, rows=4, packing=PACKING):
    """Micro-batches; in a later update, the old policy is the one that drew."""
    keep_idle = loss.kl_weight > 0
    others = list(micro_batches([noisy(s) for s in samples], encode, packing, rows, keep_idle))
    if loss is FIRST:
        return others
    parts = micro_batches(samples, encode, packing, rows, keep_idle)
    return [
        {**other, "old_logprobs": part["sampler_logprobs"]}
        for part, other in zip(parts, others, strict=True)
    ]


def plain(parts, samples, loss):
    """(numbers, gradients) without packing, kernels or micro-batches: one sample a row, all logits.

    Letters: B samples, K tokens of a completion.
    """
    setup = parts.setup
    model_config = from_folder(Path(setup.config.checkpoint) / "assets")
    prompts = [len(s.prompt.example.tokens) for s in samples]
    arrays = collate(
        [joined(s) for s in samples], pad_to_tokens=max(prompts) + NEW, pad_to_patches=64
    )
    batch = Batch(**{name: jnp.asarray(array) for name, array in arrays.items()})
    places_BK = jnp.asarray(prompts)[:, None] - 1 + jnp.arange(NEW)[None]
    tokens_BK = padded([s.completion.token_ids for s in samples]).astype(np.int32)
    banned = [*model_config.vision_token_ids, *parts.policy._tokenizer.ids_of("<|vision_pad|>")]
    assert len(banned) == 5

    def logprobs_BK(params):
        model = nnx.merge(setup.graphdef, params, parts.state.frozen)
        logits = model.logits(model(batch).hidden) / SAMPLING.temperature
        logits = logits.at[:, :, jnp.asarray(banned)].set(-jnp.inf)
        here = jnp.take_along_axis(jax.nn.log_softmax(logits), places_BK[..., None], axis=1)
        return jnp.take_along_axis(here, jnp.asarray(tokens_BK)[..., None], axis=2)[..., 0]

    compute = jax.jit(logprobs_BK)
    drawn_BK = padded([s.completion.logprobs for s in samples])
    old = drawn_BK if loss is LATER else compute(parts.state.trainable)
    reference = compute(parts.start.trainable)
    sampler = padded([noisy(s).completion.logprobs for s in samples])
    correction = np.minimum(np.exp(old - sampler), CAP)
    weight = padded([[s.weight] * len(s.completion.token_ids) for s in samples])
    advantage = padded([[s.advantage] * NEW for s in samples])

    def objective(params):
        logprob = logprobs_BK(params)
        ratio = jnp.exp(logprob - old)
        clipped = jnp.clip(ratio, 1 - loss.clip_low, 1 + loss.clip_high)
        value = -correction * jnp.minimum(ratio * advantage, clipped * advantage)
        value += loss.kl_weight * (jnp.exp(reference - logprob) - reference + logprob - 1)
        return (weight * value).sum()

    value, grads = jax.jit(jax.value_and_grad(objective))(parts.state.trainable)
    return {"loss": float(value)}, by_path(grads)


def joined(sample: Sample):
    """Prompt and completion as one example, without the project's own code for it."""
    prompt, drawn = sample.prompt.example, np.asarray(sample.completion.token_ids, np.int32)
    places = np.arange(prompt.next_position, prompt.next_position + len(drawn), dtype=np.int32)
    return dataclasses.replace(
        prompt,
        tokens=np.append(prompt.tokens, drawn),
        positions=np.append(prompt.positions, np.stack([places] * 3), axis=1),
        vision_index=np.append(prompt.vision_index, np.full(len(drawn), -1, np.int32)),
    )


def padded(rows):
    return np.stack([np.pad(np.asarray(row, np.float32), (0, NEW - len(row))) for row in rows])


@pytest.fixture(scope="module")
def whole(one, samples, encode):
    """A later update on one device, four rows at a time."""
    numbers, grads = one.gradient(cut(samples, encode))
    assert 0 < numbers["clipped"] < numbers["tokens"]
    assert all(np.abs(g).max() > 0 for g in grads.values())
    return numbers, grads


def test_a_later_update_follows_the_formula(one, samples, whole):
    counted = [s for s in samples if s.weight and s.advantage]
    assert whole[0]["tokens"] == sum(len(s.completion.token_ids) for s in counted)
    check_equal(whole, plain(one, samples, LATER))


def test_the_first_update_follows_the_formula(start, pipeline, samples, encode):
    """With a KL penalty, in which idle samples take part."""
    parts = Parts(start, pipeline.processor, loss=FIRST)
    got = parts.gradient(cut(samples, encode, FIRST))
    counted = [s for s in samples if s.weight]
    assert got[0]["tokens"] == sum(len(s.completion.token_ids) for s in counted)
    assert got[0]["clipped"] == 0 < got[0]["kl"]
    check_equal(got, plain(parts, samples, FIRST))


@pytest.mark.parametrize(
    ("rows", "packing"),
    [(2, PACKING), (8, Packing(tokens_per_row=120, patch_budgets=(64,)))],
    ids=["two", "eight_short"],
)
def test_any_cut_into_micro_batches_is_the_same(one, samples, encode, whole, rows, packing):
    parts = cut(samples, encode, rows=rows, packing=packing)
    assert len(parts) > 1
    check_equal(one.gradient(parts), whole)


def test_a_step_adds_up_its_micro_batches(one, samples, encode, whole):
    numbers, grads = whole
    parts = [to_devices(part, one.rules) for part in cut(samples, encode, rows=2)]
    state = jax.tree.map(jnp.copy, one.state)  # The update takes it.
    state, found = one.policy.update(state, parts, 1)
    norm = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in grads.values()))
    assert found["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert found["loss"] == pytest.approx(numbers["loss"], rel=1e-5)
    for name, term in (("entropy", "entropy"), ("clip_fraction", "clipped")):
        assert found[name] == pytest.approx(numbers[term] / numbers["tokens"], rel=1e-5)
    assert int(state.step) == 1


@pytest.mark.parametrize("mesh", [(8, 1), (4, 2), (2, 4)], ids=["8x1", "4x2", "2x4"])
def test_eight_devices_equal_one(start, pipeline, samples, encode, whole, mesh):
    spread = Parts(start, pipeline.processor, mesh)
    check_equal(spread.gradient(cut(samples, encode, rows=8)), whole)
