"""Which implementation of an op runs: by name, or the best that does not refuse.

A table maps names to records with `refuses(target, call)`: why it cannot run there, or None.
"""

from collections.abc import Mapping
from typing import Any

from onevision_kernels.target import current_target


def choose(op: str, table: Mapping[str, Any], call: Any, name: str | None) -> str:
    """`name` if it runs on the current target; for None the first of the table that does.

    Raises ValueError on an unknown name and on one that refuses the target or the call.
    """
    target = current_target()
    if name is None:
        return next(name for name, found in table.items() if found.refuses(target, call) is None)
    if name not in table:
        raise ValueError(f"{op} implementation {name!r} is none of {sorted(table)}")
    if reason := table[name].refuses(target, call):
        raise ValueError(f"{op} implementation {name!r} {reason}")
    return name


def describe(op: str, table: Mapping[str, Any], call: Any) -> dict[str, str]:
    """Name -> "active", "available", or why it does not run here, for a typical call."""
    target = current_target()
    active = choose(op, table, call, None)
    reasons = {name: found.refuses(target, call) for name, found in table.items()}
    return {
        name: reason or (f"active on {target.kind}" if name == active else "available")
        for name, reason in reasons.items()
    }
