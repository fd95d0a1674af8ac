"""Pedigrees as PED rows: `person father mother sex trait`, as linkage analysis writes them.

Sex is 1 for men and 2 for women, trait 1 for no and 2 for yes, 0 an unknown parent.
"""

from typing import NamedTuple

from onevision_jax.formal.errors import FormalError
from onevision_jax.formal.graph import Edge, Graph, compare_graphs, make_graph


class Person(NamedTuple):
    """A row; names are numbers or words."""

    name: str
    father: str
    mother: str
    sex: str
    trait: str


def parse_ped(text: str) -> tuple[Person, ...]:
    """Raises FormalError with the line at fault."""
    people: dict[str, tuple[int, Person]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 5:
            raise FormalError(
                f"expected `person father mother sex trait`, found {len(words)} words", number
            )
        person = Person(*words)
        if person.name in people or person.name == "0":
            raise FormalError(f"{person.name} cannot name another person", number)
        if person.sex not in "12" or person.trait not in "12":
            raise FormalError("sex and trait are 1 or 2 each", number)
        if (person.father == "0") != (person.mother == "0"):
            raise FormalError("either both parents are known or none (0 0)", number)
        people[person.name] = number, person
    if not people:
        raise FormalError("there is nobody, expected rows such as `1 0 0 1 2`")
    _check_parents(people)
    found = tuple(person for _, person in people.values())
    _graph(found)  # Checks its size.
    return found


def write_ped(people: tuple[Person, ...]) -> str:
    """A row a person, in the order given."""
    return "\n".join(" ".join(person) for person in people)


def compare_ped(a: tuple[Person, ...], b: tuple[Person, ...]) -> float:
    """F1 over people (sex and trait) and parents, whatever the people are called."""
    return compare_graphs(_graph(a), _graph(b))


def _check_parents(people: dict[str, tuple[int, Person]]) -> None:
    for number, person in people.values():
        for parent, sex, role in ((person.father, "1", "father"), (person.mother, "2", "mother")):
            if parent == "0":
                continue
            if parent not in people:
                raise FormalError(f"the {role} {parent} of {person.name} has no row", number)
            if people[parent][1].sex != sex:
                raise FormalError(
                    f"{parent} is {role} of {person.name} and of the other sex", number
                )
    settled: set[str] = {"0"}
    waiting = [person for _, person in people.values()]
    while waiting:
        later = [p for p in waiting if p.father not in settled or p.mother not in settled]
        settled |= {p.name for p in waiting} - {p.name for p in later}
        if len(later) == len(waiting):
            raise FormalError(f"{later[0].name} descends from itself", people[later[0].name][0])
        waiting = later


def _graph(people: tuple[Person, ...]) -> Graph:
    index = {person.name: place for place, person in enumerate(people)}
    edges = [
        Edge(index[parent], index[person.name])
        for person in people
        for parent in (person.father, person.mother)
        if parent != "0"
    ]
    return make_graph([f"{person.sex} {person.trait}" for person in people], edges)
