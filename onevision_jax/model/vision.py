"""The vision tower: patches in window order in, one vector per 2 x 2 patches out.

Patches arrive as raw bytes, are normalised here and doubled in time (a still image is both frames
of its patch), pass windowed and full attention layers, and are merged four by four. They stay in
window order throughout; `Batch.vision_index` knows where each token finds its row.

Source: Qwen2_5_VisionTransformerPretrainedModel in transformers 4.57.6; arXiv 2502.13923.
Letters: B rows, P patches, C width, N heads, H head width, I values of a patch, M = P / 4, D out.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from onevision_jax.axes import constrain
from onevision_jax.model.attention import VISION_AXES, Visible, attend, see
from onevision_jax.model.config import VisionConfig
from onevision_jax.model.layers import (
    Einsum,
    ModelOptions,
    RMSNorm,
    Stack,
    SwiGLU,
    scan_layers,
)
from onevision_jax.model.rope import Rotation, rotate, vision_rotation
from onevision_jax.types import Batch
from onevision_kernels.attention import Call, segment_ranges


def normalize_patches(patches_BPI: jax.Array, config: VisionConfig, dtype) -> jax.Array:
    """(x / 255 - mean) / std per channel; patches [B, P, 588] uint8, values in (y, x, c) order."""
    repeats = config.patch_size**2
    mean = np.tile(np.asarray(config.image_mean, np.float64), repeats)
    std = np.tile(np.asarray(config.image_std, np.float64), repeats)
    wide = jnp.promote_types(dtype, jnp.float32)
    scale = jnp.asarray(1.0 / (255.0 * std), wide)[None, None]
    shift = jnp.asarray(mean / std, wide)[None, None]
    return (patches_BPI.astype(wide) * scale - shift).astype(dtype)


class PatchEmbed(nnx.Module):
    """A 14 x 14 x 2 convolution with equal stride, as one matrix product."""

    def __init__(self, config: VisionConfig, *, options: ModelOptions, rngs: nnx.Rngs):
        self.config = config
        self.options = options
        self.proj = Einsum(
            "BPFI,FIC->BPC",
            (config.temporal_patch_size, config.patch_values, config.hidden_size),
            ("frame", "patch", "vision_embed"),
            bias_dims=0,
            stack=(),
            options=options,
            rngs=rngs,
        )

    def __call__(self, patches_BPI: jax.Array) -> jax.Array:
        x_BPI = normalize_patches(patches_BPI, self.config, self.options.dtype)
        frames = self.config.temporal_patch_size
        return self.proj(
            jnp.broadcast_to(x_BPI[:, :, None], (*x_BPI.shape[:2], frames, x_BPI.shape[2]))
        )


class VisionAttention(nnx.Module):
    """Bidirectional attention inside the patch's window or image."""

    def __init__(
        self, config: VisionConfig, *, stack: Stack, options: ModelOptions, rngs: nnx.Rngs
    ):
        C, N, H = config.hidden_size, config.num_heads, config.head_dim
        shared = {"stack": stack, "options": options, "rngs": rngs}
        self.qkv = Einsum(
            "BPC,CQNH->BPQNH",
            (C, 3, N, H),
            ("vision_embed", "qkv", "vision_heads", "head"),
            bias_dims=3,
            **shared,
        )
        self.out = Einsum(
            "BPNH,NHC->BPC",
            (N, H, C),
            ("vision_heads", "head", "vision_embed"),
            bias_dims=1,
            **shared,
        )

    def __call__(
        self,
        x_BPC: jax.Array,
        rotation: Rotation,
        image: Visible,
        window: Visible,
        is_full: jax.Array,
    ) -> jax.Array:
        """is_full [] bool chooses what is seen; each branch has its own sizes of blocks."""
        qkv_BPQNH = constrain(self.qkv(x_BPC), "batch", "patches", None, "act_heads", None)
        q_BPNH, k_BPNH, v_BPNH = (qkv_BPQNH[:, :, i] for i in range(3))
        q_BPNH = rotate(q_BPNH, rotation).astype(x_BPC.dtype)
        k_BPNH = rotate(k_BPNH, rotation).astype(x_BPC.dtype)
        out_BPNH = jax.lax.cond(
            is_full,
            lambda: attend(q_BPNH, k_BPNH, v_BPNH, image),
            lambda: attend(q_BPNH, k_BPNH, v_BPNH, window),
        )
        return self.out(out_BPNH)


