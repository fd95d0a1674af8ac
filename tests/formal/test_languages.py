"""Every language: texts of the synthetic families and others, canonical forms, broken texts."""

import itertools
import random

import pytest

from onevision_jax.data.synthetic import make_record
from onevision_jax.formal import LANGUAGES, FormalError

FAMILIES = (
    "charts", "tables", "flowcharts", "foodwebs", "circuits", "scenes", "geometry", "pedigrees",
    "matrices", "molecules",
)  # fmt: skip
MODULES = {"html": "html5lib", "smiles": "rdkit", "fen": "chess"}


def language(name):
    if name in MODULES:
        pytest.importorskip(MODULES[name])
    return LANGUAGES[name]


def texts_of(family, count):
    """(its language, texts); tables are CSV at difficulty 1."""
    records = [make_record(family, 5, number, 1 + (family != "tables")) for number in range(count)]
    return language(records[0].formal_language), [record.formal_text for record in records]


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_of_the_families_are_read_and_canonical(family):
    found, texts = texts_of(family, 200)
    for text in texts:
        canonical = found.canonical(text)
        assert found.canonical(canonical) == canonical
        assert found.score(text, canonical) == found.score(canonical, text) == 1.0
    if family not in ("molecules", "geometry", "foodwebs"):  # These have an order of their own.
        assert [found.canonical(text) for text in texts] == texts


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_bounded_symmetric_and_one_for_equal_texts_only(family):
    found, texts = texts_of(family, 40)
    texts = list(dict.fromkeys(map(found.canonical, texts)))
    for first, second in itertools.pairwise(texts):
        score = found.score(first, second)
        assert 0.0 <= score < 1.0
        assert score == found.score(second, first)


def test_html_tables_too():
    found = language("html")
    for number in range(60):
        text = make_record("tables", 5, number, 3).formal_text
        assert found.canonical(found.canonical(text)) == found.canonical(text)
        assert found.score(text, found.canonical(text)) == 1.0


# How a text of each language is broken beyond what its grammar allows.
def drop(text, marks, rng):
    places = [place for place, mark in enumerate(text) if mark in marks]
    place = rng.choice(places)
    return text[:place] + text[place + 1 :]


BREAK = {
    "csv": lambda text, rng: _insert_cell(text, rng),
    "mermaid": lambda text, rng: rng.choice(
        [text.replace("-->", rng.choice(["->", ">", "=>", "→"]), 1),
         drop(text, "}])", rng) if any(m in text for m in "}])") else text.replace("flow", "flaw"),
         text.replace("flowchart", "flow chart", 1), text + "\n-->" + text[-1]]
    ),
    "spice": lambda text, rng: _break_line(text, rng, lambda words: rng.choice(
        [words[:-1], [*words[:3], "ten"], ["9" + words[0], *words[1:]], [*words, "5"]])),
    "scene_json": lambda text, rng: drop(text, "[]{}:\"", rng),
    "logic_form": lambda text, rng: rng.choice(
        [drop(text, "()", rng), text.replace("(", "((", 1) if ")" in text else "(",
         text.replace("Line(", "Lime(").replace("Angle(", "Angel(")
         if "Line(" in text or "Angle(" in text else text + " x"]),
    "ped": lambda text, rng: _break_line(text, rng, lambda words: rng.choice(
        [words[:-1], [*words, "1"], [*words[:3], "3", words[4]], [words[0], "77", "78", *words[3:]],
         [*words[:4], "0"]])),
    "latex": lambda text, rng: rng.choice(
        [text.replace("&", "", 1), text.replace("\\end", "\\edn", 1), text.replace("{", "", 1),
         text.replace("\\begin", "begin", 1)]),
    "smiles": lambda text, rng: rng.choice(
        [text + "(", text + "1", text.replace("C", "Q", 1), text + "=", ")" + text,
         text + "C(C)(C)(C)(C)C"]),
}  # fmt: skip


def _insert_cell(text, rng):
    lines = text.split("\n")
    place = rng.randrange(1, len(lines))
    lines[place] = rng.choice(
        [lines[place] + ",7", lines[place].rsplit(",", 1)[0], '"' + lines[place]]
    )
    return "\n".join(lines)


def _break_line(text, rng, change):
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    lines[place] = " ".join(change(lines[place].split()))
    return "\n".join(lines)


