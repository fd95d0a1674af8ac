"""Range attention on a mesh: which kernel, prepared once a batch, on each device's rows and heads.

XLA divides its own implementation over devices. A kernel written by hand runs inside
`jax.shard_map`: rows over the batch axis, heads over the tensor axis, no communication.

Letters: B rows, T queries, S keys, N query heads, K kv heads, H head width.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from onevision_jax.axes import layout
from onevision_kernels.attention import Call, PreparedRanges, prepare_ranges, range_attention
from onevision_kernels.attention.api import IMPLEMENTATIONS, choose

QUERY_AXES = ("batch", "length", "act_heads", None)
VISION_AXES = ("batch", "patches", "act_heads", None)
KEY_AXES = ("batch", "length", "act_kv_heads", None)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Visible:
    """What each query of a batch sees, made ready for the layers that share it (`see`)."""

    prepared: PreparedRanges
    # Where q, k, v and the ranges live, when a kernel is to be given its own part of each.
    places: tuple[NamedSharding, ...] | None = dataclasses.field(metadata={"static": True})


def see(
    ranges_BT4: jax.Array,
    call: Call,
    *,
    query_axes: tuple[str | None, ...] = QUERY_AXES,
    key_axes: tuple[str | None, ...] = KEY_AXES,
    implementation: str | None = None,
) -> Visible:
    """Prepares the ranges for `attend`; call: the shapes of the whole arrays."""
    q_shape = (call.batch, call.num_queries, call.num_heads, call.head_dim)
    k_shape = (call.batch, call.num_keys, call.num_kv_heads, call.head_dim)
    q_place, k_place = layout(query_axes, q_shape), layout(key_axes, k_shape)
    if not isinstance(q_place, NamedSharding) or not isinstance(k_place, NamedSharding):
        return Visible(
            prepared=prepare_ranges(ranges_BT4, call, implementation=implementation), places=None
        )
    local = _local(call, q_place, k_place)
    name = choose(local, implementation)
    if IMPLEMENTATIONS[name].divides:
        return Visible(prepared=prepare_ranges(ranges_BT4, call, implementation=name), places=None)
    mesh, rows = q_place.mesh, NamedSharding(q_place.mesh, PartitionSpec(_axis(q_place, 0)))
    prepared = jax.shard_map(
        lambda ranges: prepare_ranges(ranges, local, implementation=name),
        mesh=mesh,
        in_specs=rows.spec,
        out_specs=rows.spec,
        check_vma=False,
    )(ranges_BT4)
    return Visible(prepared=prepared, places=(q_place, k_place, rows))


def attend(q_BTNH: jax.Array, k_BSKH: jax.Array, v_BSKH: jax.Array, seen: Visible) -> jax.Array:
    """[B, T, N, H]: softmax attention of each query over what it sees."""
    if seen.places is None:
        return range_attention(q_BTNH, k_BSKH, v_BSKH, seen.prepared).out
    q_place, k_place, rows = seen.places

    def local(q, k, v, prepared: PreparedRanges) -> jax.Array:
        k, v = (_own_kv_heads(x, q.shape[2], q_place, k_place, q_BTNH.shape[2]) for x in (k, v))
        return range_attention(q, k, v, prepared).out

    return jax.shard_map(
        local,
        mesh=q_place.mesh,
        in_specs=(q_place.spec, k_place.spec, k_place.spec, rows.spec),
        out_specs=q_place.spec,
        check_vma=False,
    )(q_BTNH, k_BSKH, v_BSKH, seen.prepared)


def _axis(place: NamedSharding, dimension: int) -> Any:
    """The mesh axis of a dimension, None where it is whole."""
    return place.spec[dimension] if dimension < len(place.spec) else None


def _local(call: Call, q_place: NamedSharding, k_place: NamedSharding) -> Call:
    """The shapes one device meets."""
    batch, num_queries, num_heads, _ = q_place.shard_shape(
        (call.batch, call.num_queries, call.num_heads, call.head_dim)
    )
    kv_heads = k_place.shard_shape((call.batch, call.num_keys, call.num_kv_heads, call.head_dim))[2]
    if num_queries != call.num_queries:
        raise ValueError("attention kernels need every row whole: map the length axis to no device")
    if num_heads != call.num_heads and kv_heads == call.num_kv_heads:
        kv_heads = _num_own(num_heads, call.num_heads // call.num_kv_heads)
    return call._replace(batch=batch, num_heads=num_heads, num_kv_heads=kv_heads)


def _num_own(num_heads: int, group: int) -> int:
    """How many kv heads `num_heads` neighbouring query heads use, or one each if that is uneven."""
    if num_heads % group == 0:
        return num_heads // group
    return 1 if group % num_heads == 0 else num_heads


def _own_kv_heads(
    x_BSKH: jax.Array,
    num_heads: int,
    q_place: NamedSharding,
    k_place: NamedSharding,
    all_heads: int,
) -> jax.Array:
    """The kv heads of a device's query heads, where these are split and the kv heads are not."""
    axis = _axis(q_place, 2)
    if axis is None or _axis(k_place, 2) is not None:
        return x_BSKH
    group = all_heads // x_BSKH.shape[2]
    first = jax.lax.axis_index(axis) * num_heads
    num_own = _num_own(num_heads, group)
    if num_own == num_heads and group > 1:
        return jnp.take(x_BSKH, (first + jnp.arange(num_heads)) // group, axis=2)
    return jax.lax.dynamic_slice_in_dim(x_BSKH, first // group, num_own, axis=2)
