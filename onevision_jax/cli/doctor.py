"""`onevision doctor`: what this machine has, what runs on it, what is missing and how to add it."""

import glob
import importlib
import json
import os
import platform
import shlex
import sys
from argparse import Namespace
from collections import Counter
from importlib import metadata
from typing import Any

from onevision_jax import __version__

PROJECT = "onevision-jax"
SHOWN_PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint",
    "numpy", "tokenizers", "pillow", "safetensors", "jinja2",
)  # fmt: skip
OPS = ("attention", "decode", "logprob")  # of onevision_kernels: each has `implementations()`
# Device files that show an accelerator jax may not be using, and the extra that lets it.
ACCELERATOR_FILES = {"cuda": "/dev/nvidia[0-9]*", "tpu": "/dev/accel[0-9]*"}
EXAMPLE = """example:
  onevision doctor --json | python3 -m json.tool"""


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "doctor",
        description="Devices, versions, kernel implementations, and extras with the command\n"
        "that adds them. Exits with 1 if something needed is missing or broken.",
        epilog=EXAMPLE,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(args: Namespace) -> int:
    """Print the report; 0 if everything needed is there."""
    report = examine()
    print(json.dumps(report, indent=2) if args.json else render(report))
    return 1 if report["problems"] else 0


def examine() -> dict[str, Any]:
    """Everything the verb tells, as one JSON-able object."""
    problems = [f"needs the package {line}" for line in unmet_requirements(PROJECT)]
    devices, trouble = find_devices()
    ops = {op: find_implementations(op) for op in OPS}
    return {
        "onevision_jax": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "host_memory_bytes": host_memory(),
        "packages": {name: installed_version(name) for name in SHOWN_PACKAGES},
        "devices": devices,
        **{op: found for op, (found, _) in ops.items()},
        "extras": find_extras(),
        "problems": problems + trouble + [line for _, lines in ops.values() for line in lines],
    }


def installed_version(name: str) -> str | None:
    """The version of an installed distribution, None if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def unmet_requirements(name: str, extra: str = "") -> list[str]:
    """What `name[extra]` asks for and does not find: `torch==2.13.0`, `pillow<13 (found 13.0)`.

    An empty `extra` means the requirements that hold without any.
    """
    from packaging.requirements import Requirement

    unmet = []
    for line in metadata.requires(name) or []:
        need = Requirement(line)
        base = need.marker is None or need.marker.evaluate({"extra": ""})
        chosen = need.marker is None or need.marker.evaluate({"extra": extra})
        if not chosen or (extra and base):
            continue  # Of an extra, only what it adds.
        found = installed_version(need.name)
        if found is None:
            unmet.append(f"{need.name}{need.specifier}")
        elif not need.specifier.contains(found, prereleases=True):
            unmet.append(f"{need.name}{need.specifier} (found {found})")
        else:
            for inner in sorted(need.extras):
                unmet += unmet_requirements(need.name, inner)
    return unmet


def find_extras() -> dict[str, dict[str, Any]]:
    """Each optional extra: what it lacks, and the command that adds it."""
    names = metadata.metadata(PROJECT).get_all("Provides-Extra") or []
    return {
        name: {"missing": unmet_requirements(PROJECT, name), "install": install_command(name)}
        for name in sorted(names)
    }


def install_command(extra: str) -> str:
    """The pip line for this interpreter and this way of having installed the project."""
    origin = json.loads(metadata.distribution(PROJECT).read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        source = "-e " + shlex.quote(origin["url"].removeprefix("file://") + f"[{extra}]")
    else:
        source = shlex.quote(f"{PROJECT}[{extra}]")
    return f"{shlex.quote(sys.executable)} -m pip install {source}"


def host_memory() -> int | None:
    """Bytes of physical memory, None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def find_devices() -> tuple[list[dict[str, Any]], list[str]]:
    """The devices jax uses, with memory in bytes where it is known; and what is wrong."""
    try:
        import jax

        devices = [
            {
                "id": device.id,
                "platform": device.platform,
                "kind": device.device_kind,
                "memory_bytes": (device.memory_stats() or {}).get("bytes_limit"),
            }
            for device in jax.local_devices()
        ]
    except Exception as error:  # A report that dies of what it should report helps nobody.
        return [], [f"jax does not start: {error}"]
    problems = []
    if all(device["platform"] == "cpu" for device in devices) and not chosen_by_user():
        for extra, pattern in ACCELERATOR_FILES.items():
            if found := glob.glob(pattern):
                command = install_command(extra)
                problems.append(f"{found[0]} exists, yet jax runs on the CPU; try: {command}")
    return devices, problems


def chosen_by_user() -> bool:
    """Whether the environment tells jax which platform to take."""
    return bool(os.environ.get("JAX_PLATFORMS"))


def find_implementations(op: str) -> tuple[dict[str, str], list[str]]:
    """Implementation of an op -> "active", "available" or why not; and what is wrong."""
    try:
        return importlib.import_module(f"onevision_kernels.{op}").implementations(), []
    except Exception as error:
        return {}, [f"{op} does not load: {error}"]


def gibibytes(size: int | None) -> str:
    """`139.8 GiB`, or that it is not known."""
    return "memory unknown" if size is None else f"{size / 2**30:.1f} GiB"


def render(report: dict[str, Any]) -> str:
    """The report for a person: one fact a line, in columns."""
    rows = [
        ("onevision-jax", report["onevision_jax"]),
        ("python", f"{report['python']} on {report['platform']}"),
        ("host", f"{report['cpus']} CPUs, {gibibytes(report['host_memory_bytes'])}"),
        *((name, version or "missing") for name, version in report["packages"].items()),
        *(("device", line) for line in device_lines(report["devices"])),
        *((op, f"{name}: {state}") for op in OPS for name, state in report[op].items()),
    ]
    for name, extra in report["extras"].items():
        state = f"missing {', '.join(extra['missing'])}" if extra["missing"] else "present"
        rows.append((f"extra {name}", state))
        if extra["missing"]:
            rows.append(("", f"add it: {extra['install']}"))
    rows += [("problem", line) for line in report["problems"]]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)


def device_lines(devices: list[dict[str, Any]]) -> list[str]:
    """Equal devices on one line: `8 x NVIDIA H200 (gpu), 104.9 GiB each for jax`."""
    kinds = Counter((d["kind"], d["platform"], d["memory_bytes"]) for d in devices)
    lines = []
    for (kind, platform_name, memory), count in kinds.items():
        share = "host memory" if memory is None else f"{gibibytes(memory)} each for jax"
        lines.append(f"{count} x {kind} ({platform_name}), {share}")
    return lines
