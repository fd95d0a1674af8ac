r"""Matrices between brackets; formal text: LaTeX, one named matrix a line.

`A=\begin{bmatrix}1&-2\\0&5\end{bmatrix}`. Difficulty 1: one 2 x 2 matrix. 2: a 2 x 2 matrix A and
a column b. 3: a 3 x 3 matrix A and a column b.

Different images at difficulty 1: 19⁴ matrices x 9·9 places x 7 colours = 7.4e7.
"""

import math
import random

from onevision_jax.data.record import Tier
from onevision_jax.data.synthetic.drawing import STRONG, Drawing
from onevision_jax.data.synthetic.example import SIDES, Example, Question, phrase

Rows = tuple[tuple[int, ...], ...]
KINDS = {
    1: ("row", "column", "determinant"),
    2: ("product", "eigenvalue", "solve"),
    3: ("product", "determinant", "rank"),
}
LAYOUTS = {1: (28, 28, 15), 2: (38, 34, 16), 3: (52, 52, 19)}  # pitch across, down; font


class Work:
    """Arithmetic that is written down, one step a sentence."""

    def __init__(self) -> None:
        """No step yet."""
        self.steps: list[str] = []

    def say(self, a: int, sign: str, b: int, result: int) -> int:
        """`a sign b = result.`, with brackets around what is negative."""
        left, right = (f"({x})" if x < 0 else str(x) for x in (a, b))
        self.steps.append(f"{left} {sign} {right} = {result}.")
        return result

    def times(self, a: int, b: int) -> int:
        """A product."""
        return self.say(a, "*", b, a * b)

    def plus(self, a: int, b: int) -> int:
        """A sum."""
        return self.say(a, "+", b, a + b)

    def minus(self, a: int, b: int) -> int:
        """A difference."""
        return self.say(a, "-", b, a - b)

    def cross(self, a: int, b: int, c: int, d: int) -> int:
        """ad - bc."""
        return self.minus(self.times(a, d), self.times(b, c))

    def text(self) -> str:
        """All steps."""
        return " ".join(self.steps)


def to_latex(name: str, rows: Rows) -> str:
    """One line of the formal text."""
    body = r"\\".join("&".join(map(str, row)) for row in rows)
    return rf"{name}=\begin{{bmatrix}}{body}\end{{bmatrix}}"


def make(rng: random.Random, difficulty: int, size: int) -> Example:
    """A random matrix with a question about it."""
    kind = rng.choice(KINDS[difficulty])
    matrix, column = invent(rng, kind, difficulty)
    drawing = Drawing(SIDES[difficulty], size)
    draw(rng, drawing, matrix, column, difficulty)
    lines = [to_latex("A", matrix)]
    if column:
        lines.append(to_latex("b", tuple((x,) for x in column)))
    question = ask(rng, kind, matrix, column)
    return Example(drawing, "\n".join(lines), "latex", question, "math")


def invent(rng: random.Random, kind: str, difficulty: int) -> tuple[Rows, tuple[int, ...]]:
    """A, and b above difficulty 1."""
    if difficulty == 1:
        return random_rows(rng, 2, 9), ()
    n = 2 if difficulty == 2 else 3
    column = tuple(rng.randint(-9, 9) for _ in range(n))
    if kind == "eigenvalue":
        return with_eigenvalues(rng), column
    if kind == "solve":
        return solvable(rng)
    if kind == "rank":
        return of_rank(rng, rng.randint(1, 3)), column
    return random_rows(rng, n, 9 if n == 2 else 6), column


def random_rows(rng: random.Random, n: int, most: int) -> Rows:
    """n x n entries from -most to most."""
    return tuple(tuple(rng.randint(-most, most) for _ in range(n)) for _ in range(n))


