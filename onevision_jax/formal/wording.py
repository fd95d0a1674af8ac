"""Plain text, compared letter by letter: what is read off documents."""

from onevision_jax.formal.errors import FormalError

MAX_LETTERS = 20_000  # of a text that is compared; a dense page has 5,000


def parse_words(text: str) -> str:
    """Lines without spaces at their ends, runs of blank lines made one; raises if none is left."""
    lines = [" ".join(line.split()) for line in text.strip().splitlines()]
    kept = [line for n, line in enumerate(lines) if line or (n and lines[n - 1])]
    if not any(kept):
        raise FormalError("the text is empty")
    if sum(map(len, kept)) > MAX_LETTERS:
        raise FormalError(f"the text has more than {MAX_LETTERS} letters")
    return "\n".join(kept)


def compare_words(a: str, b: str) -> float:
    """1 - edit distance / length of the longer."""
    return 1.0 - edit_distance(a, b) / max(len(a), len(b), 1)


def character_error_rate(text: str, reference: str) -> float:
    """Edit distance / length of the reference: reported, never rewarded (it has no bound)."""
    return edit_distance(text, reference) / max(1, len(reference))


def edit_distance(a: str, b: str) -> int:
    """Levenshtein's, by bit vectors as wide as the shorter text (Myers 1999; Hyyrö 2003)."""
    if len(a) < len(b):
        a, b = b, a
    if not b:
        return len(a)
    width, masks = len(b), {}
    for place, letter in enumerate(b):
        masks[letter] = masks.get(letter, 0) | 1 << place
    every, last = (1 << width) - 1, 1 << (width - 1)
    plus, minus, distance = every, 0, width
    for letter in a:
        equal = masks.get(letter, 0)
        zero = (((equal & plus) + plus) ^ plus) | equal | minus
        up = minus | (every & ~(zero | plus))
        down = plus & zero
        distance += 1 if up & last else -1 if down & last else 0
        up = (up << 1) | 1
        down = down << 1
        plus = every & (down | ~(zero | up))
        minus = every & up & zero
    return distance
