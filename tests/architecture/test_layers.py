"""Imports point down, rooms that promise to be free of jax are, and the tree keeps its habits.

Everything here reads source text, so it also covers imports inside functions.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"onevision_jax": ROOT, "onevision_kernels": ROOT / "kernels"}

# Lowest first. A room imports rooms of lower lines only, never its neighbours.
LAYERS = [
    ["onevision_jax", "onevision_jax.errors", "onevision_jax.compat", "onevision_jax.axes"],
    ["onevision_kernels", "onevision_jax.types", "onevision_jax.config"],
    ["onevision_jax.processor", "onevision_jax.formal", "onevision_jax.endpoint"],
    ["onevision_jax.rewards", "onevision_jax.model", "onevision_jax.data"],
    ["onevision_jax.parallel", "onevision_jax.checkpoint"],
    ["onevision_jax.rollout", "onevision_jax.convert"],
    ["onevision_jax.evaluation", "onevision_jax.serve"],
    ["onevision_jax.train"],
    ["onevision_jax.plan", "onevision_jax.report"],
    ["onevision_jax.bench"],
    ["onevision_jax.quickstart"],
    ["onevision_jax.cli"],
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}

JAX_FREE_ROOMS = ["processor", "formal", "endpoint", "rewards", "data"]
JAX_ROOTS = {"jax", "jaxlib", "flax", "optax", "orbax", "onevision_kernels"}
NEVER_IMPORTED = {"torch", "torchvision", "transformers", "accelerate"}
ATTIC_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
MAX_LINES = 500
MAX_BYTES = 1_000_000


def module_name(path: Path) -> str:
    package = next(name for name, home in PACKAGES.items() if path.is_relative_to(home / name))
    parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_modules() -> dict[str, Path]:
    homes = [home / name for name, home in PACKAGES.items()]
    return {module_name(path): path for home in homes for path in sorted(home.rglob("*.py"))}


MODULES = find_modules()


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] == "onevision_kernels" else ".".join(parts[:2])


def imported_modules(module: str) -> set[str]:
    """Full names of what a module imports, relative imports resolved, functions included."""
    found = set()
    package = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, node.module] if node.module else base)
            # `from a import b` may name the module a.b or a name inside the module a.
            children = {f"{source}.{alias.name}" for alias in node.names}
            rooms = children & (RANK.keys() | MODULES.keys())
            found |= rooms
            if len(rooms) < len(children):
                found.add(source)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    here = room_of(module)
    assert here in RANK, f"{here} is in no layer: give it a line in LAYERS"
    for target in imported_modules(module):
        there = room_of(target)
        if target.split(".")[0] in PACKAGES and there != here:
            assert there in RANK, f"{module} imports {target}, which is no room"
            assert RANK[there] < RANK[here], f"{module} imports {target}, which is not below it"


# `bench` alone may time the peer a user would run instead (design section 3).
@pytest.mark.parametrize("module", [m for m in MODULES if ".bench." not in m])
def test_library_never_imports_torch(module):
    roots = {target.split(".")[0] for target in imported_modules(module)}
    assert not roots & NEVER_IMPORTED


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("onevision_kernels")])
def test_kernels_stand_alone(module):
    roots = {target.split(".")[0] for target in imported_modules(module)}
    assert "onevision_jax" not in roots


@pytest.mark.parametrize(
    "module", [m for m in MODULES if room_of(m).split(".")[-1] in JAX_FREE_ROOMS]
)
def test_jax_free_rooms_import_no_jax(module):
    targets = imported_modules(module)
    assert not {target.split(".")[0] for target in targets} & JAX_ROOTS
    assert "onevision_jax.types" not in targets


# data is absent here: grain, its library, imports jax by itself.
@pytest.mark.parametrize("room", ["processor", "formal", "endpoint", "rewards"])
def test_jax_free_rooms_load_no_jax(room):
    modules = [m for m in MODULES if room_of(m) == f"onevision_jax.{room}"]
    if not modules:
        pytest.skip(f"the room {room} is not built yet")
    code = f"import sys, {', '.join(modules)}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", MODULES)
def test_modules_have_sober_names_and_sizes(module):
    assert not ATTIC_NAMES & set(module.split(".")), "a helper lives with its first user"
    lines = len(MODULES[module].read_text().splitlines())
    assert lines <= MAX_LINES, f"{module} has {lines} lines: cut it where its ideas part"


def test_the_kernels_drawer_is_no_package():
    assert not (ROOT / "kernels" / "__init__.py").exists(), "transformers probes for `kernels`"
    assert not (ROOT / "tests" / "kernels").exists()


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_tracked_file_is_large():
    large = [str(path) for path in tracked_files() if path.stat().st_size > MAX_BYTES]
    assert not large


def test_no_tracked_file_names_a_machine():
    """Paths of one machine and addresses of registries do not belong in a public tree."""
    hosts = ["py" + "pi.org", "pythonhosted" + ".org", "registry." + "npmjs", "deb." + "debian"]
    places = ["/ro" + "ot/", "/wo" + "rk/", "/opt/" + "wheels", "/tmp/" + "plan", "/tmp/" + "v12"]
    guilty = [
        (path.name, needle)
        for path in tracked_files()
        for needle in hosts + places
        if needle.encode() in path.read_bytes()
    ]
    assert not guilty
