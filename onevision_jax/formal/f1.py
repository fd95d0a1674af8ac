"""Matches of parts, and the F1 score of two sets of parts."""

from collections import Counter
from collections.abc import Hashable, Iterable


def f1(matched: float, num_a: int, num_b: int) -> float:
    """2 matched / (a + b): the harmonic mean of precision and recall; 1 for two empty sets."""
    return 2.0 * matched / (num_a + num_b) if num_a + num_b else 1.0


def multiset_f1(a: Iterable[Hashable], b: Iterable[Hashable]) -> float:
    """F1 of two multisets of parts that are equal or not."""
    first, second = Counter(a), Counter(b)
    return f1((first & second).total(), first.total(), second.total())
