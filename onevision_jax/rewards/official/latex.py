r"""The number that `eval(str(latex2sympy(text)))` gives, without sympy and without running text.

MATH-V's grader reads answers with latex2sympy2 1.9.1 (grammar PS.g4 of OrangeX4/latex2sympy) and
runs what comes out as Python, with the names of `math` in scope. This reader follows that grammar
and does the arithmetic itself, in Python's ints and floats as the original does:

    relation := sum (("<" | "<=" ...) sum)*
    sum      := product (("+" | "-") product)*
    product  := unary (("*" | "/" | ":") unary)*
    unary    := sign* postfix+                     `1/2\pi` is 1/(2 pi), `2\frac{1}{3}` is 2 * 1/3
    postfix  := primary ("^" (atom | "{" sum "}"))* "!"*                   `2^3^2` is (2^3)^2
    primary  := number | group | \frac | \binom | \sqrt | function | e^x | \pi | floor

What the original misreads is misread here too: it stops at a token that cannot follow and keeps
what it has (`5)`, `5.`, `5triangles` are 5, because `tr` is a token of its own), and "1,000" is one
number. Whatever ends in an error there has no value here: names, |x|, `\ln` (it asks for a name E
that `math` lacks), equations, lists, matrices, units. Three things that ended in a value are left
out: determinants, gcd and lcm, and substitution bars. Names are an error even where they might have
had one (`x=5`, `\tau`): the original forgets its table of names at the first differential it reads,
such as the `da` of "sunday", and a run over the benchmark meets one early.

Length, nesting and the size of numbers are bounded; time is linear in the tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

MAX_CHARS = 2000
MAX_TOKENS = 600
MAX_DEPTH = 40  # the original's parser meets Python's recursion limit near here
MAX_BITS = 1 << 16
MAX_FACTORIAL = 2000

Number = int | float


class NoValue(ValueError):
    """Text for which the original ends in an error, or that is beyond the limits."""


NAMES = [
    "matrix", "pmatrix", "bmatrix", "vmatrix", "arsinh", "arcsinh", "arcosh", "arccosh", "artanh",
    "arctanh", "gcd", "lcm", "floor", "ceil", "eye", "zeros", "ones", "cols", "rows", "diag",
    "norm", "rank", "trace", "tr", "rref", "hstack", "vstack", "orth", "ortho", "orthogonal",
    "orthogonalize", "nullspace", "eig", "eigen", "diagonalize", "eigenvals", "eigenvalues",
    "eigenvects", "eigenvectors", "svd",
]  # fmt: skip
ENDS = [
    r"\end{matrix}", r"\end{pmatrix}", r"\end{bmatrix}", r"\end{vmatrix}", r"\}", r"\rgroup",
    r"\rbrace", r"\rbrack", r"\rfloor", r"\lrcorner", r"\rceil", r"\urcorner", r"\right",
    r"\mright", r"\to", r"\rightarrow", r"\longrightarrow", r"\xrightarrow", r"\leftrightarrow",
    r"\choose", r"\rvert", r")", r"}", r"]", r".", r"&", r"\\", r"_", r"<->", r"<=>",
]  # fmt: skip
STOPS = frozenset([*NAMES, *ENDS])
TIMES = frozenset(["*", r"\times", r"\cdot"])
OVER = frozenset(["/", r"\over", r"\div", ":"])
CLOSERS = {
    "(": ")", "[": "]", "{": "}", r"\{": r"\}", r"\lgroup": r"\rgroup", r"\lbrace": r"\rbrace",
    r"\lbrack": r"\rbrack",
}  # fmt: skip
FLOORS = {r"\lfloor": r"\rfloor", r"\llcorner": r"\lrcorner"}
SIDES = {r"\left": r"\right", r"\mleft": r"\mright"}
COMPARE: dict[str, Callable[[Number, Number], bool]] = {
    "<": lambda a, b: a < b, r"\le": lambda a, b: a <= b, r"\leq": lambda a, b: a <= b,
    r"\leqslant": lambda a, b: a <= b, ">": lambda a, b: a > b, r"\ge": lambda a, b: a >= b,
    r"\geq": lambda a, b: a >= b, r"\geqslant": lambda a, b: a >= b,
}  # fmt: skip
OTHER_RELATIONS = frozenset(["=", "==", r"\equiv", "!=", "!==", r"\ne", r"\neq", r"\in"])
TRIGONOMETRIC: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    r"\sin": (math.sin, math.asin), r"\cos": (math.cos, math.acos),
    r"\tan": (math.tan, math.atan), r"\sinh": (math.sinh, math.asinh),
    r"\cosh": (math.cosh, math.acosh), r"\tanh": (math.tanh, math.atanh),
}  # fmt: skip
FUNCTIONS: dict[str, Callable[[float], Number]] = {
    r"\arcsin": math.asin, r"\arccos": math.acos, r"\arctan": math.atan, r"\arsinh": math.asinh,
    r"\arcosh": math.acosh, r"\artanh": math.atanh, r"\arcsinh": math.asinh,
    r"\arccosh": math.acosh, r"\arctanh": math.atanh, r"\exp": math.exp, r"\floor": math.floor,
    r"\operatorname{floor}": math.floor,
}  # fmt: skip
CALLS = frozenset([*TRIGONOMETRIC, *FUNCTIONS, r"\log"])
BINOMIALS = frozenset([r"\binom", r"\tbinom", r"\dbinom"])
# Tokens that lead to an error wherever they stand, listed because they begin like another one.
ERRORS = [
    r"\infty", r"\int", r"\overline", r"\overrightarrow", r"\not\equiv", r"\lim", r"\leftarrow",
    r"\det",
]  # fmt: skip
LITERALS = sorted(
    {
        *STOPS, *TIMES, *OVER, *CLOSERS, *FLOORS, *SIDES, *COMPARE, *OTHER_RELATIONS, *CALLS,
        *BINOMIALS, *ERRORS, "+", "-", "^", "!", "'", ",", ";", "e",
        r"\frac", r"\sqrt", r"\pi",
    },
    key=len,
    reverse=True,
)  # fmt: skip
TOKEN = re.compile(
    r"[ \t\r\n]*(?:(?P<number>(?:[0-9]*(?:,[0-9]{3})*\.[0-9]+|[0-9]+(?:,[0-9]{3})*)(?:\\%)?)"
    rf"|(?P<sign>{'|'.join(map(re.escape, LITERALS))})|(?P<other>.))",
    re.S,
)
PERMUTATION = re.compile(r"\(([a-z0-9+\-*/\\ ]+?)\)_\{([a-z0-9+\-*/\\ ]+?)\}")
BLANKS = re.compile(r"\\displaystyle|\\q?quad|~|\\,|\$")


def value_of(text: str) -> Number:
    """The value of a lower-case text; raises NoValue."""
    if len(text) > MAX_CHARS:
        raise NoValue(f"{len(text)} characters are beyond the limit of {MAX_CHARS}")
    text = text.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    text = PERMUTATION.sub(r"\\frac{(\1)!}{((\1)-(\2))!}", text)
    reader = Reader(BLANKS.sub(" ", text))
    try:
        return reader.relation()
    except (ArithmeticError, TypeError, ValueError) as error:
        raise NoValue(str(error)) from None


class Reader:
    """A cursor over the tokens; nothing behind the token it stops at is looked at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.kind = self.token = ""
        self.tokens = 0
        self.advance()

    def advance(self) -> str:
        """Moves on by a token and returns the one left behind; "" is the end."""
        left = self.token
        self.tokens += 1
        if self.tokens > MAX_TOKENS:
            raise NoValue(f"more than {MAX_TOKENS} tokens")
        match = TOKEN.match(self.text, self.at)
        if match is None or not (match.lastgroup and match[match.lastgroup].strip(" \t\r\n")):
            self.kind = self.token = ""
            return left
        self.kind, self.token, self.at = match.lastgroup, match[match.lastgroup], match.end()
        return left

    def expect(self, token: str) -> None:
        if self.token != token:
            raise NoValue(f"expected {token!r}, found {self.token or 'the end'!r}")
        self.advance()

    def relation(self) -> Number:
        value = self.sum()
        while self.token in COMPARE:
            compare = COMPARE[self.advance()]
            value = int(compare(value, self.sum()))
        if self.token in OTHER_RELATIONS:
            raise NoValue("an equation has no value")
        if self.token in (",", ";"):
            raise NoValue("a list has no value")
        return value

    def sum(self) -> Number:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NoValue(f"nested deeper than {MAX_DEPTH}")
        value = self.product()
        while self.token in ("+", "-"):
            sign = self.advance()
            term = self.product()
            value = small(value + term if sign == "+" else value - term)
        self.depth -= 1
        return value

    def product(self, calls: bool = True) -> Number:
        """With `calls` off a function after the first factor ends it, as in `\\sin 2\\cos 3`."""
        value = self.unary(calls)
        while self.token in TIMES or self.token in OVER:
            sign = self.advance()
            factor = self.unary(calls)
            value = small(value * factor) if sign in TIMES else value / factor
        return value

    def unary(self, calls: bool) -> Number:
        sign = 1
        while self.token in ("+", "-"):
            sign = -sign if self.advance() == "-" else sign
        value = self.postfix()
        while self.begins(calls):
            value = small(value * self.postfix())
        return sign * value

    def begins(self, calls: bool) -> bool:
        """Whether a factor follows; NoValue where one follows that has none."""
        token = self.token
        if self.kind == "number" or token in CLOSERS or token in FLOORS or token in SIDES:
            return True
        if token in (r"\frac", r"\pi") or token in BINOMIALS:
            return True
        if token in CALLS or token in (r"\sqrt", "e"):
            return calls
        if self.kind == "other" or token in ERRORS:
            raise NoValue(f"{token!r} has no value")
        return False

    def postfix(self) -> Number:
        value = self.primary()
        while self.token == "^":
            self.advance()
            value = power(value, self.exponent())
        while self.token in ("!", "'"):
            if self.advance() == "!":
                value = factorial(value)
        return value

    def exponent(self) -> Number:
        if self.token == "{":
            return self.group()
        if self.kind != "number" and self.token != r"\pi":
            raise NoValue(f"{self.token or 'the end'!r} is no exponent")
        return self.primary()

    def primary(self) -> Number:
        token = self.token
        if self.kind == "number":
            return number(self.advance())
        if token in CLOSERS or token in SIDES or token in FLOORS:
            return self.group()
        if token in CALLS:
            return self.call()
        if token not in (r"\frac", r"\sqrt", r"\pi", "e") and token not in BINOMIALS:
            raise NoValue(f"{token or 'the end'!r} has no value")
        self.advance()
        if token == r"\frac":
            top = self.braced()
            return top / self.braced()
        if token in BINOMIALS:
            top = self.braced()
            return binomial(top, self.braced())
        if token == r"\sqrt":
            return self.root()
        if token == "e":
            return self.exponential()
        return math.pi

    def group(self) -> Number:
        side = SIDES[self.advance()] if self.token in SIDES else ""
        opener = self.advance()
        if opener not in CLOSERS and opener not in FLOORS:
            raise NoValue(f"{opener!r} opens no group")
        value = self.sum()
        if opener == "{" and self.token == r"\choose":
            self.advance()
            value = binomial(value, self.sum())
        if side:
            self.expect(side)
        self.expect(CLOSERS.get(opener) or FLOORS[opener])
        return math.floor(value) if opener in FLOORS else value

    def braced(self) -> Number:
        self.expect("{")
        value = self.sum()
        self.expect("}")
        return value

    def root(self) -> Number:
        if self.token != "[":
            return math.sqrt(self.braced())
        self.advance()
        degree = self.sum()
        self.expect("]")
        return power(self.braced(), 1 / degree)

    def exponential(self) -> Number:
        """e^x; e alone, and e^1, print as the name E."""
        if self.token != "^":
            raise NoValue("e alone has no value")
        self.advance()
        exponent = self.exponent()
        if exponent == 1:
            raise NoValue("e alone has no value")
        return math.exp(exponent)

    def call(self) -> Number:
        """A function with its base, its power and its argument."""
        name = self.advance()
        base: Number = 10
        raised: Number | None = None
        seen = set()
        while self.token in ("_", "^") and self.token not in seen:
            seen.add(self.token)
            if self.advance() == "_":
                base = self.exponent()
            else:
                raised = self.exponent()
        if self.token == "(" or self.token in SIDES:
            argument = self.group()
        else:
            argument = self.product(calls=False)
        if name in TRIGONOMETRIC and raised == -1:
            return TRIGONOMETRIC[name][1](argument)
        if name == r"\log":
            value: Number = math.log(argument, base)
        else:
            value = (TRIGONOMETRIC[name][0] if name in TRIGONOMETRIC else FUNCTIONS[name])(argument)
        return power(value, raised) if raised else value


