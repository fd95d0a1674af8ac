"""Questions about pedigrees: counting, genotypes that must be, risks of the next child."""

import random
from fractions import Fraction

from onevision_jax.data.record import Tier
from onevision_jax.data.synthetic.example import Question, format_fraction, phrase
from onevision_jax.data.synthetic.inheritance import (
    Family,
    Mode,
    offspring,
    possible_genotypes,
)

KINDS = {
    1: ("affected", "genotype", "next"),
    2: ("affected", "genotype", "next", "risk"),
    3: ("affected", "genotype", "next", "risk"),
}
# So that every answer is asked for equally often; "" = whatever comes.
ANSWERS = {
    "affected": ("",),
    # DD can never be told from a pedigree.
    "genotype": ("Dr", "rr", "unknown"),
    "next": ("1/4", "1/2", "3/4"),
    "risk": ("",),
}
AFFECTED = ("How many {who} show the trait?", "Count the {who} with the trait.")
GENOTYPE = (
    "The trait is {mode}. With alleles D over r, what is the genotype of person {n}?",
    "{n} is a person in this pedigree of a {mode} trait. Which genotype, D over r, has {n}?",
)
NEXT = (
    "The trait is {mode}. With what probability will the next child of {i} and {j} show it?",
    "For a {mode} trait, what is the probability that {i} and {j} have another child with it?",
)


def ask(
    rng: random.Random, kind: str, wanted: str, family: Family, mode: Mode, difficulty: int
) -> Question | None:
    """A question of the kind with the wanted answer, or None where the family has none."""
    if kind == "affected":
        return ask_affected(rng, family, difficulty)
    i, j = family.pairs[-1]
    if kind == "risk" and any(family.people[n - 1].affected for n in family.children(i, j)):
        return None
    genotypes = possible_genotypes(family, mode)
    if kind == "genotype":
        return ask_genotype(rng, wanted, family, mode, genotypes)
    if kind == "next":
        return ask_next(rng, wanted, family, mode, genotypes, difficulty)
    return ask_risk(rng, family, genotypes, difficulty)


def ask_affected(rng: random.Random, family: Family, difficulty: int) -> Question:
    """How many people, men or women have the trait, person by person."""
    who = rng.choice(("people", "men", "women"))
    steps, count = [], 0
    for number, person in enumerate(family.people, start=1):
        if who == "people" or person.female == (who == "women"):
            count += person.affected
            steps.append(f"{number} {'yes' if person.affected else 'no'}, {count}.")
    steps.append(f"In all {count}.")
    text = phrase(rng, AFFECTED, who=who)
    tier: Tier = "junior_high" if difficulty < 3 else "high_school"
    return Question("affected", text, " ".join(steps), str(count), tier=tier)


def known(several: set[str]) -> str:
    """The one genotype that is possible, or `unknown`."""
    return next(iter(several)) if len(several) == 1 else "unknown"


def ask_genotype(
    rng: random.Random,
    wanted: str,
    family: Family,
    mode: Mode,
    genotypes: dict[int, set[str]],
) -> Question | None:
    """Someone whose genotype is the wanted one for certain, or unknown."""
    numbers = [number for number, several in genotypes.items() if known(several) == wanted]
    if not numbers:
        return None
    n = rng.choice(numbers)
    person = family.people[n - 1]
    steps = [f"{n} {'shows' if person.affected else 'does not show'} the trait."]
    if wanted == "rr":
        steps.append("That takes two r.")
    elif wanted == "Dr":
        steps.append("So one D.")
        steps.append(source_of_a(family, genotypes, n))
    else:
        steps.append("So one D. No parent or child settles the other.")
    steps.append(f"{n} is {wanted}.")
    text = phrase(rng, GENOTYPE, mode=mode, n=n)
    choices = ("DD", "Dr", "rr", "unknown")
    return Question("genotype", text, " ".join(steps), wanted, "choice", choices, "high_school")


def source_of_a(family: Family, genotypes: dict[int, set[str]], n: int) -> str:
    """Where the r of a Dr person shows: a parent or a child that is rr, or, else, in all."""
    person = family.people[n - 1]
    for parent in (person.father, person.mother):
        if parent and genotypes[parent] == {"rr"}:
            return f"Parent {parent} is rr and gives r."
    for child, young in enumerate(family.people, start=1):
        if n in (young.father, young.mother) and genotypes[child] == {"rr"}:
            return f"Child {child} is rr and has an r from {n}."
    return "Every way to pass on the alleles gives the other as r."


