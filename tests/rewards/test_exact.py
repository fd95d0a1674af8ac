"""The exact ring and the fifty-digit evaluation against sympy, on random expressions."""

import random
from decimal import Decimal

import pytest

from onevision_jax.rewards.exact import TooBig, Unreadable, constant, identical, power, square_root
from onevision_jax.rewards.forms import read
from onevision_jax.rewards.numeric import equal, evaluate
from onevision_jax.rewards.reader import parse

sympy = pytest.importorskip("sympy")


def draw(rng: random.Random, depth: int):
    """An expression as (our text, sympy object)."""
    if depth == 0:
        kind = rng.randrange(5)
        n = rng.randint(1, 12)
        if kind == 0:
            return r"\pi", sympy.pi
        if kind == 1:
            return rf"\sqrt{{{n}}}", sympy.sqrt(n)
        if kind == 2:
            return rf"\frac{{{n}}}{{7}}", sympy.Rational(n, 7)
        if kind == 3:
            return "x", sympy.Symbol("x", positive=True)
        return str(n), sympy.Integer(n)
    (a, left), (b, right) = draw(rng, depth - 1), draw(rng, depth - 1)
    sign = rng.randrange(5)
    if sign == 0:
        return f"({a}+{b})", left + right
    if sign == 1:
        return f"({a}-{b})", left - right
    if sign == 2:
        return rf"{a} \cdot {b}", left * right
    if sign == 3 and right != 0 and sympy.simplify(right) != 0:
        return rf"\frac{{{a}}}{{{b}}}", left / right
    return f"({a})^2", left**2


@pytest.mark.parametrize("seed", range(60))
def test_values_agree_with_sympy(seed):
    rng = random.Random(seed)
    try:
        text, expected = draw(rng, 3)
        value, end = parse(text, letters=True)
    except TooBig:
        pytest.skip("larger than the grader's limits")
    assert end == len(text)
    ours = evaluate(value, {"x": Decimal("1.375")})
    theirs = sympy.N(expected.subs(sympy.Symbol("x", positive=True), sympy.Rational(11, 8)), 45)
    assert abs(ours - Decimal(str(theirs))) <= Decimal("1e-38") * max(1, abs(ours))


@pytest.mark.parametrize("seed", range(30))
def test_expanding_does_not_change_the_value_and_adding_one_does(seed):
    rng = random.Random(1000 + seed)
    text, expected = draw(rng, 2)
    rewritten = sympy.latex(sympy.expand(expected)).replace(r"\left", "").replace(r"\right", "")
    value, _ = parse(text, letters=True)
    other, _ = parse(rewritten, letters=True)
    assert identical(value, other)
    assert equal(value, other)
    assert not equal(value, other + constant(1))


FUNCTIONS = ["sin", "cos", "tan", "cot", "sec", "csc", "ln", "exp", "arctan", "arcsin", "arccos"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_to_forty_digits(name):
    spellings = {"ln": "log", "arctan": "atan", "arcsin": "asin", "arccos": "acos"}
    theirs = spellings.get(name) or name
    for top, bottom in ((1, 3), (2, 7), (9, 10), (1, 1000)):
        value, _ = parse(f"{name}({top}/{bottom})", letters=False)
        expected = sympy.N(getattr(sympy, theirs)(sympy.Rational(top, bottom)), 60)
        ours = evaluate(value)
        assert abs(ours - Decimal(str(expected))) < Decimal("1e-45") * abs(ours)


@pytest.mark.parametrize(
    "text",
    ["10^{10^{10}}", "2^{5000}", "(x+y+z)^{60}", "500!", r"\binom{3000}{2}", "1e5000",
     "((1+2))" * 60, "(" * 30 + "1" + ")" * 30, "9" * 401],
)  # fmt: skip
def test_sizes_are_refused(text):
    with pytest.raises(TooBig):
        parse(text, letters=True)


@pytest.mark.parametrize("text", ["", "+", "1/", "1/0", r"\frac{1}", "(1", "x", r"\foo", "2^", "_"])
def test_what_is_no_number(text):
    with pytest.raises(Unreadable):
        read(text, letters=False)


def test_roots_and_powers_are_exact():
    assert identical(square_root(constant(12)), constant(2) * square_root(constant(3)))
    assert identical(power(constant(8), constant(1) / constant(3)), constant(2)) is False
    assert equal(power(constant(8), constant(1) / constant(3)), constant(2))
    near = constant(10**40 + 1) / constant(10**40)
    assert not equal(near, constant(1))
