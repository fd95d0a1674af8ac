"""The real forward pass, generation step and training step, compiled for hardware that is not here.

Letters: B rows, T tokens, P patches, S cache slots.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from onevision_jax.model import ModelOptions, QwenVL, QwenVLConfig, abstract
from onevision_jax.parallel import ShardingRules, on_mesh
from onevision_jax.train.settings import TrainConfig
from onevision_jax.train.setup import Setup
from onevision_jax.train.sft import Trainer
from onevision_jax.types import Batch, KVCache
from onevision_kernels.target import compiling_for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """What the compiler reports of one program; bytes are of one device."""

    program: str  # "forward", "decode step", "shared decode step" or "training step"
    argument_bytes: int  # all parameters (used or not: they are resident), inputs, cache
    output_bytes: int
    alias_bytes: int  # outputs written over arguments
    temp_bytes: int  # activations and scratch
    compile_seconds: float
    # What the compiler counts as read and written, and as operations: the loop over the layers
    # once, not once a layer; None where it does not count (GPU).
    bytes_accessed: float | None = None
    flops: float | None = None

    @property
    def peak_bytes(self) -> int:
        """The most a device holds while the program runs."""
        return self.argument_bytes + self.output_bytes - self.alias_bytes + self.temp_bytes


def compile_forward(
    config: QwenVLConfig,
    options: ModelOptions,
    rules: ShardingRules,
    *,
    rows: int,
    tokens: int,
    patches: int,
) -> Compiled:
    """Embeds images and text, runs the decoder, and takes the last position's logits."""
    graphdef, params = nnx.split(abstract(config, options))

    def forward(params, batch: Batch) -> jax.Array:
        model: QwenVL = nnx.merge(graphdef, params)
        return model.logits(model(batch).hidden[:, -1:])

    batch = abstract_batch(config, rows, tokens, patches)
    return _compile(
        "forward",
        jax.jit(on_mesh(rules, forward), keep_unused=True),
        _laid_out(params, rules.params(params)),
        _laid_out(batch, rules.batch(batch)),
    )


def compile_decode_step(
    config: QwenVLConfig,
    options: ModelOptions,
    rules: ShardingRules,
    *,
    rows: int,
    slots: int,
) -> Compiled:
    """One more token for each row against a cache of `slots` slots, updated in place."""
    model = abstract(config, options)
    start = jax.ShapeDtypeStruct((rows,), jnp.int32)
    cache = jax.eval_shape(lambda start: model.empty_cache(start, slots), start)
    return _compile_step("decode step", model, rules, rows, cache)


def compile_shared_decode_step(
    config: QwenVLConfig,
    options: ModelOptions,
    rules: ShardingRules,
    *,
    prompts: int,
    answers: int,
    prompt_slots: int,
    answer_slots: int,
) -> Compiled:
    """One more token for each of `answers` answers to each prompt, whose cache they share."""
    model = abstract(config, options)
    start = jax.ShapeDtypeStruct((prompts,), jnp.int32)

    def make(start: jax.Array) -> KVCache:
        return model.with_answers(model.empty_cache(start, prompt_slots), answers, answer_slots)

    cache = jax.eval_shape(make, start)
    return _compile_step("shared decode step", model, rules, prompts * answers, cache)


def _compile_step(
    program: str, model: QwenVL, rules: ShardingRules, rows: int, cache: KVCache
) -> Compiled:
    graphdef, params = nnx.split(model)

    def step(params, batch: Batch, cache: KVCache) -> tuple[jax.Array, KVCache]:
        model: QwenVL = nnx.merge(graphdef, params)
        output = model(batch, cache)
        assert output.cache is not None
        return jnp.argmax(model.logits(output.hidden), axis=-1), output.cache

    batch = abstract_batch(model.config, rows, 1, 0)
    return _compile(
        program,
        jax.jit(on_mesh(rules, step), donate_argnums=2, keep_unused=True),
        _laid_out(params, rules.params(params)),
        _laid_out(batch, rules.batch(batch)),
        _laid_out(cache, rules.cache(cache)),
    )


def compile_train_step(
    config: QwenVLConfig,
    run: TrainConfig,
    rules: ShardingRules,
    *,
    rows: int,
    tokens: int,
    patches: int,
) -> Compiled:
    """One step of SFT over packed rows: forward, backward, clipping and the optimizer's update."""
    setup = Setup(run, config, rules)
    batch = abstract_batch(config, rows, tokens, patches)
    batch = dataclasses.replace(
        batch,
        targets=jax.ShapeDtypeStruct((rows, tokens), jnp.int32),
        loss_weights=jax.ShapeDtypeStruct((rows, tokens), jnp.float32),
    )
    return _compile(
        "training step",
        Trainer(run, setup).compiled_step,
        setup.wanted,
        _laid_out(batch, rules.batch(batch)),
    )


def abstract_batch(config: QwenVLConfig, rows: int, tokens: int, patches: int) -> Batch:
    """The shapes of a batch (no training fields)."""

    def array(*shape: int, dtype: Any = jnp.int32) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    return Batch(
        tokens=array(rows, tokens),
        positions=array(3, rows, tokens),
        segment_ids=array(rows, tokens),
        vision_index=array(rows, tokens),
        patches=array(rows, patches, config.vision.patch_values, dtype=jnp.uint8),
        patch_positions=array(rows, patches, 2),
        image_ids=array(rows, patches),
        window_ids=array(rows, patches),
    )


def _laid_out(tree, shardings):
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        shardings,
    )


def _compile(program: str, jitted, *arguments) -> Compiled:
    began = time.perf_counter()
    device = jax.tree.leaves(arguments)[0].sharding.mesh.devices.flat[0]
    with compiling_for(device):
        compiled = jitted.lower(*arguments).compile()
    seconds = time.perf_counter() - began
    memory = compiled.memory_analysis()
    cost = compiled.cost_analysis() or {}
    return Compiled(
        program=program,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        alias_bytes=memory.alias_size_in_bytes,
        temp_bytes=memory.temp_size_in_bytes,
        compile_seconds=seconds,
        bytes_accessed=cost.get("bytes accessed"),
        flops=cost.get("flops"),
    )