def ask_next(
    rng: random.Random,
    wanted: str,
    family: Family,
    mode: Mode,
    genotypes: dict[int, set[str]],
    difficulty: int,
) -> Question | None:
    """Both parents' genotypes are settled, at least one of them Dr."""
    for i, j in rng.sample(family.pairs, len(family.pairs)):
        first, second = known(genotypes[i]), known(genotypes[j])
        if "unknown" in (first, second) or "Dr" not in (first, second):
            continue
        young = offspring(first, second)
        recessive = Fraction(young.count("rr"), 4)
        answer = recessive if mode == "recessive" else 1 - recessive
        if format_fraction(answer) != wanted:
            continue
        a, b = (format_fraction(Fraction(g.count("r"), 2)) for g in (first, second))
        steps = [f"{i} is {first}, {j} is {second}. rr: {a} * {b} = {format_fraction(recessive)}."]
        if mode == "dominant":
            steps.append(f"1 - {format_fraction(recessive)} = {format_fraction(answer)}.")
        text = phrase(rng, NEXT, mode=mode, i=i, j=j)
        tier: Tier = "high_school" if difficulty < 3 else "college"
        return Question("next", text, " ".join(steps), format_fraction(answer), tier=tier)
    return None


def ask_risk(
    rng: random.Random, family: Family, genotypes: dict[int, set[str]], difficulty: int
) -> Question | None:
    """The married couple of the second generation: carriers by Bayes' rule, given their children.

    Asked only where the grandparents settle how likely each of the two carries r, so that nobody
    needs to know how frequent it is elsewhere. The trait is recessive, and no child has it.
    """
    i, j = family.pairs[-1]
    parents = [carrier(family, genotypes, n) for n in (i, j)]
    if None in parents or all(chance in (0, 1) for chance, _ in filter(None, parents)):
        return None
    (p, first), (q, second) = (parent for parent in parents if parent)
    sick = [family.people[n - 1].affected for n in (i, j)]
    children = family.children(i, j)
    f = format_fraction
    steps = [first, second]
    both = p * q
    steps.append(f"{f(p)} * {f(q)} = {f(both)}.")
    # A child of two carriers is rr with 1/4; where one parent is rr, with 1/2.
    rr = Fraction(1, 2) if any(sick) else Fraction(1, 4)
    healthy = 1 - rr
    steps.append(f"1 - {f(rr)} = {f(healthy)}.")
    chance = Fraction(1)
    for child in children:
        steps.append(f"{child} healthy: {f(chance)} * {f(healthy)} = {f(chance * healthy)}.")
        chance *= healthy
    seen = both * chance
    rest = 1 - both
    steps.append(f"{f(both)} * {f(chance)} = {f(seen)}. 1 - {f(both)} = {f(rest)}.")
    steps.append(f"{f(seen)} + {f(rest)} = {f(seen + rest)}.")
    posterior = seen / (seen + rest)
    steps.append(f"({f(seen)}) / ({f(seen + rest)}) = {f(posterior)}.")
    answer = posterior * rr
    steps.append(f"{f(posterior)} * {f(rr)} = {f(answer)}.")
    text = phrase(rng, NEXT, mode="recessive", i=i, j=j)
    tier: Tier = "college" if difficulty == 2 else "university"
    return Question("risk", text, " ".join(steps), f(answer), tier=tier)


def carrier(family: Family, genotypes: dict[int, set[str]], n: int) -> tuple[Fraction, str] | None:
    """The chance that a person has an r before the children are looked at, and why.

    None where the parents do not settle it. (An affected person, rr, has one for certain.)
    """
    person = family.people[n - 1]
    if person.affected:
        return Fraction(1), f"{n} is rr."
    if not person.father:
        return None
    parents = (known(genotypes[person.father]), known(genotypes[person.mother]))
    if "unknown" in parents:
        return None
    young = [g for g in offspring(*parents) if g != "rr"]
    chance = Fraction(young.count("Dr"), len(young))
    said = f"{person.father} is {parents[0]}, {person.mother} is {parents[1]}."
    return chance, f"{said} {n} is Dr: {format_fraction(chance)}."
