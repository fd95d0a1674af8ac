"""The compile gates: parsers on what compilers wrote, the comparison, and the gates themselves."""

import copy
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from onevision_jax.cli.main import main
from onevision_jax.errors import InputError
from onevision_jax.plan.gates import (
    FOLDER,
    TARGETS,
    Records,
    bundles,
    installed_packages,
    judge,
    launch,
    measure_target,
    names_for,
    ptxas,
    readme,
)
from onevision_jax.plan.gates.measure import count_copies, custom_calls

# Written by ptxas 13.5.37 and by libtpu 0.0.48.1 (a 16 x 512 x 128 matmul for v6e; the listing is
# cut to 72 columns).
SNIPPETS = Path(__file__).parent / "snippets"
PACKAGES = {"jax": "0.11.2", "jaxlib": "0.11.2", "libtpu": "0.0.48.1"}
NUMBERS = {
    "cpu_seconds": 2.0,
    "temp_bytes": 1000,
    "copies": 0,
    "kernels": {
        "forward": {"bundles": 4000, "block_bundles": 3200, "vector_spills": 0},
        "hopper": {"registers": 168, "spill_stores": 0, "spill_loads": 0, "wgmma": 12},
    },
}
CASE = "attention/tpu/decoder/forward"


def test_ptxas_report(tmp_path):
    for number in (3, 11):
        for suffix in (".ptxas", ".resources.txt"):
            shutil.copy(SNIPPETS / f"spilled{suffix}", tmp_path / f"flash_kernel_{number}{suffix}")
        ptx = "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%r1};\n" * number
        (tmp_path / f"flash_kernel_{number}.ptx").write_text(ptx)
    found = ptxas.read_kernels(tmp_path)
    spilled = {
        "registers": 168,
        "spill_stores": 2128,
        "spill_loads": 1776,
        "shared_bytes": 198_656,
    }
    # In the order of compilation: 3 before 11.
    assert found == {
        "flash_kernel": {**spilled, "wgmma": 3},
        "flash_kernel#2": {**spilled, "wgmma": 11},
    }


def test_bundle_dump(tmp_path):
    table = bundles.parse_utilization((SNIPPETS / "small_matmul.utilization.txt").read_text())
    assert table.columns[0] == "MXU"
    assert table.capacity[table.columns.index("VALU")] == 4
    cuts = bundles.parse_cuts((SNIPPETS / "small_matmul.bundles.txt").read_text())
    assert cuts == [0x6, 0x38, 0x42]  # The head of the grid's loop, and two branches.
    assert cuts[-1] < len(table.rows) == 128
    prefix = tmp_path / "1795528700788722875-small_matmul.1"
    shutil.copy(SNIPPETS / "small_matmul.utilization.txt", f"{prefix}-01-{bundles.UTILIZATION}")
    shutil.copy(SNIPPETS / "small_matmul.bundles.txt", f"{prefix}-03-final_bundles.txt")
    Path(f"{prefix}-02-schedule-analysis_final_bundles.txt").write_text("not a listing")
    numbers = bundles.read_kernels(tmp_path, ["small_matmul.1"])["small_matmul"]
    assert numbers["bundles"] == 128
    assert numbers["block_bundles"] == 128 - 0x42
    by_hand = sum(row[0] for row in table.rows[0x42:])
    assert by_hand > 0
    assert numbers["mxu_percent"] == round(100 * by_hand / (2 * (128 - 0x42)), 1)
    with pytest.raises(ValueError, match="no schedule of other"):
        bundles.read_kernels(tmp_path, ["other"])


@pytest.mark.parametrize(
    "parse", [ptxas.parse_ptxas, ptxas.parse_resources, bundles.parse_utilization]
)
def test_other_text_is_no_report(parse):
    with pytest.raises(ValueError, match="no "):
        parse("nvdisasm invocation failed\n\n\n")


def test_hlo_names_kernels_and_copies():
    hlo = (
        "  %small_matmul.1 = f32[16,128]{1,0:T(8,128)} custom-call(%x.1, %w.1), "
        'custom_call_target="tpu_custom_call", operand_layout_constraints={}\n'
        "  %copy-start.1 = (bf16[4]{0}, bf16[4]{0}, u32[]{:S(2)}) copy-start(%k_ref.3)\n"
        "  ROOT %copy.7 = bf16[16,8192,80]{2,1,0:T(8,128)(2,1)} copy(%bitcast.9), metadata={}\n"
        '  %other = f32[] custom-call(), custom_call_target="AllocateBuffer"\n'
    )
    assert custom_calls(hlo) == ["small_matmul.1"]
    assert count_copies(hlo) == 1


@pytest.fixture
def records(tmp_path):
    found = Records("v6e", tmp_path)
    found.accept(PACKAGES, {CASE: NUMBERS}, [CASE])
    return Records("v6e", tmp_path)


