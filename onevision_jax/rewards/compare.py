"""Whether an answer has the value of the gold: exact, with one documented tolerance.

The tolerance: where the gold is printed with two decimal places or more (3.14, 6.02e23), an answer
that rounds to it at its last printed place is equal, a tie included. Fewer places (0.5, 12.6) and
exact golds (1/3, 2\\sqrt{3}, 45) take no approximation. Nothing is worth part of a point.

Units: missing on one side fits; on both sides they must measure the same and are converted.
Percent: 50% is 0.5, and also 50 where the gold carries a percent sign or is a bare number of at
least 1. Order: (a, b) and [a, b] are ordered, {a, b} and "a and b" are not; bare commas are ordered
only when the gold does not ascend.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from onevision_jax.rewards import exact
from onevision_jax.rewards.exact import Value
from onevision_jax.rewards.forms import (
    Chain,
    Equation,
    Form,
    Infinite,
    Matrix,
    Moment,
    Quantity,
    Ratio,
    Sequence,
)
from onevision_jax.rewards.numeric import Undefined, equal, evaluate, from_fraction
from onevision_jax.rewards.units import Unit, compatible


def same(gold: Form, answer: Form) -> bool:
    """Whether a careful person would call the answer the gold."""
    if isinstance(gold, Chain):
        gold = gold.parts[0]
    if isinstance(answer, Chain):
        return consistent(answer) and any(same(gold, part) for part in answer.parts[:1])
    if isinstance(gold, Equation) or isinstance(answer, Equation):
        return same_equation(gold, answer)
    if isinstance(gold, Ratio) or isinstance(answer, Ratio):
        return same_ratio(gold, answer)
    if isinstance(gold, Moment) or isinstance(answer, Moment):
        return same_moment(gold, answer)
    if isinstance(gold, Quantity) and isinstance(answer, Quantity):
        return same_quantity(gold, answer)
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return same_matrix(gold, answer)
    if isinstance(gold, Sequence) and isinstance(answer, Sequence):
        return same_sequence(gold, answer)
    if isinstance(gold, Sequence) and gold.brackets == "{}" and len(gold.items) == 1:
        return same(gold.items[0], answer)
    if isinstance(answer, Sequence) and answer.brackets == "{}" and len(answer.items) == 1:
        return same(gold, answer.items[0])
    return isinstance(gold, Infinite) and gold == answer


def consistent(chain: Chain) -> bool:
    """Whether every later part is the first part, exactly or rounded as printed."""
    first = chain.parts[0]
    return all(
        same(first, part)
        or (
            isinstance(first, Quantity)
            and isinstance(part, Quantity)
            and part.step > 0
            and within(part, first.value, factor_between(part.unit, first.unit))
        )
        for part in chain.parts[1:]
    )


def same_quantity(gold: Quantity, answer: Quantity) -> bool:
    """Equal numbers with units that fit."""
    if gold.factors and answer.factors and gold.factors != answer.factors:
        return False  # 2 x 8 is not the 4 x 4 that was asked for, though both are 16
    if is_percent(gold) or is_percent(answer):
        return same_percent(gold, answer)
    if not compatible(gold.unit, answer.unit):
        return same_angle(gold, answer)
    return same_value(gold, answer.value, factor_between(gold.unit, answer.unit)) or same_angle(
        gold, answer
    )


def is_percent(quantity: Quantity) -> bool:
    """Whether a percent sign stands behind the number."""
    return quantity.unit is not None and quantity.unit.is_percent


def same_percent(gold: Quantity, answer: Quantity) -> bool:
    """Percent against percent, a fraction or a bare number."""
    if is_percent(gold) and is_percent(answer):
        return same_value(gold, answer.value)
    hundredth = Fraction(1, 100)
    if is_percent(gold):
        if answer.unit is not None:
            return False
        return same_value(gold, answer.value) or same_value(gold, answer.value, Fraction(100))
    if gold.unit is not None:
        return False
    number = gold.value.rational()
    as_number = number is not None and abs(number) >= 1 and same_value(gold, answer.value)
    return as_number or same_value(gold, answer.value, hundredth)


def factor_between(gold: Unit | None, answer: Unit | None) -> Fraction:
    """What an answer is multiplied by to be in the gold's unit."""
    if gold is None or answer is None or not gold.dimensions or not answer.dimensions:
        return Fraction(1)
    return answer.factor / gold.factor


