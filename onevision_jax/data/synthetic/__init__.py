"""Rendered examples with exact formal text: charts, circuits, molecules, pedigrees and more.

Every family module has `make(rng, difficulty, size) -> Example`. It invents an object, draws it and
writes it down; question, reasoning and answer are computed from the same object.

| family | formal text | subject | tiers |
|---|---|---|---|
| charts | CSV | math | junior high, high school |
| tables | CSV at difficulty 1, else HTML | math | junior high, high school |
| circuits | SPICE netlist | physics | junior high to college |
| flowcharts | Mermaid | deduction | junior high to college, social test |
| geometry | logic forms with point positions | math | junior high, high school |
| scenes | JSON with boxes | deduction | junior high, high school, social test |
| molecules | SMILES | chemistry | junior high to university |
| pedigrees | PED rows | biology | junior high to university |
| foodwebs | Mermaid | biology | junior high to college |
| matrices | LaTeX | math | junior high to university |

The tier belongs to the kind of question, not to the difficulty. Images are readable from 84 pixels
a side at difficulty 0 and 1, 168 at 2 and 280 at 3.
"""

import functools
import random
from collections.abc import Callable

from onevision_jax.data.record import Record
from onevision_jax.data.synthetic import (
    charts,
    circuits,
    flowcharts,
    foodwebs,
    geometry,
    matrices,
    molecules,
    pedigrees,
    scenes,
    tables,
)
from onevision_jax.data.synthetic.drawing import COLOURS, Drawing, Primitive
from onevision_jax.data.synthetic.example import SIDES, Example, Question

__all__ = [
    "COLOURS",
    "FAMILIES",
    "SIDES",
    "Drawing",
    "Example",
    "Primitive",
    "Question",
    "make_example",
    "make_record",
]

FAMILIES: dict[str, Callable[[random.Random, int, int], Example]] = {
    "charts": charts.make,
    "tables": tables.make,
    "circuits": circuits.make,
    "flowcharts": flowcharts.make,
    "geometry": geometry.make,
    "scenes": scenes.make,
    "molecules": molecules.make,
    "pedigrees": pedigrees.make,
    "foodwebs": foodwebs.make,
    "matrices": matrices.make,
}

# At difficulty 0, for models of a million parameters, these stand still; all else is as at 1.
STILL = {
    "circuits": functools.partial(circuits.make, still=True),
    "flowcharts": functools.partial(flowcharts.make, still=True),
}


def make_example(
    family: str, seed: int, index: int, difficulty: int = 1, size: int | None = None
) -> Example:
    """Example number `index` of a family: a function of its arguments and of nothing else.

    size: pixels a side, default (and least) `SIDES[difficulty]`; it changes nothing but the pixels.
    """
    rng = random.Random(f"{family} {seed} {index} {difficulty}")
    make = FAMILIES[family]
    if difficulty == 0:
        make = STILL.get(family, make)
    return make(rng, max(difficulty, 1), size or SIDES[difficulty])


def make_record(
    family: str, seed: int, index: int, difficulty: int = 1, size: int | None = None
) -> Record:
    """The record of `make_example`."""
    example = make_example(family, seed, index, difficulty, size)
    question = example.question
    return Record(
        id=f"{family}-{difficulty}-{seed}-{index}",
        image=example.drawing.encode(),
        question=question.text,
        formal_text=example.formal_text,
        formal_language=example.formal_language,
        reasoning=question.reasoning,
        answer=question.answer,
        answer_kind=question.answer_kind,
        choices=question.choices,
        tier=question.tier,
        subject=example.subject,
        source="synth",
        licence="CC0-1.0",
        provenance={
            "family": family,
            "kind": question.kind,
            "difficulty": difficulty,
            "seed": seed,
            "index": index,
            "size": example.drawing.size,
        },
    )