def with_eigenvalues(rng: random.Random) -> Rows:
    """P D P⁻¹ with whole eigenvalues and a P of determinant 1."""
    first, second = rng.sample(range(-6, 7), 2)
    p, q = rng.choice((-2, -1, 1, 2)), rng.choice((-1, 1))
    s = 1 + p * q
    return (
        (first * s - second * p * q, p * (second - first)),
        (q * s * (first - second), second * s - first * p * q),
    )


def solvable(rng: random.Random) -> tuple[Rows, tuple[int, ...]]:
    """A with a determinant other than 0, and b = A x for whole x."""
    while True:
        (a, b), (c, d) = rows = random_rows(rng, 2, 5)
        if a * d != b * c:
            break
    x, y = rng.randint(-9, 9), rng.randint(-5, 5)
    return rows, (a * x + b * y, c * x + d * y)


def of_rank(rng: random.Random, rank: int) -> Rows:
    """3 x 3 of that rank, no row zero."""
    while True:
        first, second, third = ([rng.randint(-4, 4) for _ in range(3)] for _ in range(3))
        if rank == 1:
            second, third = scaled(rng, first), scaled(rng, first)
        elif rank == 2:
            k = rng.choice((-1, 1, 2))
            third = [x + k * y for x, y in zip(first, second, strict=True)]
        rows = [tuple(first), tuple(second), tuple(third)]
        rng.shuffle(rows)
        matrix = tuple(rows)
        if all(any(row) for row in rows) and find_rank(matrix, Work()) == rank:
            return matrix


def scaled(rng: random.Random, row: list[int]) -> list[int]:
    """A multiple of a row."""
    factor = rng.choice((-2, -1, 2))
    return [factor * x for x in row]


def draw(
    rng: random.Random, drawing: Drawing, matrix: Rows, column: tuple[int, ...], difficulty: int
) -> None:
    """A, and b to its right, each with its name above if there are two."""
    across, down, font = LAYOUTS[difficulty]
    colour = rng.choice(STRONG)
    side, n = SIDES[difficulty], len(matrix)
    x, y = rng.randint(-4, 4), rng.randint(-4, 4)
    if not column:
        left, top = (side - across * n) / 2 + x, (side - down * n) / 2 + y
        draw_block(drawing, matrix, (left, top), (across, down, font), colour)
        return
    left, top = (side - across * (n + 1.6)) / 2 + x, (side - down * (n - 0.8)) / 2 + y
    blocks = (("A", matrix), ("b", tuple((entry,) for entry in column)))
    for name, rows in blocks:
        width = across * len(rows[0])
        drawing.text((left + width / 2, top - font), name, font)
        draw_block(drawing, rows, (left, top), (across, down, font), colour)
        left += width + 0.6 * across


def draw_block(
    drawing: Drawing,
    rows: Rows,
    corner: tuple[float, float],
    layout: tuple[float, float, float],
    colour: str,
) -> None:
    """Numbers in cells between square brackets."""
    (left, top), (across, down, font) = corner, layout
    right, bottom, hook = left + across * len(rows[0]), top + down * len(rows), 5
    for edge, inward in ((left, hook), (right, -hook)):
        drawing.line((edge, top), (edge, bottom), colour, 2)
        for y in (top, bottom):
            drawing.line((edge, y), (edge + inward, y), colour, 2)
    for i, row in enumerate(rows):
        for j, entry in enumerate(row):
            drawing.text((left + across * (j + 0.5), top + down * (i + 0.5)), str(entry), font)


ROW = ("What is the sum of row {i}?", "Add the numbers in row {i}.")
COLUMN = ("What is the sum of column {j}?", "Add the numbers in column {j}.")
PRODUCT = ("What is entry {i} of the product A b?", "Work out A b. What is its entry {i}?")
DETERMINANT = ("What is the determinant of {a}?", "Find the determinant of {a}.")
EIGENVALUE = (
    "What is the {how} eigenvalue of A?",
    "Find the {how} eigenvalue of the matrix A.",
)
SOLVE = ("Solve A x = b. What is x1, the first unknown?", "If A x = b, what is x1 of x = (x1, x2)?")
RANK = ("What is the rank of A?", "Find the rank of the matrix A.")


