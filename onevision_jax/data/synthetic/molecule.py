"""A molecule as atoms on a lattice: its SMILES, hydrogens, formula and functional groups."""

import dataclasses
import functools
from collections import Counter
from fractions import Fraction

VALENCES = {"C": 4, "N": 3, "O": 2, "F": 1, "Cl": 1, "Br": 1}
MASSES = {"C": 12, "H": 1, "N": 14, "O": 16, "F": 19, "Br": 80}  # whole numbers; Cl has none
HALOGENS = ("F", "Cl", "Br")
ORDER = ("C", "H", "Br", "Cl", "F", "N", "O")  # Hill
Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Molecule:
    """Atoms from left to right, then from top to bottom; bonds between their indices."""

    elements: tuple[str, ...]
    places: tuple[Point, ...]  # in points; x to the right, y downwards
    bonds: tuple[tuple[int, int, int], ...]  # first < second, order 1, 2 or 3

    @functools.cached_property
    def neighbours(self) -> list[dict[int, int]]:
        """{neighbour: order of the bond} of every atom."""
        found: list[dict[int, int]] = [{} for _ in self.elements]
        for i, j, order in self.bonds:
            found[i][j] = found[j][i] = order
        return found

    def hydrogens(self, atom: int) -> int:
        """How many complete the valence of an atom."""
        return VALENCES[self.elements[atom]] - sum(self.neighbours[atom].values())

    def counts(self) -> Counter[str]:
        """Atoms of every element, hydrogen included."""
        counts = Counter(self.elements)
        counts["H"] = sum(self.hydrogens(atom) for atom in range(len(self.elements)))
        return counts

    def unsaturation(self) -> int:
        """Rings and double bonds: degree of unsaturation."""
        counts = self.counts()
        halogens = sum(counts[x] for x in HALOGENS)
        return (2 * counts["C"] + 2 + counts["N"] - counts["H"] - halogens) // 2

    def to_smiles(self) -> str:
        """From the first atom on; neighbours in order, all but the last in brackets.

        Bonds that close rings are numbered in the order in which their ends come first; double
        bonds are written where they lie (no aromatic letters), no bond's geometry is.
        """
        visited: list[int] = []
        parents: dict[int, int] = {}

        def visit(atom: int) -> None:
            visited.append(atom)
            for other in sorted(self.neighbours[atom]):
                if other not in visited:
                    parents[other] = atom
                    visit(other)

        visit(0)
        place = {atom: k for k, atom in enumerate(visited)}
        closing = sorted(
            sorted((i, j), key=place.__getitem__)
            for i, j, _ in self.bonds
            if i != parents.get(j) and j != parents.get(i)
        )
        closing.sort(key=lambda bond: [place[atom] for atom in bond])
        signs = {1: "", 2: "=", 3: "#"}

        def write(atom: int) -> str:
            text = self.elements[atom]
            for digit, bond in enumerate(closing, start=1):
                if atom in bond:
                    order = self.neighbours[bond[0]][bond[1]]
                    text += f"{signs[order] if atom == bond[0] else ''}{digit}"
            young = [other for other in sorted(self.neighbours[atom]) if parents.get(other) == atom]
            for k, other in enumerate(young):
                branch = signs[self.neighbours[atom][other]] + write(other)
                text += branch if k == len(young) - 1 else f"({branch})"
            return text

        return write(0)

    def groups(self) -> set[str]:
        """Functional groups; `other` where they are not those of a first course."""
        found: set[str] = set()
        for atom, element in enumerate(self.elements):
            found |= self._groups_of_carbon(atom) if element == "C" else self._groups_at(atom)
        return found

    def _is_carbonyl(self, atom: int) -> bool:
        return self.elements[atom] == "C" and any(
            order == 2 and self.elements[other] == "O"
            for other, order in self.neighbours[atom].items()
        )

    def _groups_of_carbon(self, atom: int) -> set[str]:
        """What a carbon atom is the centre of."""
        single = [self.elements[o] for o, order in self.neighbours[atom].items() if order == 1]
        polar = [element for element in single if element in ("N", "O")]
        multiple = {
            (self.elements[o], order) for o, order in self.neighbours[atom].items() if order > 1
        }
        if self._is_carbonyl(atom):
            if len(polar) > 1 or any(element in HALOGENS for element in single):
                return {"other"}
            if not polar:
                return {"aldehyde" if self.hydrogens(atom) else "ketone"}
            if polar == ["N"]:
                return {"amide"}
            (oxygen,) = [o for o in self.neighbours[atom] if self._is_single_oxygen(atom, o)]
            return {"acid" if self.hydrogens(oxygen) else "ester"}
        names = {("N", 2): "imine", ("N", 3): "nitrile", ("C", 2): "alkene", ("C", 3): "alkyne"}
        found = {names[bond] for bond in multiple}
        # Acetals, enols and the like, and halides of double bonds.
        if len(polar) > 1 or (multiple and len(single) > single.count("C")):
            found.add("other")
        return found

    def _is_single_oxygen(self, atom: int, other: int) -> bool:
        return self.elements[other] == "O" and self.neighbours[atom][other] == 1

    def _groups_at(self, atom: int) -> set[str]:
        """What an atom other than carbon makes, unless its carbon has said it."""
        element, around = self.elements[atom], self.neighbours[atom]
        if element in HALOGENS:
            return {"halide"}
        if any(order > 1 for order in around.values()):
            return set()
        if sum(self._is_carbonyl(other) for other in around) > 1:
            return {"other"}
        if any(self._is_carbonyl(other) for other in around):
            return set()
        if element == "N":
            return {"amine"}
        return {"alcohol" if self.hydrogens(atom) else "ether"}

    def kinds_of_carbon(self) -> int:
        """Carbon atoms that differ by connectivity: colours that refining neighbours settles."""
        colours = [f"{element}{self.hydrogens(atom)}" for atom, element in enumerate(self.elements)]
        for _ in self.elements:
            colours = rename(
                [
                    (colours[atom], *sorted((order, colours[o]) for o, order in around.items()))
                    for atom, around in enumerate(self.neighbours)
                ]
            )
        return len({c for c, element in zip(colours, self.elements, strict=True) if element == "C"})

    def oxygen_to_burn(self) -> Fraction:
        """Moles of O2 for a mole of C, H, O: to CO2 and H2O."""
        counts = self.counts()
        return counts["C"] + Fraction(counts["H"], 4) - Fraction(counts["O"], 2)


def rename(colours: list[tuple[object, ...]]) -> list[str]:
    """Short names for equal values."""
    names = {colour: f"{k:03d}" for k, colour in enumerate(sorted(set(colours), key=repr))}
    return [names[colour] for colour in colours]
