"""Rung by rung against transformers on tiny random models, through the real converter.

Each rung feeds our layer what transformers' layer was fed, so an error shows where it arises.
"""

import pytest

pytest.importorskip("torch")

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx
from PIL import Image

from onevision_jax.convert import keymap
from onevision_jax.model.rope import mrope_rotation, vision_rotation
from onevision_jax.processor import collate
from onevision_jax.types import Batch
from onevision_kernels.attention import segment_ranges

pytestmark = pytest.mark.parity


def user(*content):
    """One user turn; content: texts, and ... where a picture stands."""
    items = [{"type": "image"} if c is ... else {"type": "text", "text": c} for c in content]
    return {"role": "user", "content": items}


CASES = {
    "text": ([user("What is the angle at B?")], []),
    "one image": ([user(..., "Read the chart.")], [0]),
    "several images": ([user(..., ..., "Which bar is taller?", ..., "And here?")], [2, 1, 3]),
    "two turns": (
        [user(..., "Area?"), {"role": "assistant", "content": "12 cm."}, user(..., "Now?")],
        [1, 0],
    ),
}


def case(pair, pictures, name):
    """(example, input_ids, vision inputs of transformers)."""
    messages, chosen = CASES[name]
    images = [Image.fromarray(pictures[i]) for i in chosen]
    example = pair.processor(messages, images)
    ids = torch.tensor(example.tokens[None].astype(np.int64))
    return example, ids, pair.pixels(images)


def batch_of(*examples, extra=0, side: Literal["left", "right"] = "right") -> Batch:
    arrays = collate(
        examples,
        pad_to_tokens=max(len(e.tokens) for e in examples) + extra,
        pad_to_patches=max(len(e.patches) for e in examples) + 4 * extra,
        side=side,
    )
    return Batch(**{name: jnp.asarray(value) for name, value in arrays.items()})


@functools.partial(jax.jit, static_argnames="graphdef")
def _logits(graphdef, params, batch):
    model = nnx.merge(graphdef, params)
    return model.logits(model(batch).hidden)


def logits_of(model, batch) -> np.ndarray:
    graphdef, params = nnx.split(model)
    return np.asarray(_logits(graphdef, params, batch))


def layer(stack, index):
    """One layer of a stacked module."""
    graphdef, state = nnx.split(stack)
    return nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[index], state))


def record(module, store, name):
    """Keeps what a torch module was fed and what it answered."""

    def hook(_, args, kwargs, output):
        fed = args[0] if args else kwargs["hidden_states"]
        answer = output[0] if isinstance(output, tuple) else output
        store[name] = (fed.detach().numpy(), answer.detach().numpy())

    return module.register_forward_hook(hook, with_kwargs=True)


@pytest.fixture(scope="module")
def rungs(pair, pictures):
    """What every layer of transformers saw and said on the case with several images."""
    example, ids, vision = case(pair, pictures, "several images")
    visual, text = pair.theirs.model.visual, pair.theirs.model.language_model
    modules = {"patch_embed": visual.patch_embed, "merger": visual.merger}
    modules |= {f"vision {i}": block for i, block in enumerate(visual.blocks)}
    modules |= {f"text {i}": block for i, block in enumerate(text.layers)}
    seen = {}
    hooks = [record(module, seen, name) for name, module in modules.items()]
    with torch.no_grad():
        pair.theirs(input_ids=ids, attention_mask=torch.ones_like(ids), **vision)
    for hook in hooks:
        hook.remove()
    return batch_of(example), seen


def off(ours, theirs) -> float:
    """max |difference| over the reference's largest value (at least 1)."""
    return np.abs(np.asarray(ours) - theirs).max() / max(1.0, np.abs(theirs).max())


def test_patch_embedding(pair, rungs):
    batch, seen = rungs
    ours = pair.ours.vision.patch_embed(batch.patches)[0]
    merge = pair.ours.config.vision.merge_unit
    theirs = seen["patch_embed"][1].reshape(-1, merge, ours.shape[-1])
    # transformers permutes into window order after the embedding; compare as sets of units.
    fed = seen["vision 0"][0].reshape(theirs.shape)
    assert off(ours.reshape(theirs.shape), fed) <= 1e-5
    assert np.allclose(np.sort(theirs.sum((1, 2))), np.sort(fed.sum((1, 2))), atol=1e-4)


