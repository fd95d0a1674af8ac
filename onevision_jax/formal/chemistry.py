"""Molecules in SMILES, read by RDKit (extra `formal`)."""

from typing import Any

from onevision_jax.formal.errors import FormalError, shown
from onevision_jax.formal.extra import need

MAX_LETTERS = 2000
RADIUS = 2  # of the atoms' neighbourhoods that similarity counts (ECFP4)


def parse_smiles(text: str) -> str:
    """The canonical SMILES; raises FormalError for what is no molecule."""
    chem = need("rdkit.Chem", "reading SMILES")
    text = text.strip()
    if not text or len(text) > MAX_LETTERS or len(text.split()) > 1:
        raise FormalError(
            f"expected one SMILES of up to {MAX_LETTERS} letters, found {shown(text)}"
        )
    logs = need("rdkit.rdBase", "reading SMILES")
    with logs.BlockLogs():
        molecule = chem.MolFromSmiles(text)
    if molecule is None or not molecule.GetNumAtoms():
        raise FormalError(f"{shown(text)} is no molecule: brackets, ring closures or valences")
    return chem.MolToSmiles(molecule)


def write_smiles(smiles: str) -> str:
    """As RDKit writes it."""
    return smiles


def compare_smiles(a: str, b: str) -> float:
    """1 for one molecule, else Tanimoto's coefficient of counted neighbourhoods, below 1."""
    if a == b:
        return 1.0
    structures = need("rdkit.DataStructs", "comparing SMILES")
    return min(0.99, structures.TanimotoSimilarity(_counts(a), _counts(b)))


def _counts(smiles: str) -> Any:
    chem = need("rdkit.Chem", "comparing SMILES")
    generators = need("rdkit.Chem.rdFingerprintGenerator", "comparing SMILES")
    generator = generators.GetMorganGenerator(radius=RADIUS)
    return generator.GetSparseCountFingerprint(chem.MolFromSmiles(smiles))
