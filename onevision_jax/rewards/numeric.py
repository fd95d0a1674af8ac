"""Fifty-digit values of exact expressions, for what the exact ring leaves undecided.

`decimal` gives roots, exponentials and logarithms; sine and arc tangent are summed here. Arguments
are bounded, so a hostile expression costs no more than an honest one.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal, DecimalException, localcontext
from fractions import Fraction

from onevision_jax.rewards.exact import Atom, Poly, Value, has_calls, identical, names_in

DIGITS = 70  # carried; 50 are trusted
AGREE = Decimal("1e-50")
LARGEST_ARGUMENT = Decimal(10**6)
LARGEST_EXPONENT = Decimal(2000)
PI = Decimal(
    "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534"
)


class Undefined(ArithmeticError):
    """No real value, or none within the bounds."""


def evaluate(value: Value, names: Mapping[str, Decimal] | None = None) -> Decimal:
    """The value to 50 digits or more, names replaced; raises Undefined."""
    with localcontext(Context(prec=DIGITS)):
        try:
            return _value(value, names or {})
        except DecimalException as error:
            raise Undefined(str(error)) from error


def from_fraction(number: Fraction) -> Decimal:
    """A fraction in the context's precision."""
    return Decimal(number.numerator) / Decimal(number.denominator)


def _value(value: Value, names: Mapping[str, Decimal]) -> Decimal:
    denominator = _poly(value.denominator, names)
    if abs(denominator) < AGREE:
        raise Undefined("division by zero")
    return _poly(value.numerator, names) / denominator


def _poly(poly: Poly, names: Mapping[str, Decimal]) -> Decimal:
    total = Decimal(0)
    for monomial, coefficient in poly.items():
        term = from_fraction(coefficient)
        for atom, power in monomial:
            term *= _atom(atom, names) ** power
        total += term
    return total


def _atom(atom: Atom, names: Mapping[str, Decimal]) -> Decimal:
    if atom.kind == "pi":
        return PI
    if atom.kind == "euler":
        return Decimal(1).exp()
    if atom.kind == "root":
        return Decimal(atom.radicand).sqrt()
    if atom.kind == "name" and atom.key in names:
        return names[atom.key]
    if atom.kind == "call":
        return _call(atom.key.split("[", 1)[0], [_value(arg, names) for arg in atom.args])
    raise Undefined(f"{atom.key} has no real value")


def _call(function: str, args: list[Decimal]) -> Decimal:
    if any(abs(arg) > LARGEST_ARGUMENT for arg in args):
        raise Undefined("argument out of bounds")
    if function == "root":
        return _root(args[0], args[1])
    if function == "pow":
        return _pow(args[0], args[1])
    if function == "log":
        return _ln(args[0]) / _ln(args[1])
    return FUNCTIONS[function](args[0])


def _ln(x: Decimal) -> Decimal:
    if x <= 0:
        raise Undefined("logarithm of a number that is not positive")
    return x.ln()


def _exp(x: Decimal) -> Decimal:
    if abs(x) > LARGEST_EXPONENT:
        raise Undefined("exponent out of bounds")
    return x.exp()


def _pow(base: Decimal, exponent: Decimal) -> Decimal:
    if base > 0:
        return _exp(exponent * base.ln())
    if base < 0 and exponent == exponent.to_integral_value() and abs(exponent) < LARGEST_EXPONENT:
        return base ** int(exponent)
    raise Undefined("power of a number that is not positive")


def _root(x: Decimal, degree: Decimal) -> Decimal:
    if x == 0:
        return x
    if x > 0:
        return x.sqrt() if degree == 2 else _pow(x, 1 / degree)
    if degree % 2 == 1:
        return -_pow(-x, 1 / degree)
    raise Undefined("even root of a negative number")


def _sin(x: Decimal) -> Decimal:
    x = x % (2 * PI)
    term, total, n = x, x, 1
    while abs(term) > Decimal(10) ** -DIGITS:
        n += 2
        term = -term * x * x / (n * (n - 1))
        total += term
    return total


def _cos(x: Decimal) -> Decimal:
    return _sin(x + PI / 2)


def _quotient(top: Decimal, bottom: Decimal) -> Decimal:
    if abs(bottom) < AGREE:
        raise Undefined("division by zero")
    return top / bottom


def _arctan(x: Decimal) -> Decimal:
    for _ in range(4):  # atan x = 2 atan(x / (1 + sqrt(1 + x^2)))
        x = x / (1 + (1 + x * x).sqrt())
    power, total, n = x, x, 1
    while abs(power) > Decimal(10) ** -DIGITS:
        n += 2
        power = -power * x * x
        total += power / n
    return 16 * total


def _arcsin(x: Decimal) -> Decimal:
    if abs(x) > 1:
        raise Undefined("arc sine beyond 1")
    return PI / 2 * x if abs(x) == 1 else _arctan(x / (1 - x * x).sqrt())


FUNCTIONS = {
    "sin": _sin,
    "cos": _cos,
    "tan": lambda x: _quotient(_sin(x), _cos(x)),
    "cot": lambda x: _quotient(_cos(x), _sin(x)),
    "sec": lambda x: _quotient(Decimal(1), _cos(x)),
    "csc": lambda x: _quotient(Decimal(1), _sin(x)),
    "arcsin": _arcsin,
    "arccos": lambda x: PI / 2 - _arcsin(x),
    "arctan": _arctan,
    "ln": _ln,
    "exp": _exp,
    "abs": abs,
}

# Positive, so that sqrt(x^2) = x as in geometry; no simple relation holds between them.
POINTS = [
    [Decimal(n).sqrt() / scale for n in (7, 11, 13, 17, 19, 23, 29, 31, 37, 41)]
    for scale in (Decimal("9.1"), Decimal("5.3"), Decimal("2.7"), Decimal("1.3"))
]


def equal(left: Value, right: Value) -> bool:
    """Whether two values are the same: exact without calls, to 50 digits with them.

    With names in play, calls are compared at four points; three must be defined.
    """
    if identical(left, right):
        return True
    if not has_calls(left) and not has_calls(right):
        return False
    names = sorted(names_in(left) | names_in(right))
    if len(names) > len(POINTS[0]):
        return False
    points = [dict(zip(names, point, strict=False)) for point in POINTS[: 4 if names else 1]]
    outcomes = [outcome for p in points if (outcome := _agree(left, right, p)) is not None]
    return len(outcomes) >= (3 if names else 1) and all(outcomes)


def _agree(left: Value, right: Value, names: Mapping[str, Decimal]) -> bool | None:
    try:
        a, b = evaluate(left, names), evaluate(right, names)
    except Undefined:
        return None
    return abs(a - b) <= AGREE * max(1, abs(a), abs(b))