def same_value(gold: Quantity, answer: Value, factor: Fraction = Fraction(1)) -> bool:
    """Equal exactly, or at the gold's printed place where the tolerance allows it."""
    if factor != 1:
        answer = answer * exact.constant(factor)
    if equal(gold.value, answer):
        return True
    return gold.places >= 2 and within(gold, answer, Fraction(1))


def within(printed: Quantity, value: Value, factor: Fraction) -> bool:
    """Whether a value rounds to a printed decimal; value times factor is in its unit."""
    value = value * exact.constant(factor)
    number, printed_number = value.rational(), printed.value.rational()
    if printed_number is None:
        return False
    if number is not None:
        return abs(number - printed_number) <= printed.step / 2
    try:
        difference = evaluate(value - printed.value)
    except Undefined:
        return False
    return abs(difference) <= from_fraction(printed.step / 2) * (1 + Decimal("1e-40"))


def same_angle(gold: Quantity, answer: Quantity) -> bool:
    """60° against pi/3: degrees on one side, no unit and a pi on the other."""
    for degrees, radians in ((gold, answer), (answer, gold)):
        if degrees.unit is not None and degrees.unit.is_degrees and in_radians(radians):
            turned = degrees.value * exact.of_atom(exact.PI) / exact.constant(180)
            return equal(turned, radians.value)
    return False


def in_radians(quantity: Quantity) -> bool:
    """A multiple of pi without a unit, or in radians."""
    bare = quantity.unit is None or quantity.unit.label in ("rad", "radian", "radians")
    return bare and exact.PI in set(quantity.value.atoms())


def same_ratio(gold: Form, answer: Form) -> bool:
    """Equal up to scale; a : b is also the number a / b, and the time of day a:b only as number."""
    left, right = ratio_parts(gold), ratio_parts(answer)
    if left is None or right is None or len(left) != len(right):
        return False
    pairs = list(zip(left, right, strict=True))
    return all(
        equal(a * other_b, other_a * b) for a, b in pairs for other_a, other_b in pairs[:1]
    ) and not all(value.is_zero() for value in (*left, *right))


def ratio_parts(shape: Form) -> tuple[Value, ...] | None:
    """The terms of what can be read as a ratio."""
    if isinstance(shape, Ratio):
        return shape.parts
    if isinstance(shape, Quantity) and shape.unit is None:
        return (shape.value, exact.constant(1))
    # 10:30 can be a ratio; nobody writes one as 12:01.
    if (
        isinstance(shape, Moment)
        and not shape.meridiem
        and shape.kind == "clock"
        and shape.parts[1] > 9
    ):
        return tuple(exact.constant(part) for part in shape.parts)
    return None


def same_moment(gold: Form, answer: Form) -> bool:
    """The same date (a missing year fits) or time of day."""
    if isinstance(gold, Moment) and isinstance(answer, Moment):
        if gold.kind != answer.kind:
            return False
        if gold.kind == "clock":
            return same_clock(gold, answer)
        length = min(len(gold.parts), len(answer.parts))
        return len(answer.parts) <= 3 and gold.parts[:length] == answer.parts[:length]
    return same_ratio(gold, answer) if not isinstance(gold, Matrix | Sequence) else False


def same_clock(gold: Moment, answer: Moment) -> bool:
    """3:55 pm is 15:55, and also 3:55 where that does not say which half of the day."""
    if gold.parts == answer.parts or gold.meridiem == answer.meridiem:
        return gold.parts == answer.parts
    bare = answer if gold.meridiem else gold
    (hour, minute), (other_hour, other_minute) = gold.parts, answer.parts
    return bare.parts[0] <= 12 and hour % 12 == other_hour % 12 and minute == other_minute


