"""Molecules read from lines and labels alone; answers from the SMILES by a reader of its own.

Where RDKit is installed (it is no dependency), it reads the SMILES too.
"""

import math
import re
from collections import Counter
from fractions import Fraction

import pytest

from onevision_jax.data.synthetic import SIDES, make_example

VALENCE = {"C": 4, "N": 3, "O": 2, "F": 1, "Cl": 1, "Br": 1}
MASS = {"C": 12, "H": 1, "N": 14, "O": 16, "F": 19, "Br": 80}
SIGN = {1: "", 2: "=", 3: "#"}


def read_atoms(drawing, skeletal):
    """Places and elements, hydrogens where they are written, and {(i, j): order}."""
    scale = drawing.scale
    texts = [p for p in drawing.primitives if p.kind == "text"]
    places = [p.points[0] for p in texts]
    labels = [re.findall(r"^([A-Z][lr]?)(H?)(\d?)$", p.text)[0] for p in texts]
    elements = [element for element, _, _ in labels]
    written = [int(n or 1) if h else 0 for _, h, n in labels]
    reach = {i: p.font_size * (0.35 + 0.31 * len(p.text)) for i, p in enumerate(texts)}
    # Parallel lines are one bond.
    bonds = []
    for p in drawing.primitives:
        if p.kind != "line":
            continue
        for bond in bonds:
            near = [math.dist(a, b) for a, b in zip(bond[0], p.points, strict=True)]
            if max(near) < 10 * scale:
                bond.append(p.points)
                break
        else:
            bonds.append([p.points])

    def atom_at(point):
        for i, place in enumerate(places):
            dx, dy = abs(point[0] - place[0]), abs(point[1] - place[1])
            height = texts[i].font_size * 0.75 + 1 if i < len(texts) else 3 * scale
            if dx <= reach.get(i, 3 * scale) + 1 and dy <= height:
                return i
        assert skeletal
        places.append(point)
        elements.append("C")
        return len(places) - 1

    orders = {}
    for several in bonds:
        ends = [
            tuple(sum(line[end][axis] for line in several) / len(several) for axis in (0, 1))
            for end in (0, 1)
        ]
        pair = tuple(sorted(map(atom_at, ends)))
        assert pair[0] != pair[1]
        assert pair not in orders
        orders[pair] = len(several)
    return places, elements, written, orders


def write_smiles(places, elements, orders, scale):
    """As `Molecule.to_smiles` describes it, over atoms from left to right, then downwards."""
    columns = []
    for x in sorted(x for x, _ in places):
        if not columns or x - columns[-1] > 6 * scale:
            columns.append(x)

    def column(place):
        return min(range(len(columns)), key=lambda k: abs(columns[k] - place[0]))

    order = sorted(range(len(places)), key=lambda i: (column(places[i]), places[i][1]))
    rank = {atom: k for k, atom in enumerate(order)}
    near = {atom: {} for atom in order}
    for (i, j), bond in orders.items():
        near[i][j] = near[j][i] = bond
    tree, closings, seen = {atom: [] for atom in order}, [], []

    def walk(atom, parent):
        seen.append(atom)
        for other in sorted(near[atom], key=rank.__getitem__):
            if other == parent:
                continue
            if other not in seen:
                tree[atom].append(other)
                walk(other, atom)
            elif (other, atom) not in closings and (atom, other) not in closings:
                closings.append((other, atom))

    walk(order[0], None)
    assert len(seen) == len(places)
    closings.sort(key=lambda pair: [seen.index(atom) for atom in pair])

    def text(atom):
        said = elements[atom]
        for digit, (first, last) in enumerate(closings, start=1):
            if atom == first:
                said += f"{SIGN[near[first][last]]}{digit}"
            elif atom == last:
                said += str(digit)
        branches = [SIGN[near[atom][other]] + text(other) for other in tree[atom]]
        return said + "".join(f"({one})" for one in branches[:-1]) + "".join(branches[-1:])

    return text(order[0])


def parse(smiles):
    """Elements and {(i, j): order} of a SMILES without aromatic letters and brackets."""
    elements, bonds, stack, rings = [], {}, [], {}
    last, bond = None, 1
    for token in re.findall(r"Cl|Br|[CNOF]|[()=#]|\d", smiles):
        if token == "(":
            stack.append(last)
        elif token == ")":
            last = stack.pop()
        elif token in "=#":
            bond = 2 if token == "=" else 3
        elif token.isdigit():
            if token in rings:
                first, order = rings.pop(token)
                bonds[first, last] = max(order, bond)
            else:
                rings[token] = (last, bond)
            bond = 1
        else:
            elements.append(token)
            if last is not None:
                bonds[last, len(elements) - 1] = bond
            last, bond = len(elements) - 1, 1
    assert not stack
    assert not rings
    return elements, bonds


def hydrogens(elements, bonds):
    return [
        VALENCE[e] - sum(order for pair, order in bonds.items() if i in pair)
        for i, e in enumerate(elements)
    ]


