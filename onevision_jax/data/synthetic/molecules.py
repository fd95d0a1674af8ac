"""Structural formulas of organic molecules; formal text: SMILES.

Difficulty 1: 3 or 4 groups such as CH3 and OH with their bonds, on a square lattice. 2: skeletal
formulas of 5 to 7 atoms: lines end in carbon atoms, other atoms are written with their hydrogens.
3: skeletal formulas of 7 to 10 atoms with a ring. Neighbours on the lattice are bonded; atoms other
than carbon are bonded to carbon only. Canonical SMILES: see `Molecule.to_smiles`.

Different images at difficulty 1: some molecules are far more frequent than others; of 12,000 draws
32 pairs were equal, as among 2.2e6 equally frequent ones.
"""

import math
import random
from collections.abc import Callable
from fractions import Fraction

from onevision_jax.data.record import Tier
from onevision_jax.data.synthetic import series
from onevision_jax.data.synthetic.drawing import Drawing
from onevision_jax.data.synthetic.example import (
    SIDES,
    Example,
    Question,
    format_fraction,
    phrase,
)
from onevision_jax.data.synthetic.molecule import HALOGENS, MASSES, ORDER, VALENCES, Molecule

Cell = tuple[int, int]
Point = tuple[float, float]
SIZES = {1: (3, 4), 2: (5, 7), 3: (7, 10)}
FONTS = {1: 10, 2: 14, 3: 18}
UNSATURATION_RANGE = {2: (0, 3), 3: (1, 4)}
CARBON_RANGE = {1: (1, 4), 2: (3, 6)}
INK = ("black", "grey", "blue", "purple", "brown", "green", "red")
TERMINAL = ("C", "C", "C", "O", "O", "N", "F", "Cl", "Br")
KINDS = {
    1: ("carbons", "hydrogens", "group", "mass"),
    2: ("carbons", "hydrogens", "group", "mass", "burn", "unsaturation"),
    3: ("hydrogens", "unsaturation", "oxidation", "burn", "sorts"),
}


def make(rng: random.Random, difficulty: int, size: int) -> Example:
    """A random molecule with a question about it."""
    kind = rng.choice(KINDS[difficulty])
    while True:
        molecule = invent(rng, difficulty)
        question = ask(rng, kind, molecule, difficulty)
        if question is not None:
            break
    drawing = Drawing(SIDES[difficulty], size)
    draw(rng, drawing, molecule, difficulty)
    return Example(drawing, molecule.to_smiles(), "smiles", question, "chemistry")


def square(cell: Cell) -> list[Cell]:
    """The neighbours on the square lattice of difficulty 1: 3 x 3 cells."""
    x, y = cell
    around = ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1))
    return [(u, v) for u, v in around if 0 <= u < 3 and 0 <= v < 3]


def honeycomb(cell: Cell) -> list[Cell]:
    """The neighbours on the honeycomb, columns zigzag: to the left, to the right, and one more."""
    x, y = cell
    return [(x - 1, y), (x + 1, y), (x, y + 1) if (x + y) % 2 else (x, y - 1)]


def locate(cell: Cell, difficulty: int) -> Point:
    """Where a cell is, before the whole is centred."""
    x, y = cell
    if difficulty == 1:
        return 28 * x, 25 * y
    bond = 25 if difficulty == 2 else 40
    return bond * 0.866 * x, bond * (1.5 * y + (0.25 if (x + y) % 2 else -0.25))


def invent(rng: random.Random, difficulty: int) -> Molecule:
    """Grow cells, choose elements, then double and triple bonds."""
    around = square if difficulty == 1 else honeycomb
    cells = grow(rng, around, rng.randint(*SIZES[difficulty]), difficulty == 3)
    places = {cell: locate(cell, difficulty) for cell in cells}
    order = sorted(cells, key=lambda cell: (round(places[cell][0], 3), places[cell][1]))
    index = {cell: i for i, cell in enumerate(order)}
    links = [[index[other] for other in around(cell) if other in index] for cell in order]
    elements = choose_elements(rng, links)
    bonds = choose_bonds(rng, links, elements, triple=difficulty == 1)
    return Molecule(tuple(elements), tuple(places[cell] for cell in order), bonds)


