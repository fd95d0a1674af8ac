"""Tables of numbers; formal text: CSV at difficulty 1, HTML above.

Difficulty 1: 3 x 2 digits with single letters as headings. 2: 4 x 3 numbers below 100 with names.
3: 6 x 4 numbers below 1000.

Different images at difficulty 1: 8·7·6 row letters x 7·6 column letters x 9⁶ digits = 7.5e9.
"""

import dataclasses
import random

from onevision_jax.data.synthetic import series
from onevision_jax.data.synthetic.drawing import LIGHT, Drawing
from onevision_jax.data.synthetic.example import (
    SIDES,
    Example,
    Question,
    format_fraction,
    phrase,
)

ROW_LETTERS = "KLMNPRST"
COLUMN_LETTERS = "UVWXYZH"
PEOPLE = ("Ann", "Bob", "Cal", "Dee", "Eve", "Fay", "Gus", "Hal", "Ivy", "Jim")
SUBJECTS = ("art", "music", "sport", "maths", "chess", "drama")
SHAPES = {1: (3, 2, 9), 2: (4, 3, 99), 3: (6, 4, 999)}  # rows, columns, largest number


@dataclasses.dataclass(frozen=True)
class Table:
    """A corner heading, column headings, and rows that begin with theirs."""

    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]

    def column(self, index: int) -> series.Items:
        """(row name, number) pairs of one column."""
        return [(name, numbers[index]) for name, numbers in self.rows]

    def row(self, index: int) -> series.Items:
        """(column name, number) pairs of one row."""
        return list(zip(self.columns, self.rows[index][1], strict=True))

    def to_csv(self) -> str:
        """Header line, then one line a row."""
        lines = [(self.corner, *self.columns), *((name, *numbers) for name, numbers in self.rows)]
        return "\n".join(",".join(map(str, line)) for line in lines)

    def to_html(self) -> str:
        """A `table` with `th` for headings, one row a line, no other white space."""
        head = "".join(f"<th>{cell}</th>" for cell in (self.corner, *self.columns))
        lines = [f"<tr>{head}</tr>"]
        for name, numbers in self.rows:
            cells = "".join(f"<td>{number}</td>" for number in numbers)
            lines.append(f"<tr><th>{name}</th>{cells}</tr>")
        return "\n".join(["<table>", *lines, "</table>"])


def make(rng: random.Random, difficulty: int, size: int) -> Example:
    """A random table with a question about it."""
    table = invent(rng, difficulty)
    drawing = Drawing(SIDES[difficulty], size)
    draw(rng, drawing, table, difficulty)
    question = ask(rng, table, difficulty)
    if difficulty == 1:
        return Example(drawing, table.to_csv(), "csv", question, "math")
    return Example(drawing, table.to_html(), "html", question, "math")


def invent(rng: random.Random, difficulty: int) -> Table:
    """Draw headings and numbers."""
    num_rows, num_columns, most = SHAPES[difficulty]
    heads = (ROW_LETTERS, COLUMN_LETTERS) if difficulty == 1 else (PEOPLE, SUBJECTS)
    names = rng.sample(heads[0], num_rows)
    columns = tuple(rng.sample(heads[1], num_columns))
    rows = tuple((name, tuple(rng.randint(1, most) for _ in columns)) for name in names)
    return Table("" if difficulty == 1 else "name", columns, rows)


def draw(rng: random.Random, drawing: Drawing, table: Table, difficulty: int) -> None:
    """Shaded headings, ruled cells, centred text."""
    side, margin = SIDES[difficulty], 2
    width = (side - 2 * margin) / (len(table.columns) + 1)
    height = (side - 2 * margin) / (len(table.rows) + 1)
    font = {1: 15, 2: 12, 3: 16}[difficulty]
    shade = rng.choice(LIGHT)
    drawing.rectangle((margin, margin), (side - margin, margin + height), fill=shade)
    drawing.rectangle((margin, margin), (margin + width, side - margin), fill=shade)
    for k in range(len(table.rows) + 2):
        y = margin + height * k
        drawing.line((margin, y), (side - margin, y), "grey")
    for k in range(len(table.columns) + 2):
        x = margin + width * k
        drawing.line((x, margin), (x, side - margin), "grey")
    lines = [(table.corner, *table.columns), *((name, *numbers) for name, numbers in table.rows)]
    for i, line in enumerate(lines):
        for j, cell in enumerate(line):
            if cell != "":
                centre = (margin + width * (j + 0.5), margin + height * (i + 0.5))
                drawing.text(centre, str(cell), font)


