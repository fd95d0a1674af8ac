"""A kernel XLA cannot divide gives on a mesh what it gives on one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from onevision_jax.model import attention
from onevision_jax.model.attention import attend, see
from onevision_jax.parallel import ShardingRules, make_mesh, on_mesh
from onevision_kernels.attention import Call, api, segment_ranges


@pytest.fixture
def undivided(monkeypatch):
    """The reference, said to be such a kernel; counts how often it prepares and runs."""
    counts = {"schedule": 0, "attend": 0}

    def schedule(ranges, call):
        counts["schedule"] += 1
        assert ranges.shape == (call.batch, call.num_queries, 4)
        return jnp.full((call.batch,), call.num_heads)

    def run(q, k, v, ranges, *, schedule, **settings):
        counts["attend"] += 1
        assert schedule.shape == (q.shape[0],)
        return api.reference_attention(q, k, v, ranges, **settings)

    table = {"own": api.Implementation(run, schedule=schedule)}
    monkeypatch.setattr(api, "IMPLEMENTATIONS", table)
    monkeypatch.setattr(attention, "IMPLEMENTATIONS", table)
    return counts


def inputs(B, T, N, K, H=8):
    rng = np.random.default_rng(0)
    q, k, v = (
        jnp.asarray(rng.standard_normal((B, T, heads, H), np.float32)) for heads in (N, K, K)
    )
    ids = jnp.asarray(np.sort(rng.integers(0, 4, (B, T)), axis=1))
    return q, k, v, segment_ranges(ids)


def two_layers(q, k, v, ranges):
    """Two layers sharing what they see; a scalar to differentiate."""
    call = Call.of(q, k, causal=True)
    seen = see(ranges, call)
    out = attend(attend(q, k, v, seen), k, v, seen)
    return (out * jnp.cos(jnp.arange(out.size).reshape(out.shape))).sum()


@pytest.mark.parametrize(
    ("B", "N", "K", "fsdp", "tensor"),
    [
        (8, 4, 2, 8, 1),
        (4, 4, 2, 4, 2),  # kv heads divide as the query heads do
        (2, 8, 2, 2, 4),  # two devices share one kv head
        (2, 12, 3, 2, 4),  # a device's three query heads lie on two kv heads
        (2, 16, 2, 1, 8),
        (3, 3, 1, 4, 2),  # neither rows nor heads divide: all stay whole
    ],
)
def test_a_mesh_changes_no_number(undivided, B, N, K, fsdp, tensor):
    arrays = inputs(B, 12, N, K)
    grad = jax.value_and_grad(two_layers, argnums=(0, 1, 2))
    value, grads = jax.jit(grad)(*arrays)
    undivided.update(schedule=0, attend=0)
    rules = ShardingRules(make_mesh(fsdp=fsdp, tensor=tensor))
    got, got_grads = jax.jit(on_mesh(rules, grad))(*arrays)
    np.testing.assert_allclose(got, value, rtol=1e-5)
    for a, b in zip(got_grads, grads, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert undivided["schedule"] == 1, "the ranges are prepared once for both layers"
    assert undivided["attend"] >= 2


def test_each_device_works_on_its_own_part(undivided):
    q, k, v, ranges = inputs(4, 12, 8, 2)
    rules = ShardingRules(make_mesh(fsdp=4, tensor=2))
    shapes = []
    run = api.IMPLEMENTATIONS["own"].attend

    def spy(q, k, v, *args, **settings):
        shapes.append((q.shape, k.shape))
        return run(q, k, v, *args, **settings)

    api.IMPLEMENTATIONS["own"] = api.IMPLEMENTATIONS["own"]._replace(attend=spy)  # type: ignore
    jax.jit(on_mesh(rules, two_layers))(q, k, v, ranges)
    assert set(shapes) == {((1, 12, 4, 8), (1, 12, 1, 8))}


def test_a_split_row_is_refused(undivided):
    q, k, _, ranges = inputs(2, 16, 2, 2)
    table = {**ShardingRules(make_mesh()).table, "batch": None, "length": "fsdp"}
    rules = ShardingRules(make_mesh(), table)
    with pytest.raises(ValueError, match="every row whole"):
        jax.jit(on_mesh(rules, lambda: see(ranges, Call.of(q, k, causal=True))))()
