"""Greedy generation, token by token the same as transformers'."""

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from PIL import Image

from onevision_jax.rollout import Generator, Sampling

pytestmark = pytest.mark.parity
NEW_TOKENS = 32


def generator_of(pair) -> Generator:
    tokenizer = pair.processor.tokenizer
    return Generator(pair.ours, stop_ids=tokenizer.stop_ids, pad_id=tokenizer.pad_id)


def conversation(*content):
    items = [{"type": "image"} if c is ... else {"type": "text", "text": c} for c in content]
    return [{"role": "user", "content": items}]


def theirs_greedy(pair, examples, pixels) -> list[list[int]]:
    """transformers' batched generate on left-padded rows, cut after the stop token."""
    tokenizer, config = pair.processor.tokenizer, pair.ours.config
    length = max(len(e.tokens) for e in examples)
    ids = np.full((len(examples), length), tokenizer.pad_id, np.int64)
    mask = np.zeros_like(ids)
    for row, example in enumerate(examples):
        ids[row, length - len(example.tokens) :] = example.tokens
        mask[row, length - len(example.tokens) :] = 1
    pair.theirs.model.rope_deltas = None
    with torch.no_grad():
        output = pair.theirs.generate(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            **pixels,
            do_sample=False,
            temperature=None,
            top_k=None,
            top_p=None,
            repetition_penalty=1.0,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=list(tokenizer.stop_ids),
            pad_token_id=tokenizer.pad_id,
            suppress_tokens=list(config.vision_token_ids),
        )
    rows = output[:, length:].tolist()
    stops = set(tokenizer.stop_ids)
    return [row[: next((i + 1 for i, t in enumerate(row) if t in stops), len(row))] for row in rows]


def check(pair, conversations, images_of_rows):
    images = [[Image.fromarray(picture) for picture in row] for row in images_of_rows]
    examples = [pair.processor(c, i) for c, i in zip(conversations, images, strict=True)]
    want = theirs_greedy(pair, examples, pair.pixels([image for row in images for image in row]))
    completions = generator_of(pair).generate(
        examples, sampling=Sampling(temperature=0.0), max_new_tokens=NEW_TOKENS
    )
    assert [completion.token_ids for completion in completions] == want
    assert any(len(set(row)) > 5 for row in want), "the answers hardly vary: nothing is tested"
    stops = set(pair.processor.tokenizer.stop_ids)
    for completion in completions:
        stopped = completion.token_ids[-1] in stops
        assert completion.finish_reason == ("stop" if stopped else "length")


def test_text_only(pair):
    check(pair, [conversation("What is the angle at B?")], [[]])


def test_one_image(pair, pictures):
    check(pair, [conversation(..., "Read the chart.")], [pictures[:1]])


def test_several_images_of_different_sizes(pair, pictures):
    check(pair, [conversation(..., ..., "Which is taller?", ...)], [pictures[1:4]])


def test_two_turns(pair, pictures):
    turns = [
        *conversation(..., "Area?"),
        {"role": "assistant", "content": "12 cm."},
        *conversation(..., "And here?"),
    ]
    check(pair, [turns], [pictures[:2]])


def test_batch_of_unequal_lengths(pair, pictures):
    conversations = [
        conversation("Angle?"),
        conversation(..., "Read the chart, then answer."),
        conversation("What is the area of the triangle?", ..., ...),
    ]
    check(pair, conversations, [[], [pictures[0]], [pictures[3], pictures[1]]])


def test_a_stop_token_ends_the_row(pair):
    """The third token that greedy decoding would give is made a stop token."""
    example = pair.processor(conversation("What is the angle at B?"), [])
    greedy = Sampling(temperature=0.0)
    free = Generator(pair.ours, stop_ids=()).generate([example], sampling=greedy, max_new_tokens=8)[
        0
    ]
    stop = free.token_ids[2]
    stopped = Generator(pair.ours, stop_ids=[stop]).generate(
        [example], sampling=greedy, max_new_tokens=8
    )[0]
    cut = free.token_ids.index(stop) + 1
    assert stopped.token_ids == free.token_ids[:cut]
    assert (free.finish_reason, stopped.finish_reason) == ("length", "stop")
