"""Questions about named numbers, for charts and tables: the arithmetic, step by step.

`items` are (name, value) pairs in the order in which the formal text lists them.
"""

import random
from fractions import Fraction

from onevision_jax.data.synthetic.example import format_fraction

Items = list[tuple[str, int]]


def list_items(items: Items) -> str:
    """`K 4, M 7.`: what was read."""
    return ", ".join(f"{name} {value}" for name, value in items) + "."


def sign(left: int, right: int) -> str:
    """`<`, `=` or `>`."""
    return "<" if left < right else ">" if left > right else "="


def add_up(values: list[int]) -> tuple[str, int]:
    """`4 + 7 = 11. 11 + 2 = 13.` and 13."""
    total, steps = values[0], []
    for value in values[1:]:
        steps.append(f"{total} + {value} = {total + value}.")
        total += value
    return " ".join(steps), total


def subtract(items: Items, first: str, second: str) -> tuple[str, int]:
    """How much more the first is than the second."""
    values = dict(items)
    a, b = values[first], values[second]
    return f"{first} {a}. {second} {b}. {a} - {b} = {a - b}.", a - b


def find_extreme(items: Items, largest: bool) -> tuple[str, str]:
    """Goes through the items keeping the best so far; the best must be unique."""
    best, best_value = items[0]
    steps = [f"{best} {best_value}: {best}."]
    for name, value in items[1:]:
        steps.append(f"{name} {value} {sign(value, best_value)} {best_value}:")
        if value > best_value if largest else value < best_value:
            best, best_value = name, value
        steps[-1] += f" {best}."
    assert [value for _, value in items].count(best_value) == 1
    return " ".join(steps), best


def has_extreme(items: Items, largest: bool) -> bool:
    """Whether the largest (smallest) value occurs once."""
    values = [value for _, value in items]
    return values.count(max(values) if largest else min(values)) == 1


def count_above(items: Items, threshold: int) -> tuple[str, int]:
    """Counts the values over the threshold item by item."""
    steps, count = [], 0
    for name, value in items:
        above = value > threshold
        count += above
        word = "yes" if above else "no"
        steps.append(f"{name} {value} {sign(value, threshold)} {threshold} {word}, {count}.")
    return " ".join(steps), count


def average(items: Items) -> tuple[str, Fraction]:
    """The sum, then divided by how many there are, in lowest terms."""
    steps, total = add_up([value for _, value in items])
    mean = Fraction(total, len(items))
    return f"{steps} {total} / {len(items)} = {format_fraction(mean)}.", mean


def choose_threshold(rng: random.Random, items: Items, unit: int) -> int:
    """A threshold for `count_above`, such that every count is about equally frequent."""
    ordered = sorted({value for _, value in items})
    return rng.choice([ordered[0] - unit, *ordered])