CELL = (
    "What is in row {r}, column {c}?",
    "Read column {c} of row {r}.",
    "Which number is in row {r} under {c}?",
)
ROW_SUM = ("What is the sum of row {r}?", "Add the numbers in row {r}.")
COLUMN_SUM = ("What is the sum of column {c}?", "Add the numbers under {c}.")
EXTREME = (
    "Which row has the {how} number under {c}?",
    "In column {c}, which row is {how}?",
)
GAP = (
    "Under {c}, how much more has row {r} than row {q}?",
    "In column {c}, what is row {r} minus row {q}?",
)
ABOVE = ("How many numbers under {c} are above {t}?", "Count the numbers in column {c} over {t}.")
MEAN = ("What is the mean of column {c}?", "Find the average of the numbers under {c}.")
GIVEN = (
    "Add column {c} over the rows where {d} is above {t}.",
    "What is the sum of {c} for rows with {d} greater than {t}?",
)


def ask(rng: random.Random, table: Table, difficulty: int) -> Question:
    """A question of a kind that the difficulty allows."""
    kinds = ["cell", "row_sum", "extreme", "gap"]
    kinds += ["column_sum", "above"] * (difficulty > 1) + ["mean", "given"] * (difficulty > 2)
    kind = rng.choice(kinds)
    c = rng.randrange(len(table.columns))
    column, title = table.column(c), table.columns[c]
    r = rng.randrange(len(table.rows))
    name = table.rows[r][0]
    largest = rng.random() < 0.5
    if kind == "extreme" and not series.has_extreme(column, largest):
        kind = "cell"
    if kind == "cell":
        number = table.rows[r][1][c]
        steps = f"Row {name}: {series.list_items(table.row(r))} Column {title}: {number}."
        return Question(kind, phrase(rng, CELL, r=name, c=title), steps, str(number))
    if kind == "row_sum":
        steps, total = series.add_up(list(table.rows[r][1]))
        steps = f"Row {name}: {series.list_items(table.row(r))} {steps}"
        return Question(kind, phrase(rng, ROW_SUM, r=name), steps, str(total))
    if kind == "gap":
        (q, low), (p, high) = sorted(rng.sample(column, 2), key=lambda item: item[1])
        steps, answer = series.subtract(column, p, q)
        steps = f"Column {title}: {steps}"
        assert answer == high - low
        return Question(kind, phrase(rng, GAP, c=title, r=p, q=q), steps, str(answer))
    if kind == "extreme":
        how = rng.choice(("largest", "highest") if largest else ("smallest", "lowest"))
        steps, best = series.find_extreme(column, largest)
        choices = () if difficulty == 1 else tuple(row for row, _ in table.rows)
        text = phrase(rng, EXTREME, how=how, c=title)
        steps = f"Column {title}: {steps}"
        return Question(kind, text, steps, best, "choice" if choices else "text", choices)
    return ask_column(rng, table, kind, c)


def ask_column(rng: random.Random, table: Table, kind: str, c: int) -> Question:
    """The kinds of difficulty 2 and 3, all about a whole column."""
    column, title = table.column(c), table.columns[c]
    read = f"Column {title}: {series.list_items(column)}"
    if kind == "column_sum":
        steps, total = series.add_up([number for _, number in column])
        return Question(kind, phrase(rng, COLUMN_SUM, c=title), f"{read} {steps}", str(total))
    if kind == "above":
        threshold = series.choose_threshold(rng, column, 1)
        steps, count = series.count_above(column, threshold)
        text = phrase(rng, ABOVE, c=title, t=threshold)
        return Question(kind, text, f"Column {title}: {steps}", str(count))
    d = rng.choice([i for i in range(len(table.columns)) if i != c])
    condition = table.column(d)
    thresholds = sorted({number for _, number in condition})[:-1]  # At least one row is left.
    if kind == "mean" or not thresholds:
        steps, mean = series.average(column)
        text = phrase(rng, MEAN, c=title)
        return Question("mean", text, f"{read} {steps}", format_fraction(mean), tier="high_school")
    threshold = rng.choice(thresholds)
    steps, _ = series.count_above(condition, threshold)
    chosen = [item for item, (_, x) in zip(column, condition, strict=True) if x > threshold]
    sums, total = series.add_up([number for _, number in chosen])
    steps = f"{table.columns[d]}: {steps} {title}: {series.list_items(chosen)} {sums}".strip()
    text = phrase(rng, GIVEN, c=title, d=table.columns[d], t=threshold)
    return Question(kind, text, steps, str(total), tier="high_school")
