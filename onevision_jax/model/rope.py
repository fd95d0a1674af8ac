"""Rotary embeddings: 2-D for patches, three-axis (M-RoPE) for the decoder. Pure functions.

Angles and their sines are float32; channels j and j + H/2 form a pair.
Letters: B rows, T tokens, P patches, N heads, H head width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Rotation(NamedTuple):
    """cos and sin, both [B, T, H], the second half of the channels repeating the first."""

    cos: jax.Array
    sin: jax.Array


def _rotation(angles_BTh: jax.Array) -> Rotation:
    angles_BTH = jnp.concatenate([angles_BTh, angles_BTh], axis=-1)
    return Rotation(jnp.cos(angles_BTH), jnp.sin(angles_BTH))


def vision_rotation(patch_positions_BP2: jax.Array, head_dim: int, theta: float) -> Rotation:
    """Angles [h * f_k, w * f_k] with f_k = theta^(-2k / (H/2)), k < H/4.

    Source: Qwen2_5_VisionRotaryEmbedding and rot_pos_emb in transformers.
    """
    half = head_dim // 2
    inverse = 1.0 / (theta ** (np.arange(0, half, 2, dtype=np.float32) / half))
    h, w = (patch_positions_BP2[..., i, None].astype(jnp.float32) for i in range(2))
    inverse = jnp.asarray(inverse, jnp.float32)[None, None]
    return _rotation(jnp.concatenate([h * inverse, w * inverse], axis=-1))


def mrope_rotation(
    positions_3BT: jax.Array, head_dim: int, theta: float, sections: tuple[int, int, int]
) -> Rotation:
    """Channel j turns with position axis t, h or w, by the section j lies in.

    Source: Qwen2_5_VLRotaryEmbedding and apply_multimodal_rotary_pos_emb in transformers
    (arXiv 2409.12191 section 2.1).
    """
    inverse = 1.0 / (theta ** (np.arange(0, head_dim, 2, dtype=np.float32) / head_dim))
    axis_of_channel = np.repeat(np.arange(3), sections)
    positions_BTh = jnp.moveaxis(positions_3BT[axis_of_channel], 0, -1).astype(jnp.float32)
    return _rotation(positions_BTh * jnp.asarray(inverse, jnp.float32)[None, None])


def rotate(x_BTNH: jax.Array, rotation: Rotation) -> jax.Array:
    """x * cos + rotate_half(x) * sin, in the dtype the two promote to."""
    cos, sin = (table[:, :, None, :] for table in rotation)
    half = x_BTNH.shape[-1] // 2
    turned = jnp.concatenate([-x_BTNH[..., half:], x_BTNH[..., :half]], axis=-1)
    return x_BTNH * cos + turned * sin
