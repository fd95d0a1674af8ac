"""The accepted numbers of a target: kernels/gates/TARGET.json, a set for each version of the tools.

{"target": "v6e", "sets": [{"packages": {"jax": "0.11.2", ...}, "cases": {NAME: numbers}}]}
"""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.plan.gates.case import GPUS

FOLDER = Path(__file__).parents[3] / "kernels" / "gates"
# What the numbers depend on.
GPU_PACKAGES = ("jax", "jaxlib", "jax-cuda13-pjrt", "jax-cuda13-plugin", "nvidia-cuda-nvcc")
TPU_PACKAGES = ("jax", "jaxlib", "libtpu")


def installed_packages(target: str) -> dict[str, str]:
    """Exact versions of what compiles for the target; "missing" where one is not installed."""
    return {name: _version(name) for name in (GPU_PACKAGES if target in GPUS else TPU_PACKAGES)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


class Records:
    """The file of one target. Raises InputError when it is damaged or its folder is not there."""

    def __init__(self, target: str, folder: Path = FOLDER):
        self.target = target
        self.path = folder / f"{target}.json"
        if not folder.is_dir():
            raise InputError(
                f"{folder} is no folder: the gates belong to a checkout of the repository; "
                "name another with --records"
            )
        self._sets: list[dict[str, Any]] = self._read()

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        try:
            found = json.loads(self.path.read_text())
            sets = found["sets"]
            if found["target"] != self.target:
                raise ValueError(f"it is of {found['target']}")
            for one in sets:
                one["packages"].items()
                one["cases"].items()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.path} is no record of gates ({error}); restore it, or delete it and run "
                f"onevision bench gates --target {self.target} --accept"
            ) from error
        return sets

    def versions(self) -> list[dict[str, str]]:
        """The sets of packages there are numbers for."""
        return [one["packages"] for one in self._sets]

    def cases(self, packages: dict[str, str]) -> dict[str, dict[str, Any]] | None:
        """Case -> its accepted numbers for exactly these packages; None without any."""
        for one in self._sets:
            if one["packages"] == packages:
                return one["cases"]
        return None

    def accept(
        self, packages: dict[str, str], numbers: dict[str, dict[str, Any]], known: list[str]
    ) -> None:
        """Write these numbers over those of the same cases; cases not `known` any more go."""
        cases = self.cases(packages)
        if cases is None:
            cases = {}
            self._sets.append({"packages": packages, "cases": cases})
        cases.update(numbers)
        kept = {name: cases[name] for name in sorted(cases) if name in known}
        cases.clear()
        cases.update(kept)
        text = json.dumps({"target": self.target, "sets": self._sets}, indent=1)
        self.path.write_text(text + "\n")
