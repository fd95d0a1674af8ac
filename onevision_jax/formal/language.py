"""A formal language as four functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

from onevision_jax.formal.errors import FormalError, check_size


class Language(NamedTuple):
    """parse raises FormalError; write(parse(text)) is canonical; score compares two parsed values.

    A score lies in [0, 1], is symmetric, and is 1 for equivalent values only.
    """

    name: str
    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    compare: Callable[[Any, Any], float]

    def read(self, text: str) -> Any:
        """The value of a text of any origin; raises FormalError alone for a bad one."""
        check_size(text)
        try:
            return self.parse(text)
        except RecursionError:
            raise FormalError("the text is nested too deeply") from None

    def canonical(self, text: str) -> str:
        """The one spelling of what the text says."""
        return self.write(self.read(text))

    def score(self, text: str, reference: str) -> float:
        """How much of the reference the text says; 0 for a text that does not parse.

        Raises FormalError when it is the reference that does not parse.
        """
        want = self.read(reference)
        try:
            got = self.read(text)
        except FormalError:
            return 0.0
        return min(1.0, max(0.0, self.compare(got, want)))
