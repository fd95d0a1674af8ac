"""Names of levels and subjects as benchmarks spell them: which are the same, and their order."""

import re

# Levels of education in their order; a test for everyone stands after them.
ORDER = (
    "primary_school",
    "junior_high",
    "high_school",
    "college",
    "university",
    "social_test",
)
SAME = {
    "elementary": "primary_school",
    "elementary_school": "primary_school",
    "primary": "primary_school",
    "middle_school": "junior_high",
    "junior_high_school": "junior_high",
    "junior": "junior_high",
    "senior_high_school": "high_school",
    "social": "social_test",
    "mathematics": "math",
    "maths": "math",
}


def plain_name(name: str) -> str:
    """`Junior High School` and `junior-high` are both `junior_high`."""
    words = re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_")
    return SAME.get(words, words or name)


def level_order(name: str) -> tuple[int, int, str]:
    """Sorts levels of education, then others: numbers in a name by their size."""
    plain = plain_name(name)
    if plain in ORDER:
        return ORDER.index(plain), 0, name
    digits = re.search(r"\d{1,9}", name)
    return len(ORDER), int(digits[0]) if digits else 0, name
