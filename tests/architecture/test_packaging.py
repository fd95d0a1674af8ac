"""What is imported is declared, what is declared is pinned, what messages promise exists."""

import ast
import re
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from onevision_jax.cli.main import VERBS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
SOURCES = [*(ROOT / "onevision_jax").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]
PINS = {"3.11": "py311.txt", "3.12": "py312-jax0.11.2.txt"}


def read_pins(name):
    lines = (ROOT / "constraints" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("path", sorted((ROOT / "constraints").glob("*.txt")), ids=lambda p: p.name)
def test_constraints_are_exact_pins_without_addresses(path):
    for line in read_pins(path.name):
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line


@pytest.mark.parametrize("python", PINS)
def test_constraints_satisfy_the_requirements(python):
    pins = dict(line.split("==") for line in read_pins(PINS[python]))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    lines = [*PROJECT["dependencies"], *EXTRAS["test"], *EXTRAS["parity"]]
    for need in map(Requirement, lines):
        marker = need.marker or Marker("python_version >= '3'")
        if marker.evaluate({"python_version": python}):
            assert need.specifier.contains(pins[canonicalize_name(need.name)]), need.name


def imported_roots(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_every_import_of_the_library_is_declared():
    base = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    parity = PROJECT["optional-dependencies"]["parity"]
    peers = {canonicalize_name(Requirement(line).name) for line in parity}
    owners = metadata.packages_distributions()
    for path in SOURCES:
        declared = base | peers if path.parent.name == "bench" else base
        # A room may import what the extra of its name installs.
        own = map(Requirement, EXTRAS.get(path.parent.name, []))
        declared = declared | {canonicalize_name(need.name) for need in own}
        for root in set(imported_roots(path)) - sys.stdlib_module_names:
            if not root.startswith("onevision_"):
                names = {canonicalize_name(name) for name in owners.get(root, [root])}
                assert names & declared, f"{path.name} imports {root}: declare it in pyproject.toml"


def test_extras_named_in_messages_exist():
    for path in [*SOURCES, *ROOT.glob("*.md")]:
        for group in re.findall(r"onevision-jax\[([a-z0-9,_-]+)\]", path.read_text()):
            assert set(group.split(",")) <= EXTRAS.keys(), path.name


@pytest.mark.parametrize("verb", [name for name, _ in VERBS])
def test_every_verb_has_its_module(verb):
    module = import_module(f"onevision_jax.cli.{verb}")
    assert callable(module.register)
    assert callable(module.run)


def test_license_is_shipped():
    assert PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()
