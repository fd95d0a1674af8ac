"""Logic forms of plane geometry, as in Geometry3K (Inter-GPS, arXiv 2105.04165).

`Equals(LengthOf(Line(A,B)),8)`. Forms stand on lines of their own or side by side; a form
`A(10,7)`, one capital letter, says where a point lies. Arguments that no predicate makes up are
expressions such as `2x+3` or `\\frac{1}{2}x`, kept without their spaces.
"""

import re
from typing import NamedTuple

from onevision_jax.formal.errors import FormalError, shown
from onevision_jax.formal.f1 import multiset_f1

MAX_FORMS = 1000
MAX_DEPTH = 20
# Predicate: the numbers of arguments it takes (None: any), and how they may be turned without
# saying something else: "set" any order, "ring" any corner first and either way round, "reverse"
# backwards, "lines" any order but for a point at the end, "" as they are.
SHAPES = {
    "Point": ((1,), ""), "Line": ((1, 2), "set"), "Angle": ((1, 3), "reverse"),
    "Triangle": ((1, 3), "ring"), "Quadrilateral": ((1, 4), "ring"),
    "Parallelogram": ((1, 4), "ring"), "Square": ((1, 4), "ring"), "Rectangle": ((1, 4), "ring"),
    "Rhombus": ((1, 4), "ring"), "Trapezoid": ((1, 4), "ring"), "Kite": ((1, 4), "ring"),
    "Polygon": (None, "ring"), "Pentagon": ((1, 5), "ring"), "Hexagon": ((1, 6), "ring"),
    "Heptagon": ((1, 7), "ring"), "Octagon": ((1, 8), "ring"), "Circle": ((1, 2), ""),
    "Arc": ((1, 2, 3), "reverse"), "Sector": ((1, 3), ""), "Shape": (None, "ring"),
}  # fmt: skip
# Of one argument each.
ATTRIBUTES = (
    "RightAngle", "Right", "Isosceles", "Equilateral", "Regular", "Red", "Blue", "Green",
    "Shaded", "AreaOf", "PerimeterOf", "RadiusOf", "DiameterOf", "CircumferenceOf", "AltitudeOf",
    "HypotenuseOf", "SideOf", "WidthOf", "HeightOf", "LegOf", "BaseOf", "MedianOf", "MeasureOf",
    "LengthOf", "Find", "SinOf", "CosOf", "TanOf", "CotOf", "HalfOf", "SquareOf", "SqrtOf",
    "UseTheorem",
)  # fmt: skip
RELATIONS = {
    "IntersectionOf": ((2,), "set"), "ScaleFactorOf": ((2,), ""), "RatioOf": ((1, 2), ""),
    "PointLiesOnLine": ((2,), ""), "PointLiesOnCircle": ((2,), ""), "Parallel": ((2,), "set"),
    "Perpendicular": ((2,), "set"), "IntersectAt": (None, "lines"), "BisectsAngle": ((2,), ""),
    "Congruent": ((2,), "set"), "Similar": ((2,), "set"), "Tangent": ((2,), ""),
    "Secant": ((2,), ""), "CircumscribedTo": ((2,), ""), "InscribedIn": ((2,), ""),
    "IsMidpointOf": ((2,), ""), "IsCentroidOf": ((2,), ""), "IsIncenterOf": ((2,), ""),
    "IsRadiusOf": ((2,), ""), "IsDiameterOf": ((2,), ""), "IsMidsegmentOf": ((2,), ""),
    "IsChordOf": ((2,), ""), "IsSideOf": ((2,), ""), "IsHypotenuseOf": ((2,), ""),
    "IsPerpendicularBisectorOf": ((2,), ""), "IsAltitudeOf": ((2,), ""), "IsMedianOf": ((2,), ""),
    "IsBaseOf": ((2,), ""), "IsDiagonalOf": ((2,), ""), "IsLegOf": ((2,), ""),
    "Equals": ((2,), "set"), "Add": (None, "set"), "Mul": (None, "set"), "Sub": ((2,), ""),
    "Div": ((2,), ""), "Pow": ((2,), ""), "SumOf": (None, "set"), "AverageOf": (None, "set"),
}  # fmt: skip
PREDICATES = SHAPES | dict.fromkeys(ATTRIBUTES, ((1,), "")) | RELATIONS
_NAME = re.compile(r"[A-Z][A-Za-z]*(?=\()")


class Form(NamedTuple):
    """A predicate and its arguments, forms or expressions."""

    name: str
    arguments: tuple["Form | str", ...]

    def __str__(self) -> str:
        return f"{self.name}({','.join(map(str, self.arguments))})"