def grow(
    rng: random.Random, around: Callable[[Cell], list[Cell]], count: int, ring: bool
) -> set[Cell]:
    """Connected cells without a ring, or with one or two (each cell beside one or more others)."""
    if ring:  # One hexagon: two rows of three columns.
        cells = {(x, y) for x in (1, 2, 3) for y in (0, 1)}
    else:
        cells = {rng.choice([(x, y) for x in range(3) for y in range(3)])}
    while len(cells) < count:
        rim = sorted({other for cell in cells for other in around(cell)} - cells)
        free = [cell for cell in rim if ring or len(set(around(cell)) & cells) == 1]
        if not free:
            return grow(rng, around, count, ring)
        cells.add(rng.choice(free))
    return cells


def choose_elements(rng: random.Random, links: list[list[int]]) -> list[str]:
    """Carbon, and others that touch carbon only and have bonds enough."""
    elements = ["C"] * len(links)
    for atom in rng.sample(range(len(links)), len(links)):
        if any(elements[other] != "C" for other in links[atom]):
            continue
        if len(links[atom]) == 1:
            elements[atom] = rng.choice(TERMINAL)
        elif rng.random() < 0.15:
            elements[atom] = rng.choice([e for e in "NO" if VALENCES[e] >= len(links[atom])] or "C")
    if set(elements) & {"C"}:
        return elements
    return choose_elements(rng, links)


def choose_bonds(
    rng: random.Random, links: list[list[int]], elements: list[str], triple: bool
) -> tuple[tuple[int, int, int], ...]:
    """At most one double or triple bond at an atom."""
    free = [VALENCES[e] - len(near) for e, near in zip(elements, links, strict=True)]
    bonds = [(i, j) for i, near in enumerate(links) for j in near if i < j]
    orders = dict.fromkeys(bonds, 1)
    used: set[int] = set()
    for i, j in rng.sample(bonds, len(bonds)):
        most = min(free[i], free[j], 2 if triple else 1)
        likely = 0.55 if "O" in (elements[i], elements[j]) else 0.3
        if most > 0 and not used & {i, j} and rng.random() < likely:
            orders[i, j] += rng.choice((1, most))
            used |= {i, j}
    return tuple((i, j, orders[i, j]) for i, j in sorted(bonds))


def label(molecule: Molecule, atom: int) -> str:
    """`CH3`, `NH`, `Br`: the element and its hydrogens."""
    count = molecule.hydrogens(atom)
    return molecule.elements[atom] + ("H" if count else "") + (str(count) if count > 1 else "")


def draw(rng: random.Random, drawing: Drawing, molecule: Molecule, difficulty: int) -> None:
    """Bonds, cut off where a label stands, and labels."""
    side, font = SIDES[difficulty], FONTS[difficulty]
    xs, ys = zip(*molecule.places, strict=True)
    slack = 4 if difficulty == 1 else 6
    # Room for the labels at the ends.
    room_x = side / 2 - (max(xs) - min(xs)) / 2 - font * (1.1 if difficulty == 1 else 1.3)
    room_y = side / 2 - (max(ys) - min(ys)) / 2 - font * 0.7
    assert min(room_x, room_y) >= 0
    dx = side / 2 - (max(xs) + min(xs)) / 2 + rng.randint(-slack, slack) * min(1, room_x / slack)
    dy = side / 2 - (max(ys) + min(ys)) / 2 + rng.randint(-slack, slack) * min(1, room_y / slack)
    at = [(x + dx, y + dy) for x, y in molecule.places]
    ink, other = rng.choice(INK), rng.choice(INK)
    labels = [
        "" if difficulty > 1 and element == "C" else label(molecule, atom)
        for atom, element in enumerate(molecule.elements)
    ]
    for i, j, order in molecule.bonds:
        start = cut(at[i], at[j], labels[i], font)
        end = cut(at[j], at[i], labels[j], font)
        draw_bond(drawing, start, end, order, ink, font * 0.24)
    for text, place in zip(labels, at, strict=True):
        if text:
            drawing.text(place, text, font, "black" if text.startswith("C") else other)


