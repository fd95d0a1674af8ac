"""Draws the education-tiered benchmark: as many questions for every (tier, subject) as for another.

It can hold nothing that a model was trained on: its rows are of the `test` split only, which every
`onevision synth` leaves out of train.jsonl and validation.jsonl since the split follows from the
picture's hash; and its draws have negative seeds, which `onevision synth` does not take, so the
same object is not in a training set at another size either.

Same seed and number, same bytes, with the same version and the same build of Pillow (see
`data.synthetic.build`); change `tasks.tiered.VERSION` with anything that changes them.
"""

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL

from onevision_jax import __version__
from onevision_jax.data.record import Record, format_row, image_hash, split_of, write_image
from onevision_jax.data.synthetic import make_example, make_record
from onevision_jax.data.synthetic.build import appearing
from onevision_jax.errors import InputError
from onevision_jax.evaluation.tasks.tiered import VERSION

Cell = tuple[str, str]  # tier, subject
# Families that have such questions, each with the difficulties at which they come up.
SOURCES: dict[Cell, dict[str, tuple[int, ...]]] = {
    ("junior_high", "math"): {
        "charts": (1, 2),
        "tables": (1, 2, 3),
        "geometry": (1, 2),
        "matrices": (1,),
    },
    ("junior_high", "physics"): {"circuits": (1,)},
    ("junior_high", "chemistry"): {"molecules": (1,)},
    ("junior_high", "biology"): {"pedigrees": (1, 2), "foodwebs": (1, 2, 3)},
    ("junior_high", "deduction"): {"flowcharts": (1,), "scenes": (1, 2)},
    ("high_school", "math"): {
        "charts": (2, 3),
        "tables": (3,),
        "geometry": (2, 3),
        "matrices": (1, 2, 3),
    },
    ("high_school", "physics"): {"circuits": (1, 2, 3)},
    ("high_school", "chemistry"): {"molecules": (1, 2, 3)},
    ("high_school", "biology"): {"pedigrees": (1, 2, 3), "foodwebs": (1, 2, 3)},
    ("high_school", "deduction"): {"flowcharts": (2,), "scenes": (3,)},
    ("college", "math"): {"matrices": (2, 3)},
    ("college", "physics"): {"circuits": (2, 3)},
    ("college", "chemistry"): {"molecules": (2, 3)},
    ("college", "biology"): {"pedigrees": (2, 3), "foodwebs": (3,)},
    ("college", "deduction"): {"flowcharts": (3,)},
    ("university", "math"): {"matrices": (3,)},
    ("university", "chemistry"): {"molecules": (3,)},
    ("university", "biology"): {"pedigrees": (3,)},
    ("social_test", "deduction"): {"flowcharts": (1, 2), "scenes": (1, 2, 3)},
}

Progress = Callable[[int, int], None]  # questions found, questions in all


@dataclasses.dataclass(frozen=True)
class TieredSettings:
    """What to draw. Checked on construction; raises `InputError`."""

    num: int = 1000
    seed: int = 0

    def __post_init__(self):
        if self.num < 1:
            raise InputError(f"the number of questions is {self.num}; give 1 or more")
        if self.seed < 0:
            raise InputError(f"the seed is {self.seed}; give a whole number from 0")

    @property
    def name(self) -> str:
        """Of the benchmark, and of its file; another number of questions is another benchmark."""
        standard = TieredSettings.num
        return f"tiered-{VERSION}-seed{self.seed}" + (
            "" if self.num == standard else f"-{self.num}"
        )


def draw_seed(seed: int) -> int:
    """Of the families' draws: one that no `onevision synth` has."""
    return -1 - seed


def quotas(num: int) -> dict[Cell, int]:
    """Questions of every cell; they differ by 1 at most."""
    each, more = divmod(num, len(SOURCES))
    return {cell: each + (k < more) for k, cell in enumerate(SOURCES)}


def draw_source(cell: Cell, family: str, difficulty: int, seed: int) -> Iterator[Record]:
    """The questions of a cell from one family at one difficulty that are of the test split."""
    for index in itertools.count():
        # Drawing is cheap, encoding the picture is not.
        example = make_example(family, draw_seed(seed), index, difficulty)
        if (example.question.tier, example.subject) != cell:
            continue
        record = make_record(family, draw_seed(seed), index, difficulty)
        if split_of(record) == "test":
            yield record


def draw_cell(cell: Cell, seed: int) -> Iterator[Record]:
    """The questions of a cell: its families in turn, and their difficulties in turn."""
    families = [
        itertools.cycle([draw_source(cell, family, difficulty, seed) for difficulty in several])
        for family, several in SOURCES[cell].items()
    ]
    for sources in itertools.cycle(families):
        yield next(next(sources))


def draw_all(settings: TieredSettings) -> Iterator[Record]:
    """All questions, one of every cell in turn, so that the first ones are balanced too."""
    left = quotas(settings.num)
    cells = {cell: draw_cell(cell, settings.seed) for cell in SOURCES}
    seen: set[str] = set()
    for cell in itertools.cycle(SOURCES):
        if not any(left.values()):
            return
        if not left[cell]:
            continue
        record = next(
            record for record in cells[cell] if image_hash(record.image or b"") not in seen
        )
        seen.add(image_hash(record.image or b""))
        left[cell] -= 1
        yield dataclasses.replace(record, id=f"{settings.name}-{len(seen):04d}")


def make_tiered(
    out: str | Path, settings: TieredSettings, progress: Progress | None = None
) -> dict[str, Any]:
    """Writes NAME.jsonl, images/ and card.json to the folder `out`, absent or empty; the card.

    The folder appears whole or not at all. Raises InputError.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    lines = []
    with appearing(Path(out).resolve()) as folder:
        for record in draw_all(settings):
            assert record.image is not None
            write_image(record.image, folder)
            lines.append(format_row(record))
            counts[record.tier, record.subject, str(record.provenance["family"])] += 1
            if progress:
                progress(len(lines), settings.num)
        file = folder / f"{settings.name}.jsonl"
        file.write_text("".join(lines), encoding="utf-8", newline="\n")
        card = describe(settings, file.read_bytes(), counts)
        text = json.dumps(card, indent=2)
        (folder / "card.json").write_text(text + "\n", encoding="utf-8")
    return card


def describe(
    settings: TieredSettings, content: bytes, counts: Counter[tuple[str, str, str]]
) -> dict[str, Any]:
    """The contents of `card.json`."""
    return {
        "name": settings.name,
        "version": VERSION,
        "made_by": f"onevision eval make-tiered {__version__}",
        "pillow": PIL.__version__,
        "licence": "CC0-1.0",
        "seed": settings.seed,
        "num": settings.num,
        "split": "test",
        "sha256": hashlib.sha256(content).hexdigest(),
        "cells": [
            {
                "tier": tier,
                "subject": subject,
                "count": sum(n for (a, b, _), n in counts.items() if (a, b) == (tier, subject)),
                "families": {c: n for (a, b, c), n in counts.items() if (a, b) == (tier, subject)},
            }
            for tier, subject in SOURCES
        ],
    }
