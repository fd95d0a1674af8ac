"""Twenty steps of SFT beside transformers with torch's AdamW: the same losses."""

import pytest

pytest.importorskip("torch")

import copy

import jax
import jax.numpy as jnp
import numpy as np
import torch
from PIL import Image

from onevision_jax.convert import load_model
from onevision_jax.model import ModelOptions
from onevision_jax.parallel import ShardingRules, make_mesh, place
from onevision_jax.processor import collate
from onevision_jax.train import MeshConfig, OptimizerConfig, Setup, TrainConfig, Trainer
from onevision_jax.types import Batch

pytestmark = pytest.mark.parity

NUM_STEPS, ROWS, CLIP = 20, 3, 1.0
QUESTIONS = ["What is the angle at B?", "Read the chart.", "Which bar is taller?", "Area?"]
ANSWERS = ["12 cm", "Both bars are taller than 30.", "the answer is two", "The triangle"]


@pytest.fixture(scope="module")
def examples(pair, pictures):
    """(example, number of prompt tokens, vision inputs of transformers), with and without image."""
    made = []
    for number in range(6):
        images = [Image.fromarray(pictures[number % 3])] if number % 3 != 2 else []
        text = {"type": "text", "text": QUESTIONS[number % 4]}
        prompt = [{"role": "user", "content": [*({"type": "image"} for _ in images), text]}]
        answer = {"role": "assistant", "content": ANSWERS[number % 4]}
        start = len(pair.processor(prompt, images).tokens)
        made.append((pair.processor([*prompt, answer], images), start, pair.pixels(images)))
    return made


def batch_of(chosen) -> Batch:
    arrays = collate([e for e, _, _ in chosen], pad_to_tokens=160, pad_to_patches=320)
    targets = np.roll(arrays["tokens"], -1, axis=1)
    weights = np.zeros(targets.shape, np.float32)
    for row, (example, start, _) in enumerate(chosen):
        weights[row, start - 1 : len(example.tokens) - 1] = 1
    fields = {**arrays, "targets": targets, "loss_weights": weights}
    return Batch(**{name: jnp.asarray(value) for name, value in fields.items()})


def test_twenty_steps_have_the_same_loss(pair, examples):
    settings = OptimizerConfig(peak_lr=3e-4, warmup_steps=3, weight_decay=0.1, clip_norm=CLIP)
    config = TrainConfig(
        checkpoint=pair.folder,
        num_steps=NUM_STEPS,
        model=ModelOptions(dtype=jnp.float32, param_dtype=jnp.float32),
        optimizer=settings,
        mesh=MeshConfig(fsdp=1),
    )
    rules = ShardingRules(make_mesh(fsdp=1, devices=jax.devices()[:1]))
    trainer = Trainer(config, Setup(config, pair.ours.config, rules))
    model = load_model(pair.folder, options=config.model, shardings_for=rules.params)
    _, state = trainer.setup.start(model)

    theirs = copy.deepcopy(pair.theirs).train()
    plain = [p for n, p in theirs.named_parameters() if n.endswith("bias") or "norm" in n]
    plain += [p for n, p in theirs.named_parameters() if n.endswith("merger.ln_q.weight")]
    plain = list({id(p): p for p in plain}.values())
    others = [p for p in theirs.parameters() if all(p is not q for q in plain)]
    groups = [
        {"params": others, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, betas=(settings.beta1, settings.beta2), eps=settings.eps)

    worst, losses = 0.0, []
    for step in range(NUM_STEPS):
        chosen = [examples[(step + 2 * row) % len(examples)] for row in range(ROWS)]
        batch = batch_of(chosen)
        state, numbers = trainer.step(state, place(batch, rules.batch(batch)))
        adam.zero_grad()
        summed, count = torch.zeros(()), 0
        for example, start, vision in chosen:
            ids = torch.tensor(example.tokens[None].astype(np.int64))
            logits = theirs(input_ids=ids, attention_mask=torch.ones_like(ids), **vision).logits
            wanted = ids[0, start:]
            summed = summed + torch.nn.functional.cross_entropy(
                logits[0, start - 1 : -1], wanted, reduction="sum"
            )
            count += len(wanted)
        loss = summed / count
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), CLIP)
        for group in adam.param_groups:
            group["lr"] = float(numbers["lr"])
        adam.step()
        losses.append(loss.item())
        worst = max(worst, abs(float(numbers["loss"]) - loss.item()))
        assert float(numbers["grad_norm"]) == pytest.approx(norm.item(), rel=2e-3)
    print(f"losses {losses[0]:.3f} -> {losses[-1]:.3f}, max |difference| {worst:.1e}")
    assert losses[-1] < 0.9 * losses[0]
    assert worst <= 1e-4
