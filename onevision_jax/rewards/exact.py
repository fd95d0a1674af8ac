"""Exact values: quotients of polynomials over the rationals in pi, square roots, names and calls.

An answer such as 2*sqrt(3)/pi becomes numerator and denominator, each a sum of rational
coefficients times powers of atoms. Square roots of integers are kept as products of square roots
of primes, which are linearly independent over the rationals; pi is transcendental and names are
free. Two values without calls are therefore equal exactly when cross-multiplying cancels every
term, and no rounding is involved. Calls (sin, log, a cube root ...) are opaque atoms; where they
occur, `numeric` decides to 50 digits.

Everything is bounded: a value that outgrows the limits below raises `TooBig` before the work is
done, so 10**10**10 costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

MAX_BITS = 4096  # of a coefficient's numerator or denominator: 3^1009 needs 1,600
MAX_TERMS = 128
MAX_WORK = 1 << 20  # of one product: pairs of terms times bits
MAX_ROOT = 10**10  # factoring above this would cost milliseconds


class Unreadable(ValueError):
    """Text that is no value of the kind asked for."""


class TooBig(Unreadable):
    """A value beyond the size limits: refused before it is computed."""


@dataclass(frozen=True, order=True)
class Atom:
    """One generator. `key` identifies it; `args` are what a call is applied to."""

    key: str
    kind: str = field(compare=False)  # pi, euler, imaginary, root, name, call
    args: tuple[Value, ...] = field(compare=False, default=())
    radicand: int = field(compare=False, default=0)


Monomial = tuple[tuple[Atom, int], ...]
Poly = dict[Monomial, Fraction]

PI = Atom("pi", "pi")
EULER = Atom("e", "euler")
IMAGINARY = Atom("i", "imaginary")


@dataclass(frozen=True)
class Value:
    """numerator / denominator, the denominator never empty."""

    numerator: Poly
    denominator: Poly

    def __add__(self, other: Value) -> Value:
        if self.denominator == other.denominator:
            return make(add(self.numerator, other.numerator), self.denominator)
        left = multiply(self.numerator, other.denominator)
        right = multiply(other.numerator, self.denominator)
        return make(add(left, right), multiply(self.denominator, other.denominator))

    def __neg__(self) -> Value:
        return Value({m: -c for m, c in self.numerator.items()}, self.denominator)

    def __sub__(self, other: Value) -> Value:
        return self + -other

    def __mul__(self, other: Value) -> Value:
        numerator = multiply(self.numerator, other.numerator)
        return make(numerator, multiply(self.denominator, other.denominator))

    def __truediv__(self, other: Value) -> Value:
        numerator = multiply(self.numerator, other.denominator)
        return make(numerator, multiply(self.denominator, other.numerator))

    def is_zero(self) -> bool:
        return not self.numerator

    def rational(self) -> Fraction | None:
        """The value as a fraction, or None if an atom is left."""
        if self.denominator.keys() == {()} and self.numerator.keys() <= {()}:
            return self.numerator.get((), Fraction(0)) / self.denominator[()]
        return None

    def atoms(self) -> Iterator[Atom]:
        """Every atom, those inside calls included."""
        for poly in (self.numerator, self.denominator):
            for monomial in poly:
                for atom, _ in monomial:
                    yield atom
                    for arg in atom.args:
                        yield from arg.atoms()

    def key(self) -> str:
        """Canonical text, equal for equal structures."""
        return f"({text_of(self.numerator)})/({text_of(self.denominator)})"


def text_of(poly: Poly) -> str:
    """Canonical text of a polynomial."""
    terms = (
        f"{coefficient}{''.join(f'*{atom.key}^{power}' for atom, power in monomial)}"
        for monomial, coefficient in poly.items()
    )
    return "+".join(sorted(terms))


def checked(coefficient: Fraction) -> Fraction:
    """The coefficient, or TooBig."""
    bits = max(coefficient.numerator.bit_length(), coefficient.denominator.bit_length())
    if bits > MAX_BITS:
        raise TooBig(f"a number of {bits} bits is beyond the grader's {MAX_BITS}")
    return coefficient


def add(left: Poly, right: Poly) -> Poly:
    """The sum of two polynomials."""
    total = dict(left)
    for monomial, coefficient in right.items():
        new = checked(total.get(monomial, Fraction(0)) + coefficient)
        if new:
            total[monomial] = new
        else:
            total.pop(monomial, None)
    if len(total) > MAX_TERMS:
        raise TooBig(f"an expression of {len(total)} terms is beyond the grader's {MAX_TERMS}")
    return total


def widest(poly: Poly) -> int:
    """Bits of the largest coefficient."""
    sizes = (c.numerator.bit_length() + c.denominator.bit_length() for c in poly.values())
    return max(sizes, default=1)


def multiply(left: Poly, right: Poly) -> Poly:
    """The product of two polynomials, its cost checked first."""
    if len(left) * len(right) * (widest(left) + widest(right) + 64) > MAX_WORK:
        raise TooBig("a product of this size is beyond the grader's limits")
    total: Poly = {}
    for left_monomial, left_coefficient in left.items():
        for right_monomial, right_coefficient in right.items():
            scale, monomial = join(left_monomial, right_monomial)
            total = add_term(total, monomial, checked(scale * left_coefficient * right_coefficient))
    if len(total) > MAX_TERMS:
        raise TooBig(f"an expression of {len(total)} terms is beyond the grader's {MAX_TERMS}")
    return total


def add_term(total: Poly, monomial: Monomial, coefficient: Fraction) -> Poly:
    """Adds in place and returns the same dictionary; a term that cancels is removed."""
    new = total.get(monomial, Fraction(0)) + coefficient
    if new:
        total[monomial] = new
    else:
        total.pop(monomial, None)
    return total


def join(left: Monomial, right: Monomial) -> tuple[Fraction, Monomial]:
    """The product of two monomials: a rational factor (sqrt(3)^2 = 3, i^2 = -1) and the rest."""
    if not left or not right:
        return Fraction(1), left or right
    powers = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, 0) + power
    scale = Fraction(1)
    for atom, power in list(powers.items()):
        if atom.kind == "root" and power > 1:
            scale *= atom.radicand ** (power // 2)
            powers[atom] = power % 2
        elif atom.kind == "imaginary" and power > 1:
            scale *= (-1) ** (power // 2)
            powers[atom] = power % 2
    return scale, tuple(sorted((atom, power) for atom, power in powers.items() if power))


def make(numerator: Poly, denominator: Poly) -> Value:
    """A value with constant and single-term denominators folded as far as is cheap."""
    if not denominator:
        raise Unreadable("division by zero")
    if len(denominator) == 1:
        (monomial, coefficient), *_ = denominator.items()
        roots = tuple((atom, 1) for atom, _ in monomial if atom.kind in ("root", "imaginary"))
        if roots:  # a / sqrt(3) becomes a sqrt(3) / 3
            lift = {roots: Fraction(1)}
            return make(multiply(numerator, lift), multiply(denominator, lift))
        if coefficient != 1:
            numerator = {m: checked(c / coefficient) for m, c in numerator.items()}
            denominator = {monomial: Fraction(1)}
    return Value(numerator, denominator)


def constant(number: Fraction | int) -> Value:
    """A rational number as a value."""
    number = checked(Fraction(number))
    return Value({(): number} if number else {}, {(): Fraction(1)})


def of_atom(atom: Atom) -> Value:
    """One generator as a value."""
    return Value({((atom, 1),): Fraction(1)}, {(): Fraction(1)})


def named(name: str) -> Value:
    """A variable as a value."""
    return of_atom(Atom(name, "name"))


def call(function: str, *args: Value) -> Value:
    """An opaque call; equal calls have equal keys."""
    key = f"{function}[{';'.join(arg.key() for arg in args)}]"
    if len(key) > 4 * MAX_BITS:
        raise TooBig("calls nested this deep are beyond the grader's limits")
    return of_atom(Atom(key, "call", args))


def power(base: Value, exponent: Value) -> Value:
    """base ** exponent: exact for integer and square-root exponents, an opaque call otherwise."""
    number = exponent.rational()
    if number is None:
        return call("pow", base, exponent)
    if number.denominator == 2 and abs(number.numerator) < 64:
        return power(square_root(base), constant(number.numerator))
    if number.denominator != 1:
        return call("pow", base, exponent)
    return integer_power(base, number.numerator)


def integer_power(base: Value, exponent: int) -> Value:
    """base ** exponent by squaring, its size checked first."""
    if exponent < 0:
        return constant(1) / integer_power(base, -exponent)
    rational = base.rational()
    if rational is not None:
        bits = max(rational.numerator.bit_length(), rational.denominator.bit_length(), 1)
        if rational not in (0, 1, -1) and (bits - 1 or 1) * exponent > MAX_BITS:
            raise TooBig("a power of this size is beyond the grader's limits")
        return constant(rational ** (exponent if rational not in (0, 1, -1) else _parity(exponent)))
    if exponent > (64 if max(len(base.numerator), len(base.denominator)) > 1 else 10**6):
        raise TooBig("a power of this size is beyond the grader's limits")
    result = constant(1)
    for bit in bin(exponent)[2:]:
        result = result * result
        if bit == "1":
            result = result * base
    return result


def _parity(exponent: int) -> int:
    """0, 1 or 2: a stand-in exponent that gives the same power of 0, 1 and -1."""
    return exponent if exponent < 2 else 2 - exponent % 2


def square_root(value: Value) -> Value:
    """Exact for rationals up to the factoring limit, an opaque call otherwise."""
    number = value.rational()
    if number is None:
        return call("root", value, constant(2))
    if number < 0:
        return of_atom(IMAGINARY) * square_root(constant(-number))
    inside = number.numerator * number.denominator  # sqrt(a/b) = sqrt(ab)/b
    if inside > MAX_ROOT:
        return call("root", value, constant(2))
    outside, primes = split_square(inside)
    monomial = tuple(sorted((Atom(f"root{p:012d}", "root", (), p), 1) for p in primes))
    scale = Fraction(outside, number.denominator)
    return Value({monomial: scale} if scale else {}, {(): Fraction(1)})


def split_square(number: int) -> tuple[int, list[int]]:
    """number = outside^2 * product of distinct primes; 0 gives (0, [])."""
    if number == 0:
        return 0, []
    outside, primes, factor = 1, [], 2
    while factor * factor <= number:
        count = 0
        while number % factor == 0:
            number //= factor
            count += 1
        outside *= factor ** (count // 2)
        if count % 2:
            primes.append(factor)
        factor += 1 if factor == 2 else 2
    return outside, primes + [number] * (number > 1)


def nth_root(value: Value, degree: int) -> Value:
    """Exact for square roots and perfect powers, an opaque call otherwise."""
    if degree == 2:
        return square_root(value)
    number = value.rational()
    if number is not None and 2 < degree <= 64:
        sign = -1 if number < 0 and degree % 2 else 1
        top, bottom = (
            _integer_root(abs(n), degree) for n in (number.numerator, number.denominator)
        )
        if Fraction(top, bottom) ** degree * sign == number:
            return constant(Fraction(sign * top, bottom))
    return call("root", value, constant(degree))


def _integer_root(number: int, degree: int) -> int:
    """The largest integer whose power is at most number, by bisection."""
    low, high = 0, 1 << (number.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= number else (low, middle - 1)
    return max(low, 1) if number else 0


def identical(left: Value, right: Value) -> bool:
    """Whether cross-multiplying cancels: a proof of equality, of inequality only without calls."""
    return (left - right).is_zero()


def has_calls(value: Value) -> bool:
    """Whether equality needs digits."""
    return any(atom.kind == "call" for atom in value.atoms())


def names_in(value: Value) -> set[str]:
    """The variables of a value."""
    return {atom.key for atom in value.atoms() if atom.kind == "name"}