def measured(**changes):
    """The accepted numbers with some changed; kernel measures are written kernel__measure."""
    numbers = copy.deepcopy(NUMBERS)
    for name, value in changes.items():
        kernel, _, measure = name.partition("__")
        if measure:
            numbers["kernels"][kernel][measure] = value
        else:
            numbers[name] = value
    return {"case": CASE, "outcome": "measured", "numbers": numbers}


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"forward__bundles": 4201}, "forward bundles 4,000 -> 4,201 (+5.0 %)"),
        ({"forward__block_bundles": 3400}, "forward block_bundles 3,200 -> 3,400 (+6.2 %)"),
        ({"forward__vector_spills": 1}, "forward vector_spills 0 -> 1"),
        ({"hopper__registers": 177}, "hopper registers 168 -> 177 (+5.4 %)"),
        ({"hopper__spill_stores": 4}, "hopper spill_stores 0 -> 4"),
        ({"hopper__wgmma": 0}, "hopper no longer uses the tensor cores (wgmma 12 -> 0)"),
        ({"temp_bytes": 1051}, "temp_bytes 1,000 -> 1,051 (+5.1 %)"),
        ({"copies": 1}, "copies 0 -> 1"),
        ({"kernels": {}}, "kernel forward is gone"),
    ],
)
def test_what_got_worse_fails_in_one_sentence(records, changes, phrase):
    verdict = judge(records, PACKAGES, measured(**changes))
    assert verdict.word == "FAILED"
    assert phrase in verdict.why
    assert verdict.why.startswith(f"v6e {CASE}: ")
    assert verdict.why.endswith(f"onevision bench gates --target v6e --case {CASE} --accept")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cpu_seconds": 90.0},
        {"forward__bundles": 4200},
        {"forward__bundles": 3000, "hopper__registers": 128},
        {"temp_bytes": 1050},
    ],
)
def test_what_is_as_good_passes(records, changes):
    assert judge(records, PACKAGES, measured(**changes)) == ("ok", "")


def test_other_versions_are_not_compared(records):
    newer = PACKAGES | {"libtpu": "0.0.50.1"}
    verdict = judge(records, newer, measured(temp_bytes=10**9))
    assert verdict.word == "not compared"
    assert "no record for jax 0.11.2, jaxlib 0.11.2, libtpu 0.0.50.1" in verdict.why
    assert "it has: jax 0.11.2, jaxlib 0.11.2, libtpu 0.0.48.1" in verdict.why
    records.accept(newer, {CASE: NUMBERS}, [CASE])
    assert judge(records, newer, measured(temp_bytes=10**9)).word == "FAILED"
    assert len(records.versions()) == 2


def test_cases_without_a_record_or_a_kernel(records):
    new = measured() | {"case": "attention/tpu/grpo/forward"}
    assert "has no record in v6e.json" in judge(records, PACKAGES, new).why
    absent = {"outcome": "not registered", "reason": "attention has no implementation 'tpu'"}
    assert judge(records, PACKAGES, {"case": "a", **absent}).word == "not registered"
    # But what was measured once must not disappear.
    assert judge(records, PACKAGES, {"case": CASE, **absent}).word == "FAILED"
    broken = {"case": "a", "outcome": "failed", "reason": "ValueError: no such layout"}
    assert judge(records, PACKAGES, broken) == ("FAILED", "v6e a: ValueError: no such layout")


def test_accepting_one_case_keeps_the_others(records, tmp_path):
    other = "attention/tpu/windows/forward"
    records.accept(PACKAGES, {other: NUMBERS}, [CASE, other])
    again = Records("v6e", tmp_path)
    assert list(again.cases(PACKAGES) or {}) == [CASE, other]
    again.accept(PACKAGES, {other: NUMBERS}, [other])
    assert list(Records("v6e", tmp_path).cases(PACKAGES) or {}) == [other]


@pytest.mark.parametrize("text", ["", "[]", '{"target": "v5e", "sets": []}', '{"sets": 3}'])
def test_damaged_records_are_one_sentence(tmp_path, text):
    (tmp_path / "v6e.json").write_text(text)
    with pytest.raises(InputError, match="is no record of gates"):
        Records("v6e", tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        Records("v6e", tmp_path / "nowhere")


def test_the_repository_has_a_record_for_every_target():
    for target in TARGETS:
        records = Records(target)
        assert records.path.parent == FOLDER
        for packages in records.versions():
            assert packages.keys() == installed_packages(target).keys()
            cases = records.cases(packages)
            assert cases
            assert set(cases) <= set(names_for(target))
        assert records.versions(), f"{records.path.name} holds no numbers"


def test_the_readme_shows_the_records():
    shown = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    block = shown.partition(readme.BEGIN)[2].partition(readme.END)[0]
    assert block.strip() == readme.tables(FOLDER).strip(), "run bench gates with --accept"


def test_the_child_sees_no_flags_of_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--of_ours")
    seen = launch.environment("v6e", tmp_path)
    assert "XLA_FLAGS" not in seen
    assert f"--xla_jf_dump_to={tmp_path} " in seen["LIBTPU_INIT_ARGS"]
    assert launch.environment("h200", tmp_path)["MOSAIC_GPU_DUMP_TO"] == str(tmp_path)


def test_the_command_line_refuses_what_it_does_not_know(capsys):
    assert main(["bench", "gates", "--target", "v9"]) == 2
    assert "'v9' is none of h200, v5e, v5p, v6e" in capsys.readouterr().err
    assert main(["bench", "gates", "--case", "atention/*"]) == 1
    assert "--case 'atention/*' is no case of h200" in capsys.readouterr().err


@pytest.mark.aot
def test_a_case_that_takes_too_long_fails_and_the_rest_go_on():
    names = ["attention/xla/decoder/backward", "attention/xla/windows/forward"]
    first, second = measure_target("h200", names, cpu_seconds=1)
    assert (first["case"], first["outcome"]) == (names[0], "failed")
    assert "within 1 s of CPU time" in first["reason"]
    assert second["case"] == names[1]


@pytest.mark.aot
@pytest.mark.skipif(find_spec("jax_cuda13_plugin") is None, reason="needs the aot extra")
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_got_worse(target, capsys, tmp_path):
    """All cases of a target against the record; it is skipped where there is none to compare."""
    out = tmp_path / "gates.txt"
    status = main(["bench", "gates", "--target", target])
    out.write_text(text := capsys.readouterr().out)
    with capsys.disabled():
        print(f"\n{text}")
    assert status == 0, text
    if Records(target).cases(installed_packages(target)) is None:
        pytest.skip(f"{target}.json has no record for {json.dumps(installed_packages(target))}")