def test_every_vision_layer(pair, rungs):
    batch, seen = rungs
    config = pair.ours.config.vision
    rotation = vision_rotation(batch.patch_positions, config.head_dim, config.rope_theta)
    cut = segment_ranges(batch.image_ids) == segment_ranges(batch.window_ids)
    assert not cut.all(), "the windows are not cut: nothing is tested"
    first = jnp.asarray(seen["vision 0"][0])[None]
    tower = pair.ours.vision
    full = tower.prepare(batch.image_ids, first, None)
    window = tower.prepare(batch.window_ids, first, config.window_patches)
    for index in range(config.depth):
        fed, answer = seen[f"vision {index}"]
        is_full = jnp.asarray(index in config.full_attention_layers)
        block = layer(pair.ours.vision.blocks, index)
        ours = block(jnp.asarray(fed)[None], rotation, full, window, is_full)[0]
        assert off(ours, answer) <= 2e-5, f"layer {index}, full: {is_full}"
        swapped = block(jnp.asarray(fed)[None], rotation, full, window, ~is_full)[0]
        assert off(swapped, answer) > 1e-3, f"layer {index}: full or windowed makes no difference"


def test_merger(pair, rungs):
    _, seen = rungs
    fed, answer = seen["merger"]
    assert off(pair.ours.vision.merger(jnp.asarray(fed)[None])[0], answer) <= 1e-5


def test_every_decoder_layer(pair, rungs):
    batch, seen = rungs
    config = pair.ours.config.text
    rotation = mrope_rotation(
        batch.positions, config.head_dim, config.rope_theta, config.mrope_section
    )
    first = jnp.asarray(seen["text 0"][0])
    ranges = segment_ranges(batch.segment_ids)
    visible = pair.ours.decoder.prepare(ranges, first, first.shape[1], causal=True)
    for index in range(config.num_layers):
        fed, answer = seen[f"text {index}"]
        ours = layer(pair.ours.decoder.blocks, index)(jnp.asarray(fed), rotation, visible)
        assert off(ours, answer) <= 2e-5, f"layer {index}"


@pytest.mark.parametrize("name", CASES)
def test_logits(pair, pictures, name):
    example, ids, vision = case(pair, pictures, name)
    with torch.no_grad():
        theirs = pair.theirs(input_ids=ids, attention_mask=torch.ones_like(ids), **vision).logits
    difference = np.abs(logits_of(pair.ours, batch_of(example)) - theirs.numpy()).max()
    print(f"logits, {name}: max |difference| {difference:.1e}")
    assert difference <= 1e-4


def test_logits_of_a_padded_batch(pair, pictures):
    """Unequal lengths, padding on both sides of each kind: same logits as alone."""
    examples = [case(pair, pictures, name)[0] for name in CASES]
    alone = [logits_of(pair.ours, batch_of(example))[0] for example in examples]
    for side in ("left", "right"):
        batch = batch_of(*examples, extra=5, side=side)
        together = logits_of(pair.ours, batch)
        for row, want in enumerate(alone):
            real = np.asarray(batch.segment_ids[row]) == 1
            assert np.abs(together[row][real] - want).max() <= 5e-5


def relative(ours, theirs, scale) -> float:
    """Design section 6: |d| / (|reference| + 1e-6 |all|)."""
    return np.linalg.norm(ours - theirs) / (np.linalg.norm(theirs) + 1e-6 * scale)


def test_gradient_of_every_parameter(pair, pictures):
    example, ids, vision = case(pair, pictures, "several images")
    theirs, config = pair.theirs, pair.ours.config
    theirs.zero_grad()
    theirs(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, **vision).loss.backward()
    grads = {
        name: np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy()
        for name, p in theirs.named_parameters()
    }
    scale = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in grads.values()))
    graphdef, params = nnx.split(pair.ours)
    batch = batch_of(example)

    @jax.jit
    def loss(params):
        model = nnx.merge(graphdef, params)
        logits = model.logits(model(batch).hidden)[:, :-1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.tokens[:, 1:]).mean()

    flat = {
        "/".join(map(str, path)): np.asarray(leaf[...])
        for path, leaf in nnx.to_flat_state(jax.grad(loss)(params))
    }
    used, worst = set(), 0.0
    for entry in keymap.entries(config):
        for index in range(entry.num_layers(config)):
            name = entry.name("transformers", index)
            used.add(name)
            ours = flat[entry.path][index] if entry.stacked else flat[entry.path]
            want = entry.to_ours(grads[name], config)
            error = relative(ours, want, scale)
            worst = max(worst, error)
            assert error <= 1e-3, f"{name}: {error:.1e}"
    assert used == set(grads)
    print(f"gradients of {len(used)} tensors: largest relative difference {worst:.1e}")
