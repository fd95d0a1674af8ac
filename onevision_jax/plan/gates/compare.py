"""Whether what was compiled now is as good as what was accepted."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from onevision_jax.plan.gates.records import Records

# How much a number may rise over the accepted one before it is a regression. Not here: CPU
# seconds (the machine's), shared memory (what does not fit does not compile), use of the units.
PROGRAM_RISE = {"temp_bytes": 0.05, "copies": 0.0}
KERNEL_RISE = {
    "registers": 0.05,
    "spill_stores": 0.0,
    "spill_loads": 0.0,
    "bundles": 0.05,
    "block_bundles": 0.05,
    "vector_spills": 0.05,  # Of hundreds a few more or less come and go with any change.
}


class Verdict(NamedTuple):
    """word: "ok", "not compared", "not registered" or "FAILED"; why: a sentence, or empty."""

    word: str
    why: str = ""


def judge(records: Records, packages: dict[str, str], found: dict[str, Any]) -> Verdict:
    """The verdict on one line of `measure_target`."""
    name, outcome = found["case"], found["outcome"]
    accepted = records.cases(packages)
    if accepted is None:
        if outcome == "measured":
            return Verdict("not compared", _no_set(records, packages))
        word = "not registered" if outcome == "not registered" else "not compared"
        return Verdict(word, found["reason"])
    command = accept_command(records.target, name)
    if outcome != "measured":
        if outcome == "not registered" and name not in accepted:
            return Verdict("not registered", found["reason"])
        return Verdict("FAILED", f"{records.target} {name}: {found['reason']}")
    if name not in accepted:
        return Verdict(
            "FAILED", f"{records.target} {name} has no record in {records.path.name}: {command}"
        )
    worse = list(regressions(accepted[name], found["numbers"]))
    if worse:
        return Verdict("FAILED", f"{records.target} {name}: {'; '.join(worse)}; {command}")
    return Verdict("ok")


def accept_command(target: str, case: str) -> str:
    """What to run where the new numbers are meant."""
    return f"if that is meant, run onevision bench gates --target {target} --case {case} --accept"


def _no_set(records: Records, packages: dict[str, str]) -> str:
    wanted = ", ".join(f"{name} {number}" for name, number in packages.items())
    there = "; ".join(
        ", ".join(f"{name} {number}" for name, number in one.items()) for one in records.versions()
    )
    return f"{records.path.name} has no record for {wanted} (it has: {there or 'none'})"


def regressions(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """One phrase for everything that got worse."""
    yield from _risen("", before, after, PROGRAM_RISE)
    for kernel, old in before["kernels"].items():
        new = after["kernels"].get(kernel)
        if new is None:
            yield f"kernel {kernel} is gone (there are: {', '.join(after['kernels']) or 'none'})"
            continue
        yield from _risen(f"{kernel} ", old, new, KERNEL_RISE)
        if old.get("wgmma") and not new.get("wgmma"):
            yield f"{kernel} no longer uses the tensor cores (wgmma {old['wgmma']} -> 0)"
    for kernel in after["kernels"].keys() - before["kernels"].keys():
        yield f"kernel {kernel} is new"


def _risen(
    prefix: str, before: dict[str, Any], after: dict[str, Any], rises: dict[str, float]
) -> Iterator[str]:
    for measure, rise in rises.items():
        old, new = before.get(measure), after.get(measure)
        if old is not None and new is not None and new > old * (1 + rise):
            share = f" (+{100 * (new - old) / old:.1f} %)" if old else ""
            yield f"{prefix}{measure} {old:,} -> {new:,}{share}"