def cut(start: Point, end: Point, text: str, font: float) -> Point:
    """Where a line that begins in the middle of a label leaves its box."""
    if not text:
        return start
    dx, dy = end[0] - start[0], end[1] - start[1]
    half_width, half_height = font * (0.2 + 0.31 * len(text)), font * 0.56
    part = min(half_width / max(abs(dx), 1e-9), half_height / max(abs(dy), 1e-9))
    return start[0] + part * dx, start[1] + part * dy


def draw_bond(drawing: Drawing, start: Point, end: Point, order: int, ink: str, gap: float) -> None:
    """One, two or three parallel lines."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy)
    across = (-dy / length, dx / length)
    for k in range(order):
        shift = gap * (k - (order - 1) / 2) * (1.4 if order == 2 else 1.2)
        x, y = across[0] * shift, across[1] * shift
        drawing.line((start[0] + x, start[1] + y), (end[0] + x, end[1] + y), ink, 1.2)


CARBONS = ("How many carbon atoms has the molecule?", "Count the carbon atoms of the molecule.")
HYDROGENS = (
    "How many hydrogen atoms has the molecule?",
    "Count the hydrogen atoms of the molecule.",
)
GROUP = (
    "Which functional group has the molecule?",
    "To which class of compounds does the molecule belong?",
)
MASS = (
    "What is the molar mass in g/mol, with {masses}?",
    "Find the molar mass in g/mol with {masses}.",
)
BURN = (
    "How many moles of O2 burn one mole of it to CO2 and H2O?",
    "To burn one mole completely, to CO2 and H2O, how many moles of O2 are needed?",
)
UNSATURATION = (
    "What is the degree of unsaturation (rings plus pi bonds)?",
    "Find the number of rings plus pi bonds.",
)
OXIDATION = (
    "What is the mean oxidation number of the carbon atoms?",
    "Find the average oxidation number of carbon in the molecule.",
)
SORTS = (
    "How many kinds of carbon atom are there, if only connectivity tells them apart?",
    "By connectivity alone, how many different carbon atoms has the molecule?",
)
SHARES = {"halide": 0.2, "alkene": 0.4, "alcohol": 0.6, "amine": 0.6}
CHOICES = (
    *("acid", "alcohol", "aldehyde", "alkene", "alkyne", "amide"),
    *("amine", "ester", "ether", "halide", "imine", "ketone", "nitrile"),
)


def ask(rng: random.Random, kind: str, molecule: Molecule, difficulty: int) -> Question | None:
    """A question of the kind, or None where the molecule has no answer to it."""
    makers = {
        "carbons": ask_atoms,
        "hydrogens": ask_atoms,
        "group": ask_group,
        "mass": ask_mass,
        "burn": ask_oxygen,
        "oxidation": ask_oxygen,
        "unsaturation": ask_unsaturation,
        "sorts": ask_sorts,
    }
    return makers[kind](rng, kind, molecule, difficulty)


def write_formula(molecule: Molecule) -> str:
    """`C2H6O`, in Hill order."""
    counts = molecule.counts()
    return "".join(f"{e}{counts[e] if counts[e] > 1 else ''}" for e in ORDER if counts[e])


def ask_atoms(
    rng: random.Random, kind: str, molecule: Molecule, difficulty: int
) -> Question | None:
    """Carbon or hydrogen atoms, atom by atom."""
    steps, count = [], 0
    if kind == "carbons" and molecule.counts()["C"] != rng.randint(*CARBON_RANGE[difficulty]):
        return None  # Or nearly all would have two.
    for atom in range(len(molecule.elements)):
        more = molecule.elements[atom] == "C" if kind == "carbons" else molecule.hydrogens(atom)
        if more:
            steps.append(f"{label(molecule, atom)}: {count} + {int(more)} = {count + int(more)}.")
        count += int(more)
    steps.append(f"In all {count}.")
    tier: Tier = "junior_high" if difficulty == 1 else "high_school"
    text = phrase(rng, CARBONS if kind == "carbons" else HYDROGENS)
    return Question(kind, text, " ".join(steps), str(count), tier=tier)


def ask_group(
    rng: random.Random, kind: str, molecule: Molecule, difficulty: int
) -> Question | None:
    """Only where there is one; the frequent ones are passed over now and then."""
    groups = molecule.groups()
    if len(groups) != 1 or "other" in groups:
        return None
    (wanted,) = groups
    if rng.random() > SHARES.get(wanted, 1):
        return None
    labels = ", ".join(label(molecule, atom) for atom in range(len(molecule.elements)))
    steps = f"{labels}. {wanted}."
    tier: Tier = "high_school"
    return Question(kind, phrase(rng, GROUP), steps, wanted, "choice", CHOICES, tier)


def ask_mass(rng: random.Random, kind: str, molecule: Molecule, difficulty: int) -> Question | None:
    """From whole atomic masses."""
    counts = molecule.counts()
    if counts["Cl"]:
        return None
    present = [element for element in ORDER if counts[element]]
    parts = [counts[element] * MASSES[element] for element in present]
    read = ", ".join(f"{element} {part}" for element, part in zip(present, parts, strict=True))
    sums, total = series.add_up(parts)
    masses = ", ".join(f"{element} {MASSES[element]}" for element in present)
    text = phrase(rng, MASS, masses=masses)
    steps = f"{write_formula(molecule)}: {read}. {sums}"
    return Question(kind, text, steps, str(total), tier="high_school")


def ask_oxygen(
    rng: random.Random, kind: str, molecule: Molecule, difficulty: int
) -> Question | None:
    """Burning, or the mean oxidation number, of C, H and O: H is +1 and O is -2."""
    counts = molecule.counts()
    if set(molecule.elements) - {"C", "O"}:
        return None
    c, h, o = counts["C"], counts["H"], counts["O"]
    f = format_fraction
    if kind == "burn":
        quarter, half = Fraction(h, 4), Fraction(o, 2)
        answer = molecule.oxygen_to_burn()
        steps = f"{write_formula(molecule)}. {h} / 4 = {f(quarter)}. {c} + {f(quarter)} = "
        steps += f"{f(c + quarter)}. {o} / 2 = {f(half)}. {f(c + quarter)} - {f(half)} = "
        return Question(
            kind, phrase(rng, BURN), f"{steps}{f(answer)}.", f(answer), tier="high_school"
        )
    answer = Fraction(2 * o - h, c)
    total = f"({2 * o - h})" if 2 * o < h else f"{2 * o - h}"
    steps = f"{write_formula(molecule)}. 2 * {o} = {2 * o}. {2 * o} - {h} = {2 * o - h}. "
    steps += f"{total} / {c} = {f(answer)}."
    return Question(kind, phrase(rng, OXIDATION), steps, f(answer), tier="college")


def ask_unsaturation(
    rng: random.Random, kind: str, molecule: Molecule, difficulty: int
) -> Question | None:
    """(2 C + 2 + N - H - X) / 2."""
    counts = molecule.counts()
    c, n, h = counts["C"], counts["N"], counts["H"]
    x = sum(counts[element] for element in HALOGENS)
    steps, total = [f"{write_formula(molecule)}.", f"2 * {c} = {2 * c}."], 2 * c
    for sign, part in (("+", 2), ("+", n), ("-", h), ("-", x)):
        if part:
            after = total + part if sign == "+" else total - part
            steps.append(f"{total} {sign} {part} = {after}.")
            total = after
    answer = molecule.unsaturation()
    if answer != rng.randint(*UNSATURATION_RANGE[difficulty]):
        return None  # Or nearly all would have one.
    steps.append(f"{total} / 2 = {answer}.")
    return Question(kind, phrase(rng, UNSATURATION), " ".join(steps), str(answer), tier="college")


def ask_sorts(
    rng: random.Random, kind: str, molecule: Molecule, difficulty: int
) -> Question | None:
    """Carbon atoms that no symmetry of the connectivity exchanges."""
    double = [
        order
        for i, j, order in molecule.bonds
        if "O" not in (molecule.elements[i], molecule.elements[j])
    ]
    if double.count(2) > 2:
        return None  # It may be aromatic: its bonds are equal, though not as drawn.
    count = molecule.counts()["C"]
    answer = molecule.kinds_of_carbon()
    steps = f"{count} carbon atoms, {count - answer} of them equal to another before: "
    steps += f"{count} - {count - answer} = {answer}."
    return Question(kind, phrase(rng, SORTS), steps, str(answer), tier="university")
