"""What a training step eats: floating-point operations of examples, hence examples per second.

Counted are matrix products, 2 operations a multiply-add, backward twice the forward; attention over
the pairs that may look at each other (causal half in the decoder, windows or whole images in the
tower). Norms, rotary embedding and recomputation are not, as is usual for MFU.
"""

from collections.abc import Iterable

from onevision_jax.model import QwenVLConfig

H200_FLOPS = 989e12
"""Dense bfloat16 operations per second of one H200 (NVIDIA's data sheet)."""
MFU = 0.55
"""The share of them that our step is to reach (its goal, not a measurement)."""


def train_flops(config: QwenVLConfig, examples: Iterable[tuple[int, int]]) -> float:
    """Operations to train on examples of (tokens, patches) each, all weights trained."""
    return 3.0 * sum(_text(config, t) + _vision(config, p) for t, p in examples)


def _text(config: QwenVLConfig, tokens: int) -> float:
    """Forward through the decoder and the logits."""
    text = config.text
    keys = text.num_kv_heads * text.head_dim
    attention = 2 * text.hidden_size**2 + 2 * text.hidden_size * keys
    feedforward = 3 * text.hidden_size * text.intermediate_size
    weights = text.num_layers * (attention + feedforward) + text.hidden_size * text.vocab_size
    pairs = tokens * (tokens + 1) / 2
    return 2.0 * weights * tokens + 4.0 * text.num_layers * text.hidden_size * pairs


def _vision(config: QwenVLConfig, patches: int) -> float:
    """Forward through the tower and its merger; one image."""
    vision = config.vision
    width, wide = vision.hidden_size, vision.hidden_size * vision.merge_unit
    layer = 4 * width**2 + 3 * width * vision.intermediate_size
    embed = vision.patch_values * vision.temporal_patch_size * width
    merger = (wide**2 + wide * vision.out_hidden_size) / vision.merge_unit
    num_full = len(vision.full_attention_layers)
    pairs = num_full * patches**2 + (vision.depth - num_full) * patches * min(
        patches, vision.window_patches
    )
    return 2.0 * (vision.depth * layer + embed + merger) * patches + 4.0 * width * pairs


def examples_per_second(config: QwenVLConfig, examples: list[tuple[int, int]]) -> float:
    """What one H200 trains on at `MFU`."""
    return len(examples) * H200_FLOPS * MFU / train_flops(config, examples)
