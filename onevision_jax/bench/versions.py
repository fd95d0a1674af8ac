"""Versions of what a measurement ran on."""

from importlib import metadata


def versions(*names: str) -> dict[str, str]:
    """Of the distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