def small(value: Number) -> Number:
    """The value, or NoValue where an integer outgrows the limit."""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise NoValue(f"an integer beyond {MAX_BITS} bits")
    return value


def number(token: str) -> Number:
    """A decimal is a fraction in sympy, and a quotient of integers when it is printed."""
    digits = token.removesuffix(r"\%").replace(",", "")
    if len(digits) > 1000:
        raise NoValue("a number of more than 1000 digits")
    fraction = Fraction(digits if digits[0] != "." else f"0{digits}")
    if token.endswith(r"\%"):
        fraction /= 100
    return (
        fraction.numerator
        if fraction.denominator == 1
        else fraction.numerator / fraction.denominator
    )


def power(base: Number, exponent: Number) -> Number:
    """base ** exponent, its size checked first; NoValue where it is complex."""
    if isinstance(base, int) and isinstance(exponent, int):
        if abs(base) > 1 and base.bit_length() * abs(exponent) > MAX_BITS:
            raise NoValue("a power of this size is beyond the limits")
        if abs(base) <= 1 and abs(exponent) > 4:
            exponent = (4 + exponent % 2) * (1 if exponent > 0 else -1)
    value = base**exponent
    if isinstance(value, complex):
        raise NoValue("a complex number cannot be rounded")
    return value


def factorial(value: Number) -> int:
    """value!; a float that is whole will do, as it did in Python 3.8."""
    if value != int(value) or not 0 <= value <= MAX_FACTORIAL:
        raise NoValue("a factorial of no natural number, or of one too large")
    return math.factorial(int(value))


def binomial(top: Number, bottom: Number) -> int:
    """sympy evaluates it at once; only natural numbers are read here."""
    if not (isinstance(top, int) and isinstance(bottom, int) and 0 <= top <= MAX_FACTORIAL):
        raise NoValue("a binomial coefficient of other than natural numbers")
    return math.comb(top, bottom) if bottom >= 0 else 0
