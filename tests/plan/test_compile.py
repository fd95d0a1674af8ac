"""The 3B model compiled from its true config for TPU v5e and H200, without either."""

import jax.numpy as jnp
import pytest

from onevision_jax.errors import InputError
from onevision_jax.model import ModelOptions, preset
from onevision_jax.parallel import ShardingRules, make_mesh
from onevision_jax.plan import (
    DEVICE_BYTES,
    compile_decode_step,
    compile_forward,
    compile_only_devices,
    compile_shared_decode_step,
)

BF16 = ModelOptions(dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
PARAMETER_BYTES = 2 * 3_754_622_976


@pytest.mark.aot
@pytest.mark.parametrize("topology", ["v5e:2x4", "h200:1"])
def test_3b_forward_and_decode_step_compile(topology, capsys):
    kind, devices = compile_only_devices(topology)
    rules = ShardingRules(make_mesh(devices=devices))
    rows = len(devices)
    reports = [
        compile_forward(preset("3b"), BF16, rules, rows=rows, tokens=1024, patches=2048),
        compile_decode_step(preset("3b"), BF16, rules, rows=rows, slots=2048),
    ]
    with capsys.disabled():
        for report in reports:
            print(
                f"\n3b {report.program} on {topology}, {rows} row(s): "
                f"{report.argument_bytes:,} argument + {report.temp_bytes:,} temporary bytes "
                f"per device, compiled in {report.compile_seconds:.0f} s"
            )
    for report in reports:
        # Parameters divide over the mesh (norms alone are copied), and everything fits.
        assert PARAMETER_BYTES / rows < report.argument_bytes < PARAMETER_BYTES / rows * 1.1 + 2**28
        assert report.peak_bytes < DEVICE_BYTES[kind]
    decode = reports[1]
    cache_bytes = 2048 * 36_864
    assert decode.alias_bytes >= cache_bytes, "the cache is not updated in place"


@pytest.mark.aot
@pytest.mark.parametrize("topology", ["v6e:2x2", "h200:1"])
def test_7b_decode_step_shares_the_prompts(topology, capsys):
    """16 prompts x 8 answers on one device: the cache is held once and, on TPU, never copied."""
    kind, devices = compile_only_devices(topology)
    rules = ShardingRules(make_mesh(devices=devices[:1]))
    report = compile_shared_decode_step(
        preset("7b"), BF16, rules, prompts=16, answers=8, prompt_slots=1500, answer_slots=512
    )
    cache_bytes = (16 * 1500 + 128 * 512) * 57_344
    with capsys.disabled():
        print(
            f"\n7b {report.program} on {topology}: {report.argument_bytes:,} argument + "
            f"{report.temp_bytes:,} temporary bytes, {report.bytes_accessed} bytes accessed (one "
            f"layer and the head), compiled in {report.compile_seconds:.0f} s"
        )
    assert report.argument_bytes < 2 * 8_292_166_656 + cache_bytes * 1.02
    assert report.peak_bytes < DEVICE_BYTES[kind]
    assert report.alias_bytes >= 128 * 512 * 57_344, "the cache is not updated in place"
    if kind == "v6e":
        assert report.bytes_accessed is not None
        assert report.temp_bytes < 2**25
        # The head, one layer's weights and one layer's keys and values.
        floor = 2 * (3584 * 152_064 + 233e6) + cache_bytes / 28
        assert report.bytes_accessed < 1.3 * floor


@pytest.mark.parametrize("topology", ["v5e", "v5e:", "v9:2x2", "h200:2y", "../etc"])
def test_unknown_topologies_are_refused(topology):
    with pytest.raises(InputError, match="is not understood"):
        compile_only_devices(topology)
