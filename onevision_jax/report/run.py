"""The page of a folder: a training run, an evaluation, or what there is of both."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from onevision_jax.errors import InputError
from onevision_jax.report.items import item_sections
from onevision_jax.report.page import facts, page, section
from onevision_jax.report.reading import flatten, read_object
from onevision_jax.report.scores import score_sections
from onevision_jax.report.training import sample_sections, training_sections

SCORES = "results.json"


def run_report(folder: Path, baselines: Sequence[str] = ()) -> str:
    """HTML of whatever a run or `eval` left in a folder.

    baselines: words NAME=FOLDER_OR_FILE, shown beside the scores. Raises InputError when the
    folder holds nothing to show or no scores to compare, and for a damaged file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the folder of a run or of an evaluation")
    makers = {
        SCORES: partial(score_sections, baselines=baselines),
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
    if baselines and SCORES not in found:
        raise InputError(f"{folder} holds no {SCORES} to set beside --baseline; leave it out")
    sections = [html for name in found for html in makers[name](folder / name)]
    return page(folder.absolute().name or "run", sections, f"from {', '.join(found)}")


def evaluation_page(folder: Path) -> str:
    """HTML of the results.json and items.jsonl that `eval` has just written into a folder."""
    sections = [*score_sections(folder / SCORES), *item_sections(folder / "items.jsonl")]
    return page(folder.absolute().name, sections, "from results.json, items.jsonl")


def settings_sections(path: Path) -> list[str]:
    """HTML of config.json: every setting under the name that changes it on the command line."""
    return [section("Settings", facts(flatten(read_object(path))))]