def parse_logic(text: str) -> tuple[Form, ...]:
    """Raises FormalError with the line at fault."""
    forms: list[Form] = []
    for number, line in enumerate(text.splitlines(), 1):
        place = 0
        while place < len(line):
            if line[place] in " \t,;":
                place += 1
                continue
            form, place = _form(line, place, number, 0)
            forms.append(form)
    if not forms:
        raise FormalError("there is no logic form, expected such as Equals(LengthOf(Line(A,B)),8)")
    if len(forms) > MAX_FORMS:
        raise FormalError(f"there are {len(forms)} logic forms, at most {MAX_FORMS} are read")
    return tuple(forms)


def write_logic(forms: tuple[Form, ...]) -> str:
    """Places of points on the first line, then the other forms, each turned; sorted, none twice."""
    spelled = sorted({str(turn(form)) for form in forms})
    places = [text for text in spelled if text.split("(")[0] not in PREDICATES]
    others = [text for text in spelled if text.split("(")[0] in PREDICATES]
    return "\n".join([" ".join(places)] * bool(places) + others)


def compare_logic(a: tuple[Form, ...], b: tuple[Form, ...]) -> float:
    """F1 over different forms, turned as `turn` does; saying a thing twice says nothing more."""
    return multiset_f1({turn(form) for form in a}, {turn(form) for form in b})


def turn(form: "Form | str") -> "Form | str":
    """The form all equivalent spellings have in common."""
    if isinstance(form, str):
        return form
    parts = tuple(turn(part) for part in form.arguments)
    way = PREDICATES.get(form.name, (None, ""))[1]
    if way == "set":
        parts = tuple(sorted(parts, key=str))
    elif way == "reverse":
        parts = min(parts, parts[::-1], key=_spelled)
    elif way == "lines":
        count = len(parts) - str(parts[-1]).startswith("Point(")
        parts = (*sorted(parts[:count], key=str), *parts[count:])
    elif way == "ring":
        rings = [parts[i:] + parts[:i] for i in range(len(parts))]
        parts = min([*rings, *(ring[::-1] for ring in rings)], key=_spelled)
    return Form(form.name, parts)


def _spelled(parts: tuple) -> list[str]:
    return [str(part) for part in parts]


def _form(line: str, place: int, number: int, depth: int) -> tuple[Form, int]:
    found = _NAME.match(line, place)
    if not found:
        raise FormalError(f"expected a predicate at {shown(line[place:])}", number)
    if depth > MAX_DEPTH:
        raise FormalError(f"{found[0]} stands more than {MAX_DEPTH} deep", number)
    name = found[0]
    arguments, place = _arguments(line, found.end() + 1, number, depth, name)
    form = Form(name, tuple(arguments))
    if name in PREDICATES:
        counts = PREDICATES[name][0]
        if counts is not None and len(arguments) not in counts:
            wanted = " or ".join(map(str, counts))
            raise FormalError(f"{name} takes {wanted} arguments, found {len(arguments)}", number)
    elif not _is_place(form):
        raise FormalError(f"{shown(name)} is no predicate of plane geometry", number)
    return form, place


def _arguments(line: str, place: int, number: int, depth: int, name: str) -> tuple[list, int]:
    arguments: list[Form | str] = []
    while True:
        while place < len(line) and line[place].isspace():
            place += 1
        if _NAME.match(line, place):
            part, after = _form(line, place, number, depth + 1)
            rest, stop = _expression(line, after, number, name)
            # `RadiusOf(Circle(O))/2`: an expression that holds a form stays words.
            argument = part if not rest else "".join(line[place:stop].split())
            place = stop
        else:
            argument, place = _expression(line, place, number, name)
        if not argument:
            raise FormalError(f"{name} has an empty argument", number)
        arguments.append(argument)
        place += 1
        if line[place - 1] == ")":
            return arguments, place


def _expression(line: str, place: int, number: int, name: str) -> tuple[str, int]:
    """Up to the comma or bracket that ends the argument; brackets inside are balanced."""
    start, open_marks = place, []
    closing = {"(": ")", "[": "]", "{": "}"}
    while place < len(line):
        mark = line[place]
        if not open_marks and mark in ",)":
            return "".join(line[start:place].split()), place
        if mark in closing:
            open_marks.append(closing[mark])
        elif mark in ")]}" and (not open_marks or open_marks.pop() != mark):
            raise FormalError(f"{name} has a {mark} too many", number)
        place += 1
    raise FormalError(f"{name}( is not closed", number)


def _is_place(form: Form) -> bool:
    return (
        len(form.name) == 1
        and len(form.arguments) == 2
        and all(
            isinstance(part, str) and re.fullmatch(r"-?\d+(\.\d+)?", part)
            for part in form.arguments
        )
    )
