"""Batches reach the mesh unchanged and in order; the state is that of the batch in use."""

import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from onevision_jax.errors import InputError
from onevision_jax.parallel import ShardingRules, make_mesh
from onevision_jax.parallel.prefetch import Prefetch, data_process, gather_states, to_devices

ROWS, TOKENS = 8, 6


def number_of(batch) -> float:
    """Which batch of `Counting` this is."""
    return float(batch.loss_weights[0, 0])


class Counting:
    """Batches that hold their own number; every third has more patches. Ends after `stop`."""

    def __init__(self, stop=5, index=0, count=1):
        self.done, self.stop = 0, stop
        self.index, self.count = index, count

    def __iter__(self):
        return self

    def __next__(self):
        if self.done >= self.stop:
            raise StopIteration
        self.done += 1
        return self.batch(self.done, 8 if (self.done + self.index) % 3 else 16)

    def empty(self):
        return self.batch(0, 0)

    def batch(self, value, patches):
        rows = ROWS // self.count
        shapes = dict.fromkeys(("tokens", "segment_ids", "vision_index"), (rows, TOKENS))
        shapes |= {"targets": (rows, TOKENS), "loss_weights": (rows, TOKENS)}
        shapes |= {"positions": (3, rows, TOKENS), "patches": (rows, patches, 588)}
        shapes |= {"patch_positions": (rows, patches, 2)}
        shapes |= {"image_ids": (rows, patches), "window_ids": (rows, patches)}
        kinds = {"patches": np.uint8, "loss_weights": np.float32}
        arrays = {n: np.full(s, value, kinds.get(n, np.int32)) for n, s in shapes.items()}
        arrays["tokens"] += (
            100 * (self.index + self.count * np.arange(rows, dtype=np.int32))[:, None]
        )
        return arrays

    def get_state(self):
        return {"done": self.done}

    def set_state(self, state):
        self.done = state["done"]


@pytest.fixture(params=[(8, 1), (2, 4)], ids=["8x1", "2x4"])
def rules(request):
    fsdp, tensor = request.param
    return ShardingRules(make_mesh(fsdp=fsdp, tensor=tensor))


def test_in_order_and_whole(rules):
    source = Counting()
    values = []
    for batch in Prefetch(source, rules, depth=3):
        expected = source.batch(len(values) + 1, batch.patches.shape[1])
        for name, array in expected.items():
            got = getattr(batch, name)
            assert got.dtype == array.dtype
            np.testing.assert_array_equal(got, array)
            assert got.sharding.mesh == rules.mesh
        assert batch.tokens.addressable_shards[0].data.shape[0] == ROWS // rules.rows_multiple()
        values.append(batch)
    assert len(values) == 5


def test_state_is_that_of_the_batch_in_use(rules):
    source = Counting(stop=9)
    batches = Prefetch(source, rules, depth=3)
    assert batches.get_state() == {"done": 0}
    for number in range(1, 5):
        assert number_of(next(batches)) == number
        assert batches.get_state() == {"done": number}
    assert source.get_state()["done"] > 4  # The others are already fetched.
    again = Prefetch(Counting(stop=9), rules)
    again.set_state(batches.get_state())
    rest = [number_of(batch) for batch in again]
    assert rest == [5, 6, 7, 8, 9]
    batches.set_state({"done": 2})
    assert number_of(next(batches)) == 3


def test_an_end_is_final(rules):
    batches = Prefetch(Counting(stop=1), rules)
    assert len(list(batches)) == 1
    assert next(batches, None) is None


def test_rows_that_do_not_divide(rules):
    arrays = Counting(count=8).batch(1, 8)
    with pytest.raises(InputError, match="does not divide over"):
        to_devices(arrays, rules)
    with pytest.raises(InputError, match="depth is 0"):
        Prefetch(Counting(), rules, depth=0)


def test_one_process_reads_all_rows(rules):
    assert data_process(rules) == (0, 1)
    assert gather_states({"shards": {}}) == [{"shards": {}}]


PROCESS = """
import sys
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
import importlib.util
spec = importlib.util.spec_from_file_location("the_test", sys.argv[3])
the_test = importlib.util.module_from_spec(spec)
spec.loader.exec_module(the_test)
the_test.run_in_one_of_two()
"""


def run_in_one_of_two():
    """The body of one of two processes with two devices each."""
    rules = ShardingRules(make_mesh(fsdp=4))
    index, count = data_process(rules)
    assert (index, count) == (jax.process_index(), 2), (index, count)
    tensor = ShardingRules(make_mesh(tensor=4))
    assert data_process(tensor) == (0, 1)
    # One process is done after three batches, the other after five.
    source = Counting(stop=3 + 2 * index, index=index, count=2)
    total = jax.jit(lambda batch: (batch.loss_weights.sum(), batch.tokens.sum()))
    seen = []
    for batch in Prefetch(source, rules):
        assert batch.patches.shape[0] == ROWS
        weights, _ = total(batch)
        seen.append((batch.patches.shape[1], float(weights)))
    # Patches: the larger of the two. Weights: 4 rows x 6 tokens of each, none from the one done.
    assert seen == [(8, 48.0), (16, 96.0), (16, 144.0), (8, 96.0), (16, 120.0)], seen
    states = gather_states({"process": index, "text": "long " * index})
    assert states == [{"process": 0, "text": ""}, {"process": 1, "text": "long "}], states
    print("agreed")


def test_two_processes_agree_on_shapes_and_on_the_end():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(port), str(index), __file__],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
        assert "agreed" in output