@pytest.mark.parametrize("family", FAMILIES)
def test_broken_texts_are_refused_with_a_reason(family):
    found, texts = texts_of(family, 200)
    rng = random.Random(7)
    reasons = set()
    for text in texts:
        broken = BREAK[found.name](text, rng)
        assert broken != text
        with pytest.raises(FormalError) as caught:
            found.read(broken)
        reasons.add(str(caught.value))
        assert found.score(broken, text) == 0.0
    assert len(reasons) > 1


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("csv", "name,value\nA,1,2", "line 2: 3 cells where the first row has 2"),
        ("csv", "name\nA", "two columns"),
        ("mermaid", "graph XX\nA-->B", "none of TD, TB, BT, LR, RL"),
        ("mermaid", "flowchart TD\nA[open\nB", "line 2: the label '[open' is not closed"),
        ("mermaid", "", "expected `flowchart TD`"),
        ("spice", "R1 1 0 10\nr1 2 0 5", "line 2: r1 stands on line 1 already"),
        ("spice", "R1 1 0", "line 1: R1 needs 2 nodes and a value"),
        ("scene_json", '[{"ball": [0, 0, 0, 4]}]', "upper left, lower right"),
        ("scene_json", '[{"ball": [0, 0, NaN, 4]}]', "NaN is no JSON number"),
        ("scene_json", '[{"ball": [0, 0, 4]}]', "expected four numbers"),
        ("scene_json", "[" * 100_000, "nested too deeply"),
        ("logic_form", "Equals(Line(A,B)", "Equals( is not closed"),
        ("logic_form", "Line(A,B,C)", "Line takes 1 or 2 arguments, found 3"),
        ("logic_form", "Find(" * 40 + "x" + ")" * 40, "more than 20 deep"),
        ("ped", "1 2 3 1 1\n2 0 0 1 1\n3 1 0 2 1", "either both parents"),
        ("ped", "1 2 3 1 1\n2 1 3 1 1\n3 0 0 2 1", "descends from itself"),
        ("latex", r"\begin{bmatrix}1&2\\3\end{bmatrix}", "rows of 2 and 1 entries"),
        ("html", "<table><tr><td>1</table", "line 1"),
        ("html", "<p>a</b></p>", "line 1"),
        ("smiles", "C1CC", "is no molecule"),
        ("fen", "8/8/8/8/8/8/8/8 w - - 0 1", "no white king"),
        ("text", " \n ", "the text is empty"),
        ("text", "x" * 200_001, "at most 200000 are read"),
    ],
)  # fmt: skip
def test_reasons_name_the_line_and_the_fault(name, text, reason):
    with pytest.raises(FormalError) as caught:
        language(name).read(text)
    assert reason in str(caught.value)


START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - "
FLOW = "flowchart TD\nA{x>9}\nB[x-4]\nC[x*2]\nA-->|yes|B\nA-->|no|C"
FLOW_TOO = """graph TB
  n1{x>9} -- yes --> n2["x-4"]; n1 -->|no| n3[x*2] %% the end
  style n1 fill:#f9f"""
DIVIDER = "V1 1 0 14\nR1 1 2 8000\nR2 2 0 1"
DIVIDER_TOO = "* two\nVs top gnd DC 14\nRb x 0 1\n\nRa x\n+ top 8k\n.end"
SCENE = '[{"red ball":[0,0,4,4]},{"cube":[1,2,3,4]}]'
SCENE_TOO = '{"cube": [1, 2, 3, 4], "Red  ball": [[0, 0, 4, 4]]}'
FORMS = "Equals(LengthOf(Line(A,B)),2x+3)\nTriangle(A,B,C)"
FORMS_TOO = "Triangle(C,A,B), Equals( 2x + 3, LengthOf(Line(B, A)))"
PAGE = "<p>a</p><table><tbody><tr><td>1</td></tr></tbody></table>"
PAGE_TOO = """<!doctype html>
<style>p{}</style><p class=x> a</p>
<table><tbody><tr><td>1.0</td></tr></tbody></table>"""
FAMILY = "1 0 0 1 1\n2 0 0 2 2\n3 1 2 2 1"
EQUIVALENT = [
    ("csv", "name,value\nA,1000\nB,20%", 'Name , value\nb,20 %\na,"1,000.0"'),
    ("mermaid", FLOW, FLOW_TOO),
    ("mermaid", "flowchart LR\nA-->B\nA-->C\nB-->D\nC-->D", "flowchart LR\nA-->B & C-->D"),
    ("spice", DIVIDER, DIVIDER_TOO),
    ("scene_json", SCENE, SCENE_TOO),
    ("logic_form", FORMS, FORMS_TOO),
    ("smiles", "OCC", "C(O)C"),
    ("smiles", "c1ccccc1", "C1=CC=CC=C1"),
    ("html", PAGE, PAGE_TOO),
    ("ped", FAMILY, "mum 0 0 2 2\nkid dad mum 2 1\ndad 0 0 1 1"),
    ("latex", r"A=\begin{bmatrix}1&2\end{bmatrix}", r"A = \begin{pmatrix}1 & 2.0\\ \end{pmatrix}"),
    ("fen", START + "0 1", START + "5 9"),
    ("text", "a  b\n\n\nc ", "a b\n\nc"),
]


@pytest.mark.parametrize(("name", "first", "second"), EQUIVALENT)
def test_equivalent_texts_score_one(name, first, second):
    assert language(name).score(first, second) == 1.0
    assert language(name).score(second, first) == 1.0


HOSTILE = ["", "\0", "(" * 50_000, "[" * 50_000, "{" * 50_000, "A-->" * 20_000, "<b>" * 20_000,
           "a,b\n" * 40_000, "R1 1 0 9e99999\n", "1" * 5_000, "🙂" * 1000,
           "\\begin{bmatrix}" * 5000,
           '{"a":' * 20_000, "C" * 100_000, "-" * 100_000, '"' * 99_999, "&" * 100_000,
           "__import__('os').system('true')", "%%" * 50_000, "A[" * 50_000]  # fmt: skip


HOSTILE += ["flowchart TD\n" + text for text in ("A-- " + " " * 100_000, "A--" * 30_000 + "x",
            'A["' * 30_000, "A & " * 40_000, "A-->B;" * 30_000, "A-- " * 40_000)]  # fmt: skip


@pytest.mark.parametrize("name", LANGUAGES)
@pytest.mark.timeout(60)
def test_hostile_texts_are_refused_or_read_in_no_time(name):
    found = language(name)
    for text in HOSTILE:
        try:
            value = found.read(text)
        except FormalError:
            continue
        assert 0.0 <= found.compare(value, value) <= 1.0
