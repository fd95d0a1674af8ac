"""Formal text: what an image says, in a language with a grammar. Parsers, canonical forms, scores.

`LANGUAGES[name]` parses, writes back canonically and compares; text is data, never executed.
"""

from onevision_jax.formal.errors import FormalError
from onevision_jax.formal.language import Language
from onevision_jax.formal.languages import LANGUAGES

__all__ = ["LANGUAGES", "FormalError", "Language"]