def ask(rng: random.Random, kind: str, matrix: Rows, column: tuple[int, ...]) -> Question:
    """A question of the kind that the matrix was made for."""
    work = Work()
    i = rng.randrange(len(matrix))
    if kind in ("row", "column"):
        cells = matrix[i] if kind == "row" else tuple(row[i] for row in matrix)
        answer = work.plus(*cells)
        text = phrase(rng, ROW if kind == "row" else COLUMN, i=i + 1, j=i + 1)
        return Question(kind, text, work.text(), str(answer), tier="junior_high")
    if kind == "product":
        answer = None
        for a, b in zip(matrix[i], column, strict=True):
            term = work.times(a, b)
            answer = term if answer is None else work.plus(answer, term)
        text = phrase(rng, PRODUCT, i=i + 1)
        return Question(kind, text, work.text(), str(answer), tier="high_school")
    if kind == "determinant":
        answer = find_determinant(matrix, work)
        text = phrase(rng, DETERMINANT, a="A" if len(matrix) == 3 else "the matrix")
        tier: Tier = "high_school" if len(matrix) == 2 else "college"
        return Question(kind, text, work.text(), str(answer), tier=tier)
    if kind == "rank":
        rank = find_rank(matrix, work)
        return Question(kind, phrase(rng, RANK), work.text(), str(rank), tier="university")
    return ask_two_by_two(rng, kind, matrix, column)


def find_determinant(matrix: Rows, work: Work) -> int:
    """ad - bc, or by the minors of the first row."""
    if len(matrix) == 2:
        (a, b), (c, d) = matrix
        return work.cross(a, b, c, d)
    (a, b, c), (d, e, f), (g, h, i) = matrix
    first = work.times(a, work.cross(e, f, h, i))
    second = work.times(b, work.cross(d, f, g, i))
    third = work.times(c, work.cross(d, e, g, h))
    return work.plus(work.minus(first, second), third)


def find_rank(matrix: Rows, work: Work) -> int:
    """3 x 3, none of the rows zero: the determinant, then two rows that are no multiples."""
    if find_determinant(matrix, work):
        work.steps.append("Not 0, so the rank is 3.")
        return 3
    for row in matrix[1:]:
        for i, j in ((0, 1), (0, 2), (1, 2)):
            if matrix[0][i] * row[j] != matrix[0][j] * row[i]:
                work.cross(matrix[0][i], matrix[0][j], row[i], row[j])
                work.steps.append("Not 0, so the rank is 2.")
                return 2
    work.steps.append("All rows are multiples of row 1, so the rank is 1.")
    return 1


def ask_two_by_two(
    rng: random.Random, kind: str, matrix: Rows, column: tuple[int, ...]
) -> Question:
    """An eigenvalue from trace and determinant, or an unknown by Cramer's rule."""
    work = Work()
    (a, b), (c, d) = matrix
    if kind == "solve":
        whole = work.cross(a, b, c, d)
        part = work.cross(column[0], b, column[1], d)
        answer = work.say(part, "/", whole, part // whole)
        return Question(kind, phrase(rng, SOLVE), work.text(), str(answer), tier="college")
    trace, determinant = work.plus(a, d), work.cross(a, b, c, d)
    square = work.minus(work.times(trace, trace), work.times(4, determinant))
    root = math.isqrt(square)
    assert root * root == square
    work.times(root, root)
    how = rng.choice(("largest", "smallest"))
    total = work.plus(trace, root) if how == "largest" else work.minus(trace, root)
    answer = work.say(total, "/", 2, total // 2)
    text = phrase(rng, EIGENVALUE, how=how)
    return Question(kind, text, work.text(), str(answer), tier="college")
