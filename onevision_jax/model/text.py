"""The decoder: grouped-query attention with M-RoPE, SwiGLU, RMSNorm, and the KV cache.

Source: Qwen2_5_VLDecoderLayer in transformers 4.57.6.
Letters: B rows, T tokens, S cache slots, D width, N query heads, K kv heads, H head width.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental.layout import Layout, with_layout_constraint

from onevision_jax.axes import constrain
from onevision_jax.model.attention import Visible, attend, see
from onevision_jax.model.config import TextConfig
from onevision_jax.model.layers import (
    Einsum,
    ModelOptions,
    RMSNorm,
    Stack,
    SwiGLU,
    scan_layers,
)
from onevision_jax.model.rope import Rotation, mrope_rotation, rotate
from onevision_jax.types import KVCache
from onevision_kernels.attention import Call, cache_ranges, segment_ranges
from onevision_kernels.decode import SharedCache, decode_attention


class TextAttention(nnx.Module):
    """Projections around the attention; the mask is given as key ranges."""

    def __init__(self, config: TextConfig, *, stack: Stack, options: ModelOptions, rngs: nnx.Rngs):
        D, N, K, H = config.hidden_size, config.num_heads, config.num_kv_heads, config.head_dim
        shared = {"stack": stack, "options": options, "rngs": rngs}
        kv_axes = ("embed", "kv_heads", "head")
        self.decode_implementation = options.decode
        self.q = Einsum(
            "BTD,DNH->BTNH", (D, N, H), ("embed", "heads", "head"), bias_dims=2, **shared
        )
        self.k = Einsum("BTD,DKH->BTKH", (D, K, H), kv_axes, bias_dims=2, **shared)
        self.v = Einsum("BTD,DKH->BTKH", (D, K, H), kv_axes, bias_dims=2, **shared)
        self.out = Einsum(
            "BTNH,NHD->BTD", (N, H, D), ("heads", "head", "embed"), bias_dims=0, **shared
        )

    def project(self, x_BTD: jax.Array, rotation: Rotation) -> tuple[jax.Array, ...]:
        """q [B, T, N, H], k and v [B, T, K, H]; q and k rotated."""
        q_BTNH = constrain(self.q(x_BTD), "batch", "length", "act_heads", None)
        k_BTKH = constrain(self.k(x_BTD), "batch", "length", "act_kv_heads", None)
        v_BTKH = constrain(self.v(x_BTD), "batch", "length", "act_kv_heads", None)
        return rotate(q_BTNH, rotation), rotate(k_BTKH, rotation), v_BTKH

    def attend(self, q_BTNH, k_BSKH, v_BSKH, seen: Visible) -> jax.Array:
        return self.out(attend(q_BTNH, k_BSKH, v_BSKH, seen))

    def attend_shared(self, q_BTNH, cache: SharedCache, layer: jax.Array) -> jax.Array:
        """New tokens of answers that share their prompts."""
        out = decode_attention(q_BTNH, cache, layer, implementation=self.decode_implementation).out
        return self.out(out)


class DecoderBlock(nnx.Module):
    """x += attention(norm(x)); x += mlp(norm(x))."""

    def __init__(self, config: TextConfig, *, stack: Stack, options: ModelOptions, rngs: nnx.Rngs):
        D = config.hidden_size
        self.attn_norm = RMSNorm(D, config.norm_eps, stack=stack, options=options)
        self.attn = TextAttention(config, stack=stack, options=options, rngs=rngs)
        self.mlp_norm = RMSNorm(D, config.norm_eps, stack=stack, options=options)
        self.mlp = SwiGLU(
            D,
            config.intermediate_size,
            ("embed", "mlp"),
            bias=False,
            stack=stack,
            options=options,
            rngs=rngs,
        )

    def __call__(self, x_BTD: jax.Array, rotation: Rotation, seen: Visible) -> jax.Array:
        """Causal attention inside the segments."""
        x_BTD = constrain(x_BTD, "batch", "length", "act_embed")
        q, k, v = self.attn.project(self.attn_norm(x_BTD), rotation)
        x_BTD = x_BTD + self.attn.attend(q, k, v, seen)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD))

    def prefill(
        self,
        x_BTD: jax.Array,
        rotation: Rotation,
        seen: Visible,
        cache: KVCache,
        layer: jax.Array,
    ) -> tuple[jax.Array, KVCache]:
        """Writes this layer's keys and values at `cache.length`, attends to the whole cache.

        The stacked cache is updated in place (a loop carry), so a step moves no more than it must.
        """
        q, k, v = self.attn.project(self.attn_norm(x_BTD), rotation)
        cache = dataclasses.replace(
            cache,
            k=_written(cache.k, k, layer, cache.length),
            v=_written(cache.v, v, layer, cache.length),
        )
        own_k, own_v = (
            jax.lax.dynamic_index_in_dim(full, layer, keepdims=False).swapaxes(1, 2)
            for full in (cache.k, cache.v)
        )
        x_BTD = x_BTD + self.attn.attend(q, own_k, own_v, seen)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD)), cache

    def decode(
        self, x_BTD: jax.Array, rotation: Rotation, cache: SharedCache, layer: jax.Array, step
    ) -> tuple[jax.Array, SharedCache]:
        """Writes this layer's keys and values of the answers at slot `step`, attends to prompts
        and answers; updated in place, as `prefill` does."""
        q, k, v = self.attn.project(self.attn_norm(x_BTD), rotation)
        cache = cache._replace(
            answer_k=_written(cache.answer_k, k, layer, step),
            answer_v=_written(cache.answer_v, v, layer, step),
        )
        x_BTD = x_BTD + self.attn.attend_shared(q, cache, layer)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD)), cache


def _written(full_LBKSH: jax.Array, new_BTKH: jax.Array, layer, slot) -> jax.Array:
    """The stacked keys or values with new ones of one layer at `slot`."""
    new = new_BTKH.swapaxes(1, 2)[None].astype(full_LBKSH.dtype)
    full = jax.lax.dynamic_update_slice(full_LBKSH, new, (layer, 0, 0, slot, 0))
    # Left free, the compiler for TPU takes the layout of the new keys, rows innermost, and then
    # copies the whole cache to multiply with it.
    return with_layout_constraint(full, Layout(major_to_minor=(0, 1, 2, 3, 4)))


class Decoder(nnx.Module):
    """The stack of decoder blocks and the final norm."""

    def __init__(self, config: TextConfig, *, options: ModelOptions, rngs: nnx.Rngs):
        self.config = config
        self.options = options
        self.blocks = DecoderBlock(config, stack=(config.num_layers,), options=options, rngs=rngs)
        self.norm = RMSNorm(config.hidden_size, config.norm_eps, stack=(), options=options)

    def _rotation(self, positions_3BT: jax.Array, dtype) -> Rotation:
        """cos and sin in the dtype of the activations, as transformers rotates in the decoder."""
        config = self.config
        rotation = mrope_rotation(
            positions_3BT, config.head_dim, config.rope_theta, config.mrope_section
        )
        return Rotation(*(table.astype(dtype) for table in rotation))

    def prepare(
        self, ranges_BT4: jax.Array, x_BTD: jax.Array, num_keys: int, *, causal: bool
    ) -> Visible:
        """The ranges made ready once for all layers."""
        config, (B, T, _) = self.config, x_BTD.shape
        call = Call(
            batch=B,
            num_queries=T,
            num_keys=num_keys,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            dtype=x_BTD.dtype,
            causal=causal,
        )
        return see(ranges_BT4, call, implementation=self.options.attention)

    def __call__(
        self, x_BTD: jax.Array, positions_3BT: jax.Array, segment_ids_BT: jax.Array
    ) -> jax.Array:
        """[B, T, D]: packed rows, each segment causal on its own; id 0 sees nothing."""
        rotation = self._rotation(positions_3BT, x_BTD.dtype)
        seen = self.prepare(segment_ranges(segment_ids_BT), x_BTD, x_BTD.shape[1], causal=True)

        def layer(block: DecoderBlock, x: jax.Array, _) -> jax.Array:
            return block(x, rotation, seen)

        return self.norm(scan_layers(self.blocks, layer, x_BTD, None, self.options))

    def with_cache(
        self, x_BTD: jax.Array, positions_3BT: jax.Array, cache: KVCache
    ) -> tuple[jax.Array, KVCache]:
        """[B, T, D] and the cache T slots longer; the caller has left room for them."""
        rotation = self._rotation(positions_3BT, x_BTD.dtype)
        grow = self._prefill if cache.answers is None else self._decode
        x_BTD, cache = grow(x_BTD, rotation, cache)
        return self.norm(x_BTD), cache

    def _prefill(self, x_BTD: jax.Array, rotation: Rotation, cache: KVCache):
        num_new = x_BTD.shape[1]
        ranges = cache_ranges(cache.start, cache.length, num_new)
        seen = self.prepare(ranges, x_BTD, cache.k.shape[3], causal=False)

        def layer(block: DecoderBlock, carry, index: jax.Array):
            x, filled = carry
            return block.prefill(x, rotation, seen, filled, index)

        x_BTD, cache = scan_layers(self.blocks, layer, (x_BTD, cache), self._layers(), self.options)
        return x_BTD, dataclasses.replace(cache, length=cache.length + num_new)

    def _decode(self, x_BTD: jax.Array, rotation: Rotation, cache: KVCache):
        answers, num_new = cache.answers, x_BTD.shape[1]
        assert answers is not None
        step = answers.step
        lengths = jnp.where(answers.lengths == step, step + num_new, answers.lengths)
        stops = jnp.broadcast_to(cache.length, cache.start.shape)
        bounds = jnp.stack([cache.start, stops], axis=1)

        def layer(block: DecoderBlock, carry, index: jax.Array):
            x, k, v = carry
            # The prompts are constants of the loop: as part of its carry they could be copied.
            shared = SharedCache(cache.k, cache.v, bounds, k, v, lengths)
            x, shared = block.decode(x, rotation, shared, index, step)
            return x, shared.answer_k, shared.answer_v

        carry = (x_BTD, answers.k, answers.v)
        x_BTD, k, v = scan_layers(self.blocks, layer, carry, self._layers(), self.options)
        grown = dataclasses.replace(answers, k=k, v=v, step=step + num_new, lengths=lengths)
        return x_BTD, dataclasses.replace(cache, answers=grown)

    def _layers(self) -> jax.Array:
        return jnp.arange(self.config.num_layers, dtype=jnp.int32)