class VisionBlock(nnx.Module):
    """x += attention(norm(x)); x += mlp(norm(x))."""

    def __init__(
        self, config: VisionConfig, *, stack: Stack, options: ModelOptions, rngs: nnx.Rngs
    ):
        C, eps = config.hidden_size, config.norm_eps
        self.attn_norm = RMSNorm(C, eps, stack=stack, options=options)
        self.attn = VisionAttention(config, stack=stack, options=options, rngs=rngs)
        self.mlp_norm = RMSNorm(C, eps, stack=stack, options=options)
        self.mlp = SwiGLU(
            C,
            config.intermediate_size,
            ("vision_embed", "vision_mlp"),
            bias=True,
            stack=stack,
            options=options,
            rngs=rngs,
        )

    def __call__(self, x_BPC, rotation, image: Visible, window: Visible, is_full) -> jax.Array:
        x_BPC = constrain(x_BPC, "batch", "patches", None)
        attended = self.attn(self.attn_norm(x_BPC), rotation, image, window, is_full)
        x_BPC = x_BPC + attended
        return x_BPC + self.mlp(self.mlp_norm(x_BPC))


class Merger(nnx.Module):
    """Norm per patch, four patches side by side, two layers with an exact GELU between."""

    def __init__(self, config: VisionConfig, *, options: ModelOptions, rngs: nnx.Rngs):
        inner = config.hidden_size * config.merge_unit
        shared = {"bias_dims": 1, "stack": (), "options": options, "rngs": rngs}
        self.merge_unit = config.merge_unit
        self.norm = RMSNorm(config.hidden_size, config.norm_eps, stack=(), options=options)
        self.up = Einsum("BMJ,JK->BMK", (inner, inner), ("vision_embed", "merged"), **shared)
        self.down = Einsum(
            "BMK,KD->BMD", (inner, config.out_hidden_size), ("merged", "embed"), **shared
        )

    def __call__(self, x_BPC: jax.Array) -> jax.Array:
        B, P, C = x_BPC.shape
        x_BMJ = self.norm(x_BPC).reshape(B, P // self.merge_unit, C * self.merge_unit)
        return self.down(jax.nn.gelu(self.up(x_BMJ), approximate=False))


class VisionTower(nnx.Module):
    """Patches to decoder-width vectors."""

    def __init__(self, config: VisionConfig, *, options: ModelOptions, rngs: nnx.Rngs):
        self.config = config
        self.options = options
        self.patch_embed = PatchEmbed(config, options=options, rngs=rngs)
        self.blocks = VisionBlock(config, stack=(config.depth,), options=options, rngs=rngs)
        self.merger = Merger(config, options=options, rngs=rngs)

    def __call__(self, batch: Batch) -> jax.Array:
        """[B, M, D]: row m stands for patches 4m .. 4m + 3; rows of padding are meaningless."""
        config = self.config
        rotation = vision_rotation(batch.patch_positions, config.head_dim, config.rope_theta)
        is_full_L = np.isin(np.arange(config.depth), config.full_attention_layers)

        def layer(block: VisionBlock, x_BPC: jax.Array, is_full: jax.Array) -> jax.Array:
            return block(x_BPC, rotation, image, window, is_full)

        x_BPC = self.patch_embed(batch.patches)
        image = self.prepare(batch.image_ids, x_BPC, None)
        window = self.prepare(batch.window_ids, x_BPC, config.window_patches)
        x_BPC = scan_layers(self.blocks, layer, x_BPC, jnp.asarray(is_full_L), self.options)
        return constrain(self.merger(x_BPC), "batch", "patches", "act_embed")

    def prepare(self, ids_BP: jax.Array, x_BPC: jax.Array, max_span: int | None) -> Visible:
        """Each patch sees the run of its own id, both ways; made ready once for all layers."""
        config, (B, P) = self.config, ids_BP.shape
        call = Call(
            batch=B,
            num_queries=P,
            num_keys=P,
            num_heads=config.num_heads,
            num_kv_heads=config.num_heads,
            head_dim=config.head_dim,
            dtype=x_BPC.dtype,
            max_span=max_span,
        )
        return see(
            segment_ranges(ids_BP),
            call,
            query_axes=VISION_AXES,
            key_axes=VISION_AXES,
            implementation=self.options.attention,
        )