def orbits(elements, bonds):
    """Carbon atoms up to every permutation that keeps elements and bonds, by backtracking."""
    near = [{} for _ in elements]
    for (i, j), order in bonds.items():
        near[i][j] = near[j][i] = order

    def extend(mapping):
        atom = len(mapping)
        if atom == len(elements):
            yield mapping
            return
        for image in range(len(elements)):
            if image in mapping or elements[image] != elements[atom]:
                continue
            if len(near[image]) == len(near[atom]) and all(
                near[atom].get(k) == near[image].get(mapping[k]) for k in range(atom)
            ):
                yield from extend([*mapping, image])

    classes = {i: {i} for i, e in enumerate(elements) if e == "C"}
    for mapping in extend([]):
        for i, several in classes.items():
            several.add(mapping[i])
    return len({min(several) for several in classes.values()})


def patterns(elements, bonds):
    """Functional groups from each bond's surroundings, of molecules that have one kind."""
    near = [{} for _ in elements]
    for (i, j), order in bonds.items():
        near[i][j] = near[j][i] = order
    free = hydrogens(elements, bonds)
    oxo = {
        i
        for i, e in enumerate(elements)
        if e == "C" and any(elements[j] == "O" and near[i][j] == 2 for j in near[i])
    }
    found = set()
    for i, element in enumerate(elements):
        single = all(order == 1 for order in near[i].values())
        if element in ("F", "Cl", "Br"):
            found.add("halide")
        elif element == "O" and single:
            (name,) = (
                ["acid" if free[i] else "ester"]
                if oxo & set(near[i])
                else ["alcohol" if free[i] else "ether"]
            )
            found.add(name)
        elif element == "N":
            kind = max(near[i].values())
            name = {2: "imine", 3: "nitrile"}.get(kind)
            found.add(name or ("amide" if oxo & set(near[i]) else "amine"))
        elif i in oxo and all(elements[j] == "C" or near[i][j] == 2 for j in near[i]):
            found.add("aldehyde" if free[i] else "ketone")
        for j, order in near[i].items():
            if element == elements[j] == "C" and order > 1:
                found.add("alkene" if order == 2 else "alkyne")
    (group,) = found
    return group


def answer(kind, smiles):
    elements, bonds = parse(smiles)
    count = Counter(elements)
    h = sum(hydrogens(elements, bonds))
    match kind:
        case "carbons":
            return count["C"]
        case "hydrogens":
            return h
        case "mass":
            return sum(MASS[e] for e in elements) + h
        case "group":
            return patterns(elements, bonds)
        case "unsaturation":  # Pi bonds, and the bonds that are more than a tree has.
            return sum(order - 1 for order in bonds.values()) + len(bonds) - len(elements) + 1
        case "burn":  # Oxygen atoms of the products less those that are there, halved.
            return (2 * count["C"] + Fraction(h, 2) - count["O"]) / 2
        case "oxidation":  # For every carbon: +1 a bond to oxygen, -1 a hydrogen.
            charge = -sum(
                free
                for e, free in zip(elements, hydrogens(elements, bonds), strict=True)
                if e == "C"
            )
            for (i, j), order in bonds.items():
                charge += order * ({elements[i], elements[j]} == {"C", "O"})
            return Fraction(charge, count["C"])
        case "sorts":
            return orbits(elements, bonds)
    raise AssertionError(kind)


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_an_independent_reader_agrees(difficulty):
    for index in range(200):
        size = SIDES[difficulty] if index < 150 else SIDES[difficulty] * 2
        example = make_example("molecules", 7, index, difficulty, size)
        drawing = example.drawing
        places, elements, written, orders = read_atoms(drawing, difficulty > 1)
        assert hydrogens(elements, orders)[: len(written)] == written
        assert write_smiles(places, elements, orders, drawing.scale) == example.formal_text, index
        question = example.question
        assert str(answer(question.kind, example.formal_text)) == question.answer, question


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_rdkit_reads_the_same_molecule(difficulty):
    """Formula, hydrogens, rings plus pi bonds and classes of atoms by RDKit 2026.09.1."""
    chem = pytest.importorskip("rdkit.Chem", reason="rdkit is not installed")
    descriptors = pytest.importorskip("rdkit.Chem.rdMolDescriptors")
    for index in range(500):
        example = make_example("molecules", 8, index, difficulty)
        molecule = chem.MolFromSmiles(example.formal_text)
        assert molecule is not None, example.formal_text
        elements, _ = parse(example.formal_text)
        symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
        assert symbols == elements
        counts = Counter(symbols)
        counts["H"] = sum(atom.GetTotalNumHs() for atom in molecule.GetAtoms())
        formula = descriptors.CalcMolFormula(molecule)
        kind, said = example.question.kind, example.question.answer
        if kind in ("carbons", "hydrogens"):
            assert said == str(counts["C" if kind == "carbons" else "H"])
        if kind in ("mass", "burn", "oxidation"):
            assert formula in example.question.reasoning.replace(".", " ").replace(":", " ").split()
        if kind == "unsaturation":
            chem.Kekulize(molecule, clearAromaticFlags=True)
            orders = [int(bond.GetBondTypeAsDouble()) - 1 for bond in molecule.GetBonds()]
            assert said == str(sum(orders) + molecule.GetRingInfo().NumRings())
        if kind == "sorts":
            ranks = chem.CanonicalRankAtoms(molecule, breakTies=False, includeChirality=False)
            assert said == str(
                len({r for r, symbol in zip(ranks, symbols, strict=True) if symbol == "C"})
            )
