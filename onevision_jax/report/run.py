"""The page of a folder: a training run, an evaluation, or what there is of both."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.report.page import facts, page, section
from onevision_jax.report.reading import read_object
from onevision_jax.report.scores import item_sections, score_sections
from onevision_jax.report.training import sample_sections, training_sections


def run_report(folder: Path) -> str:
    """HTML of whatever a run or `eval` left in a folder.

    Raises InputError when the folder holds none of it, and for a damaged file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the folder of a run or of an evaluation")
    makers = {
        "results.json": score_sections,
        "metrics.jsonl": training_sections,
        "items.jsonl": item_sections,
        "samples.jsonl": sample_sections,
        "config.json": settings_sections,
    }
    found = [name for name in makers if (folder / name).is_file()]
    if not found:
        raise InputError(
            f"{folder} holds none of {', '.join(makers)}; "
            "name the folder of a run or of an evaluation"
        )
    sections = [html for name in found for html in makers[name](folder / name)]
    return page(folder.absolute().name or "run", sections, f"from {', '.join(found)}")


def settings_sections(path: Path) -> list[str]:
    """HTML of config.json: every setting under the name that changes it on the command line."""
    return [section("Settings", facts(flatten(read_object(path))))]


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(a.b, value) for every value; lists and empty objects as JSON."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{prefix}{name}", plain
