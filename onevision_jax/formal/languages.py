"""The languages, by the names that records carry (`formal_language`)."""

from collections.abc import Mapping
from types import MappingProxyType

from onevision_jax.formal import (
    board,
    boxes,
    chemistry,
    logic,
    markup,
    matrix,
    mermaid,
    netlist,
    pedigree,
    table,
    wording,
)
from onevision_jax.formal.language import Language

_ALL = (
    Language("csv", table.parse_csv, table.write_csv, table.compare_tables),
    Language("html", markup.parse_html, markup.write_html, markup.compare_html),
    Language("mermaid", mermaid.parse_mermaid, mermaid.write_mermaid, mermaid.compare_mermaid),
    Language("spice", netlist.parse_spice, netlist.write_spice, netlist.compare_spice),
    Language("scene_json", boxes.parse_boxes, boxes.write_boxes, boxes.compare_boxes),
    Language("logic_form", logic.parse_logic, logic.write_logic, logic.compare_logic),
    Language("smiles", chemistry.parse_smiles, chemistry.write_smiles, chemistry.compare_smiles),
    Language("fen", board.parse_fen, board.write_fen, board.compare_fen),
    Language("ped", pedigree.parse_ped, pedigree.write_ped, pedigree.compare_ped),
    Language("latex", matrix.parse_matrices, matrix.write_matrices, matrix.compare_matrices),
    Language("text", wording.parse_words, str, wording.compare_words),
)
LANGUAGES: Mapping[str, Language] = MappingProxyType({found.name: found for found in _ALL})
