"""What is wrong with a formal text, in a sentence a model can repair it by."""

# Longer texts are refused before anything looks at them; a page of HTML has 50,000 characters.
MAX_CHARACTERS = 200_000


class FormalError(ValueError):
    """A text that does not follow its grammar. The message names the line, counted from 1."""

    def __init__(self, reason: str, line: int | None = None):
        self.reason = reason
        self.line = line
        super().__init__(reason if line is None else f"line {line}: {reason}")


def shown(text: str, most: int = 60) -> str:
    """`text` in quotes, shortened, for a message."""
    return repr(text if len(text) <= most else text[: most - 3] + "...")


def check_size(text: str) -> None:
    """Raises FormalError for a text too long to be looked at."""
    if len(text) > MAX_CHARACTERS:
        raise FormalError(f"the text has {len(text)} characters, at most {MAX_CHARACTERS} are read")