def same_matrix(gold: Form, answer: Form) -> bool:
    """Entry by entry; a single row or column is also the tuple of its entries."""
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        return len(gold.rows) == len(answer.rows) and all(
            same_items(left, right) for left, right in zip(gold.rows, answer.rows, strict=True)
        )
    left, right = vector(gold), vector(answer)
    return left is not None and right is not None and same_items(left, right)


def vector(shape: Form) -> tuple[Form, ...] | None:
    """The entries of a row, a column or a tuple."""
    if isinstance(shape, Matrix) and 1 in (len(shape.rows), len(shape.rows[0])):
        return tuple(entry for row in shape.rows for entry in row)
    if isinstance(shape, Sequence) and shape.brackets in ("()", "[]"):
        return shape.items
    return None


def same_items(left: tuple[Form, ...], right: tuple[Form, ...]) -> bool:
    """Equal one by one."""
    return len(left) == len(right) and all(map(same, left, right))


def same_sequence(gold: Sequence, answer: Sequence) -> bool:
    """Sets against sets, ordered against ordered of the same brackets; bare commas fit either."""
    pair = {gold.brackets, answer.brackets}
    unordered = "{}" in pair or (pair == {""} and ascending(gold.items))
    if unordered and len(names_of(gold)) > 1 and not names_of(answer):
        unordered = False  # 1, 2 answers x = 1, y = 2, and 2, 1 does not
    if unordered:
        return pair <= {"{}", ""} and same_set(gold.items, answer.items)
    return (len(pair) == 1 or "" in pair) and same_items(gold.items, answer.items)


def names_of(sequence: Sequence) -> set[str]:
    """The names that items of the form `x = 1` assign to."""
    return {item.name for item in sequence.items if isinstance(item, Equation) and item.name}


def same_set(gold: tuple[Form, ...], answer: tuple[Form, ...]) -> bool:
    """Each item of either has its like in the other; repeats do not count."""
    return all(any(same(g, a) for a in answer) for g in gold) and all(
        any(same(g, a) for g in gold) for a in answer
    )


def ascending(items: tuple[Form, ...]) -> bool:
    """Whether a list is written as one writes a set: smallest first, or in no order of size."""
    numbers = []
    for item in items:
        if not isinstance(item, Quantity):
            return True
        try:
            numbers.append(evaluate(item.value))
        except Undefined:
            return True
    return numbers == sorted(numbers)


def same_equation(gold: Form, answer: Form) -> bool:
    """Equations that say the same; a value alone answers `x = value`."""
    if isinstance(gold, Equation) and isinstance(answer, Equation):
        if gold.name and gold.name == answer.name:
            return same(gold.right, answer.right)
        if gold.left is None or answer.left is None:
            return bool(gold.name and answer.name) and spelled_out(gold, answer)
        return same_relation(gold, answer)
    if isinstance(gold, Equation):
        return bool(gold.name) and same(gold.right, answer)
    return isinstance(answer, Equation) and bool(answer.name) and same(gold, answer.right)


def spelled_out(gold: Equation, answer: Equation) -> bool:
    """`x = 5` against `the value of x = 5`: one name contains the other as a word."""
    words = set(answer.name.split()), set(gold.name.split())
    return bool(words[0] & words[1]) and same(gold.right, answer.right)


def same_relation(gold: Equation, answer: Equation) -> bool:
    """Whether left - right of the one is a constant times that of the other."""
    if not isinstance(gold.right, Quantity) or not isinstance(answer.right, Quantity):
        return False
    assert gold.left is not None
    assert answer.left is not None
    first, second = gold.left - gold.right.value, answer.left - answer.right.value
    if proportional(first.numerator, second.numerator):
        return True
    straight = equal(gold.left, answer.left) and equal(gold.right.value, answer.right.value)
    return straight or (
        equal(gold.left, answer.right.value) and equal(gold.right.value, answer.left)
    )


def proportional(left: exact.Poly, right: exact.Poly) -> bool:
    """Whether one polynomial is a constant times the other."""
    if not left or left.keys() != right.keys():
        return not left and not right
    ratios = {left[monomial] / right[monomial] for monomial in left}
    return len(ratios) == 1
