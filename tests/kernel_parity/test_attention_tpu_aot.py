"""The TPU kernels compiled for chips that are not here: that they do, their memory and copies."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.layout import Format, Layout
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from onevision_jax.plan import compile_only_devices
from onevision_kernels.attention import (
    AttentionOutput,
    Call,
    PreparedRanges,
    prepare_ranges,
    range_attention,
)
from onevision_kernels.attention.api import choose
from onevision_kernels.target import compiling_for

TOPOLOGIES = ["v5e:2x2", "v5p:2x2x1", "v6e:2x2"]
DECODER = Call(1, 8192, 8192, 28, 4, 128, jnp.dtype("bfloat16"), True)
VISION = Call(1, 8192, 8192, 16, 16, 80, jnp.dtype("bfloat16"), False)
WINDOWS = VISION._replace(max_span=64)
LONG = DECODER._replace(num_queries=16384, num_keys=16384)
PRECISE = Call(2, 1000, 1000, 4, 2, 128, jnp.dtype("float32"), False)
RAGGED = Call(2, 333, 1000, 4, 2, 80, jnp.dtype("bfloat16"), False)


def swap(x):
    """[B, T, N, H] <-> [B, N, T, H], in which the compiler holds the arrays it makes for us."""
    return x.transpose(0, 2, 1, 3)


def attend(call: Call, q_BNTH, k_BKSH, v_BKSH, ranges, schedule):
    prepared = PreparedRanges(ranges=ranges, schedule=schedule, call=call, implementation="tpu")
    return range_attention(swap(q_BNTH), swap(k_BKSH), swap(v_BKSH), prepared)


def forward(call: Call, q_BNTH, k_BKSH, v_BKSH, ranges, schedule):
    found = attend(call, q_BNTH, k_BKSH, v_BKSH, ranges, schedule)
    return swap(found.out), found.lse.transpose(0, 2, 1)


def both(call: Call, q_BNTH, k_BKSH, v_BKSH, ranges, schedule, d_out_BNTH, d_lse_BTN):
    pull = jax.vjp(lambda q, k, v: attend(call, q, k, v, ranges, schedule), q_BNTH, k_BKSH, v_BKSH)[
        1
    ]
    return pull(AttentionOutput(swap(d_out_BNTH), d_lse_BTN))


def compiled(program, call: Call, topology: str):
    """The program for one chip, its ranges prepared beforehand."""
    device = compile_only_devices(topology)[1][0]
    placed = NamedSharding(Mesh(np.asarray([device]), ("x",)), PartitionSpec())
    # As kernels hand arrays on to each other. Left alone, the compiler would let arguments of
    # width 80 arrive with the positions last, and the copies it then needs are not the kernels'.
    rows = Format(Layout((0, 1, 2, 3)), placed)

    def array(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=rows if len(shape) == 4 else placed)

    B, T, S, N, K, H, dtype = call[:7]
    q, k = array((B, N, T, H), dtype), array((B, K, S, H), dtype)
    with compiling_for(device):
        ranges = array((B, T, 4), jnp.int32)
        assert choose(call) == "tpu", "not the default on a TPU"
        schedule = jax.eval_shape(lambda r: prepare_ranges(r, call).schedule, ranges)
        arguments = [q, k, k, ranges, jax.tree.map(lambda x: array(x.shape, x.dtype), schedule)]
        if program is both:
            arguments += [q, array((B, T, N), jnp.float32)]
        results = rows if program is both else (rows, placed)
        program = jax.jit(functools.partial(program, call), out_shardings=results)
        return program.lower(*arguments).compile()


def temp_bytes(found) -> int:
    memory = found.memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes


def copies(found) -> list[str]:
    """Lines of the program that copy or transpose arrays like q or k (not the log-sum-exps)."""
    pattern = r"= (?:bf16|f32)\[\d+,\d+,\d\d+,\d+\]\S* (?:copy|transpose)\("
    return [line.strip() for line in found.as_text().splitlines() if re.search(pattern, line)]


@pytest.mark.aot
@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("call", [DECODER, WINDOWS], ids=["decoder", "windows"])
def test_the_forward_pass_needs_no_memory_of_its_own(topology, call):
    found = compiled(forward, call, topology)
    assert not copies(found)
    # At most the log-sum-exps in a second layout, 4 bytes a query and head.
    lse = 4 * call.batch * call.num_heads * call.num_queries
    assert temp_bytes(found) < 1.1 * lse + 2**16
    if call == DECODER:
        pairs = call.num_heads * call.num_queries**2 // 2
        assert (found.cost_analysis() or {})["flops"] == 4 * pairs * call.head_dim


SMALL_MEMORY = [VISION, LONG, PRECISE, RAGGED]


@pytest.mark.aot
@pytest.mark.parametrize(
    ("call", "topology"),
    [(call, topology) for call in (DECODER, WINDOWS) for topology in TOPOLOGIES]
    + [(call, "v5p:2x2x1") for call in SMALL_MEMORY],
)
def test_gradients_hold_no_more_than_the_forward_pass_saves(topology, call):
    """Its output and three numbers a query and head; on v5p, with the least vector memory."""
    found = compiled(both, call, topology)
    assert not copies(found)
    B, T, _, N, _, H, dtype = call[:7]
    lanes = -(-H // 128) * 128
    saved = B * N * T * (lanes * dtype.itemsize + 3 * 4)
    assert temp_bytes(found) < 1.1 * saved + 2**20
