"""Reads one mathematical expression, LaTeX or plain, into an exact value: never by eval.

    sum     := [sign] term (("+" | "-") term)*
    term    := factor (("*" | "/" | nothing) factor)*      `1/2x` is (1/2)x
    factor  := primary ("!" | "^" exponent | "°" inside a call)*
    primary := number | mixed | group | \\frac | \\sqrt | \\binom | function | pi | e | i | name

With `letters` off, names are not part of the grammar: reading stops there and what is left is the
unit. Length, tokens and nesting are bounded; a group that cannot be read after a complete term ends
the expression instead of being tried in other ways, so time is linear in the tokens.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from onevision_jax.rewards import exact
from onevision_jax.rewards.exact import TooBig, Unreadable, Value
from onevision_jax.rewards.numeric import Undefined, evaluate

MAX_CHARS = 400
MAX_TOKENS = 160
MAX_DEPTH = 24
MAX_DIGITS = 1200

TOKEN = re.compile(
    r"(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+(?![A-Za-z\d]))?)"
    r"|(?P<text>\\(?:text|mathrm|mbox|rm|operatorname|textrm)\s*\{[^{}]*\})"
    r"|(?P<command>\\[A-Za-z]+)|(?P<word>[A-Za-z]+)|(?P<sign>\*\*|\S)"
)
TIMES = {"*", r"\times", r"\cdot", r"\ast"}
DIVIDE = {"/", r"\div"}
CLOSERS = {"(": ")", "[": "]", "{": "}"}
INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
FUNCTIONS = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc",
    "arcsin": "arcsin", "arccos": "arccos", "arctan": "arctan", "ln": "ln", "exp": "exp",
    "abs": "abs",
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log", "log": "log",
}  # fmt: skip
DECORATIONS = {"vec", "overrightarrow", "overline", "hat", "bar", "widehat", "dot", "angle"}
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "iota",
    "kappa", "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi",
    "omega", "Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi", "Psi", "Omega", "ell", "hbar",
}  # fmt: skip


def parse(text: str, letters: bool) -> tuple[Value, int]:
    """The value at the start of a tidy text, and the index where its expression ends."""
    reader = Reader(text, letters)
    return reader.sum(), reader.offset()


class Reader:
    """A cursor over the tokens of one expression."""

    def __init__(self, text: str, letters: bool) -> None:
        if len(text) > MAX_CHARS:
            raise TooBig(f"{len(text)} characters are beyond the grader's {MAX_CHARS}")
        self.text = text
        self.letters = letters
        self.tokens = [(m.lastgroup or "", m[0], m.start()) for m in TOKEN.finditer(text)]
        if letters:
            self.tokens = [piece for token in self.tokens for piece in split_names(token, text)]
        if len(self.tokens) > MAX_TOKENS:
            raise TooBig(f"{len(self.tokens)} tokens are beyond the grader's {MAX_TOKENS}")
        self.at = 0
        self.depth = 0
        self.calls = 0

    def peek(self, ahead: int = 0) -> str:
        index = self.at + ahead
        return self.tokens[index][1] if index < len(self.tokens) else ""

    def kind(self, ahead: int = 0) -> str:
        index = self.at + ahead
        return self.tokens[index][0] if index < len(self.tokens) else ""

    def offset(self) -> int:
        return self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text)

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise Unreadable(
                f"expected {expected or 'more'} at {self.text[self.offset() :][:20]!r}"
            )
        self.at += 1
        return token

    def sum(self) -> Value:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooBig(f"nesting is beyond the grader's {MAX_DEPTH} levels")
        value = self.signed_term()
        while self.peek() in ("+", "-"):
            sign = self.take()
            term = self.signed_term()
            value = value + term if sign == "+" else value - term
        self.depth -= 1
        return value

    def signed_term(self) -> Value:
        sign = 1
        while self.peek() in ("+", "-"):
            sign = -sign if self.take() == "-" else sign
        value = self.term()
        return value if sign == 1 else -value

    def term(self) -> Value:
        value = self.factor()
        while True:
            if self.peek() in TIMES or self.is_cross():
                self.take()
                value = value * self.signed_factor()
            elif self.peek() in DIVIDE:
                start = self.at
                self.take()
                if not self.begins_primary() and self.peek() not in ("+", "-"):
                    self.at = start  # 5 m/s without letters: the slash belongs to the unit
                    return value
                value = value / self.signed_factor()
            else:
                more = self.implicit_factor()
                if more is None:
                    return value
                value = value * more

    def signed_factor(self) -> Value:
        if self.peek() in ("+", "-"):
            return -self.signed_factor() if self.take() == "-" else self.signed_factor()
        return self.factor()

    def is_cross(self) -> bool:
        """A letter x between two numbers, as in 3 x 4 or 1.5 x 10^3."""
        return (
            self.peek() in ("x", "X")
            and not self.letters
            and (self.kind(1) == "number" or self.peek(1) in ("(", r"\frac", r"\sqrt"))
        )

    def begins_primary(self) -> bool:
        token, kind = self.peek(), self.kind()
        if kind == "number" or token in ("(", "{", "[", "|", r"\frac", r"\sqrt", r"\binom", r"\pi"):
            return True
        if kind == "word":
            return self.letters or token in ("pi", "e", "i", "sqrt", "cbrt") or token in FUNCTIONS
        name = token[1:]
        is_name = self.letters and (name in GREEK or name in DECORATIONS)
        return kind == "command" and (name in FUNCTIONS or is_name)

    def implicit_factor(self) -> Value | None:
        """The factor that follows without a sign, or None where the expression ends."""
        previous = self.tokens[self.at - 1][0]
        if self.kind() == "number" and previous in ("number", "word"):
            return None
        if self.peek() in ("|", "[") or not self.begins_primary():
            return self.text_name()
        start, depth, calls = self.at, self.depth, self.calls
        try:
            return self.factor()
        except TooBig:
            raise
        except Unreadable:
            self.at, self.depth, self.calls = start, depth, calls
            return None

    def text_name(self) -> Value | None:
        """\\mathrm{P} as a name where names are read."""
        content = self.peek()[self.peek().find("{") + 1 : -1].strip()
        if self.letters and self.kind() == "text" and re.fullmatch("[A-Z]{1,3}", content):
            self.take()
            return exact.named(content + self.subscript())
        return None

    def factor(self) -> Value:
        value = self.primary()
        while True:
            token = self.peek()
            if token == "!":
                self.take()
                value = factorial(value)
            elif token in ("^", "**"):
                self.take()
                value = exact.power(value, self.exponent())
            elif token == "°" and self.calls:
                self.take()
                value = value * exact.of_atom(exact.PI) / exact.constant(180)
            else:
                return value

    def exponent(self) -> Value:
        if self.peek() in ("+", "-"):
            return -self.exponent() if self.take() == "-" else self.exponent()
        value = self.primary()
        if self.peek() in ("^", "**"):
            self.take()
            return exact.power(value, self.exponent())
        return value

    def primary(self) -> Value:
        token, kind = self.peek(), self.kind()
        if kind == "number":
            return self.number()
        if token in CLOSERS:
            return self.group()
        if token == "|":
            return self.absolute()
        if kind == "command":
            return self.command()
        if kind == "word":
            return self.word()
        name = self.text_name()
        if name is None:
            raise Unreadable(f"no number at {self.text[self.offset() :][:20]!r}")
        return name

    def group(self) -> Value:
        closer = CLOSERS[self.take()]
        value = self.sum()
        self.take(closer)
        return value

    def absolute(self) -> Value:
        self.take("|")
        value = self.sum()
        self.take("|")
        return absolute(value)

    def number(self) -> Value:
        token = self.take()
        value = number_value(token)
        if token.isdigit():
            part = self.mixed_part()
            if part is not None:
                return exact.constant(value + part)
        return exact.constant(value)

    def mixed_part(self) -> Fraction | None:
        """The fraction of a mixed number, 3\\frac{1}{2} or 3 1/2, if one follows."""
        shape = [self.peek(i) for i in range(7)]
        if [shape[i] for i in (0, 1, 3, 4, 6)] == [r"\frac", "{", "}", "{", "}"]:
            top, bottom, length = shape[2], shape[5], 7
        elif self.kind() == "number" and shape[1] == "/":
            top, bottom, length = shape[0], shape[2], 3
        else:
            return None
        proper = top.isdigit() and bottom.isdigit() and len(bottom) < 9 and int(top) < int(bottom)
        if not proper:
            return None
        self.at += length
        return Fraction(int(top), int(bottom))

    def argument(self) -> Value:
        """What \\frac and \\sqrt apply to: a group or one primary."""
        return self.group() if self.peek() == "{" else self.primary()

    def command(self) -> Value:
        name = self.take()[1:]
        if name == "frac":
            top = self.argument()
            return top / self.argument()
        if name == "sqrt":
            return self.root()
        if name == "binom":
            top = self.argument()
            return binomial(top, self.argument())
        if name == "pi":
            return exact.of_atom(exact.PI)
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if self.letters and name in GREEK:
            return exact.named(name + self.subscript())
        if self.letters and name in DECORATIONS:
            return self.decorated(name)
        self.at -= 1
        raise Unreadable(f"the command \\{name} is not read")

    def decorated(self, name: str) -> Value:
        """\\vec{a} or \\overline{AB}: one name."""
        if self.peek() != "{":
            return exact.named(f"{name} {self.take()}")
        self.take()
        content = ""
        while self.peek() not in ("}", ""):
            content += self.take()
        self.take("}")
        return exact.named(f"{name} {content}{self.subscript()}")

    def root(self) -> Value:
        degree = 2
        if self.peek() == "[":
            self.take()
            token = self.take()
            if not token.isdigit() or len(token) > 2 or int(token) < 2:
                raise Unreadable(f"a root of degree {token} is not read")
            degree = int(token)
            self.take("]")
        return exact.nth_root(self.argument(), degree)

    def word(self) -> Value:
        word = self.take()
        if word in ("pi", "e", "i"):
            return exact.of_atom({"pi": exact.PI, "e": exact.EULER, "i": exact.IMAGINARY}[word])
        if word == "sqrt":
            return self.root()
        if word == "cbrt":
            return exact.nth_root(self.argument(), 3)
        if word in FUNCTIONS:
            return self.function(FUNCTIONS[word])
        if self.letters and (word.isupper() or len(word) == 1):
            return exact.named(word + self.subscript())
        self.at -= 1
        raise Unreadable(f"{word!r} is no number")

    def subscript(self) -> str:
        """_{1}, _1 and primes as part of a name."""
        text = ""
        while self.peek() in ("_", "'"):
            if self.take() == "'":
                text += "'"
                continue
            if self.peek() == "{":
                self.take()
                while self.peek() not in ("}", ""):
                    text += "_" + self.take()
                self.take("}")
            else:
                text += "_" + self.take()
        return text

    def function(self, name: str) -> Value:
        base = exact.constant(10)
        if name == "log" and self.peek() == "_":
            self.take()
            base = self.argument()
        power = None
        if self.peek() == "^":
            self.take()
            power = self.exponent()
        argument = self.call_argument()
        if power is not None and power.rational() == -1 and name in INVERSE:
            name, power = INVERSE[name], None
        if name == "log":
            value = exact.call("log", argument, base)
        else:
            value = absolute(argument) if name == "abs" else exact.call(name, argument)
        return value if power is None else exact.power(value, power)

    def begins_call(self) -> bool:
        """sin x cos x is a product of two calls."""
        return self.peek().lstrip("\\") in FUNCTIONS

    def call_argument(self) -> Value:
        """sin(x), sin{x}, or the product that follows: sin 2x."""
        self.calls += 1
        if self.calls > MAX_DEPTH:
            raise TooBig(f"nesting is beyond the grader's {MAX_DEPTH} levels")
        if self.peek() in CLOSERS:
            value = self.factor()
        else:
            value = self.signed_factor()
            while not self.begins_call() and (more := self.implicit_factor()) is not None:
                value = value * more
        self.calls -= 1
        return value


def split_names(token: tuple[str, str, int], text: str) -> list[tuple[str, str, int]]:
    """Lower-case letters that touch are a product: ab^2 is a times b^2. Longer runs are words.

    Three letters count as a product only beside digits or operators: else they are `the` or `not`.
    """
    kind, word, start = token
    longest = 3 if any(sign in text for sign in "+-*/^=\\0123456789") else 2
    known = word in FUNCTIONS or word == "pi"
    if kind != "word" or known or not word.islower() or not 1 < len(word) <= longest:
        return [token]
    return [(kind, letter, start + index) for index, letter in enumerate(word)]


def number_value(token: str) -> Fraction:
    """A decimal or scientific literal as a fraction."""
    mantissa, _, exponent = token.lower().partition("e")
    if len(mantissa) > MAX_DIGITS or len(exponent) > 4 or abs(int(exponent or 0)) > MAX_DIGITS:
        raise TooBig("a number this long is beyond the grader's limits")
    return Fraction(mantissa) * Fraction(10) ** int(exponent or 0)


def absolute(value: Value) -> Value:
    """Exact for constants, an opaque call where names occur."""
    try:
        return -value if evaluate(value) < 0 else value
    except Undefined:
        return exact.call("abs", value)


def small_integer(value: Value, limit: int) -> int:
    """A count up to a limit."""
    number = value.rational()
    if number is None or number.denominator != 1 or number < 0:
        raise Unreadable("a factorial or binomial of something other than a count is not read")
    if number > limit:
        raise TooBig(f"a factorial or binomial above {limit} is beyond the grader's limits")
    return int(number)


def factorial(value: Value) -> Value:
    """n! for small counts."""
    return exact.constant(math.factorial(small_integer(value, 400)))


def binomial(top: Value, bottom: Value) -> Value:
    """n over k for small counts."""
    return exact.constant(math.comb(small_integer(top, 2000), small_integer(bottom, 2000)))
