"""Each score falls, strictly, with every further fault; and it sees what a naive one would not."""

import itertools
import random

import networkx
import pytest

from onevision_jax.data.synthetic import make_record
from onevision_jax.formal import LANGUAGES
from onevision_jax.formal.cell import count_same, read_number, same_cell
from onevision_jax.formal.graph import Edge, Graph, compare_graphs
from onevision_jax.formal.tree import Node, similarity
from onevision_jax.formal.wording import character_error_rate, edit_distance


def strictly_falls(name, texts):
    scores = [LANGUAGES[name].score(text, texts[0]) for text in texts]
    assert scores[0] == 1.0
    assert all(a > b for a, b in itertools.pairwise(scores)), scores
    return scores


def test_wrong_cells():
    rows = [
        ["year", "A", "B", "C"],
        *([str(2000 + n), f"{n + 1}0", f"{n + 3}1", "x"] for n in range(4)),
    ]
    texts = []
    for count in range(9):
        texts.append("\n".join(",".join(row) for row in rows))
        row, column = 1 + count % 4, 1 + count // 4
        rows[row][column] = "999"
    scores = strictly_falls("csv", texts)
    assert scores[1] == pytest.approx(1 - 1 / 20)  # 12 cells, 3 + 4 names and the corner.


def test_a_wrong_name_costs_its_column():
    good = "t,A,B\n1,5,6\n2,7,8"
    assert LANGUAGES["csv"].score(good.replace("A", "Z"), good) == pytest.approx(1 - 3 / 9)


def test_wrong_edges_and_labels():
    base = make_record("flowcharts", 1, 0, 3).formal_text
    lines = base.split("\n")
    arrows = [n for n, line in enumerate(lines) if "-->" in line]
    texts = [base]
    for place in arrows[:4]:
        lines[place] = "%%"
        texts.append("\n".join(lines))
    strictly_falls("mermaid", texts)
    turned = base.replace("|yes|", "|?|").replace("|no|", "|yes|").replace("|?|", "|no|")
    assert LANGUAGES["mermaid"].score(turned, base) < 1


@pytest.mark.parametrize("name", ["circuits", "pedigrees", "foodwebs", "matrices", "scenes"])
def test_wrong_lines_of_other_families(name):
    """One number or word after the other replaced."""
    rng = random.Random(3)
    record = make_record(name, 2, 1, 3)
    language = {"circuits": "spice", "pedigrees": "ped", "foodwebs": "mermaid",
                "matrices": "latex", "scenes": "scene_json"}[name]  # fmt: skip
    texts, text = [record.formal_text], record.formal_text
    for _ in range(3):
        text = WRONG[name](text, rng)
        texts.append(text)
    strictly_falls(language, texts)


def _wrong_value(text, rng):
    lines = text.split("\n")
    place = rng.choice([n for n, line in enumerate(lines) if not line.endswith("777")])
    lines[place] = lines[place].rsplit(" ", 1)[0] + " 777"
    return "\n".join(lines)


def _wrong_trait(text, rng):
    """Everybody's sex and trait are few kinds: people are made unlike, with parents taken away."""
    lines = text.split("\n")
    place = rng.choice([n for n, line in enumerate(lines) if line.split()[1] != "0"])
    words = lines[place].split()
    lines[place] = " ".join([words[0], "0", "0", *words[3:]])
    return "\n".join(lines)


def _drop_arrow(text, rng):
    lines = text.split("\n")
    del lines[rng.choice([n for n, line in enumerate(lines) if "-->" in line])]
    return "\n".join(lines)


def _wrong_entry(text, rng):
    head, tail = text.split("{bmatrix}", 1)
    entries = tail.split("&")
    place = rng.choice([n for n, part in enumerate(entries) if "888" not in part])
    part = entries[place]
    digits = [n for n, letter in enumerate(part) if letter.isdigit()]
    entries[place] = part[: digits[0]] + "888" + part[digits[0] + 1 :]
    return head + "{bmatrix}" + "&".join(entries)


def _drop_box(text, rng):
    boxes = text[1:-1].split("},{")
    del boxes[rng.randrange(1, len(boxes) - 1)]
    return "[" + "},{".join(boxes) + "]"


WRONG = {"circuits": _wrong_value, "pedigrees": _wrong_trait, "foodwebs": _drop_arrow,
         "matrices": _wrong_entry, "scenes": _drop_box}  # fmt: skip


def test_boxes_are_paired_one_to_one():
    """A second box on the same object earns nothing."""
    good = '[{"ball":[0,0,10,10]},{"ball":[20,0,30,10]}]'
    twice = '[{"ball":[0,0,10,10]},{"ball":[0,0,10,10]}]'
    score = LANGUAGES["scene_json"].score
    assert score(twice, good) == 0.5
    moved = [good.replace("0,0,10,10", f"{n},0,{10 + n},10") for n in range(6)]
    strictly_falls("scene_json", moved)
    assert score('[{"ball":[0,0,10,10]},{"cube":[20,0,30,10]}]', good) == 0.5


def test_logic_forms_lose_what_is_wrong():
    base = make_record("geometry", 1, 2, 2).formal_text.split("\n")
    texts = ["\n".join(base[: len(base) - n]) for n in range(min(4, len(base)))]
    strictly_falls("logic_form", texts)
    # Saying it twice earns nothing.
    text = "\n".join(base)
    assert LANGUAGES["logic_form"].score(text + "\n" + base[1], text) == 1.0


def test_pages_fall_with_every_wrong_cell():
    pytest.importorskip("html5lib")
    cells = [[f"{row}{column}" for column in "abc"] for row in range(4)]
    texts = []
    for count in range(7):
        rows = "".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells
        )
        texts.append(f"<table><tbody>{rows}</tbody></table>")
        cells[count % 4][count // 4] = "zzzz"
    strictly_falls("html", texts)


def test_pieces_on_wrong_squares():
    pytest.importorskip("chess")
    texts = ["rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1",
             "rnbqkbnr/pppppppp/8/8/8/7P/PPPPPPP1/RNBQKBNR w KQkq - 0 1",
             "rnbqkbnr/pppppppp/8/8/8/6PP/PPPPPP2/RNBQKBNR w KQkq - 0 1",
             "rnbqkbnr/pppppppp/8/8/8/5PPP/PPPPP3/RNBQKBNR w KQkq - 0 1"]  # fmt: skip
    strictly_falls("fen", texts)


def test_letters_that_differ():
    text = "The quick brown fox"
    strictly_falls(
        "text", [text, text.replace("quick", "quack"), text.replace("quick", "slow"), "no"]
    )


@pytest.mark.parametrize("seed", range(30))
def test_isomorphic_graphs_score_one_and_others_do_not(seed):
    """Against networkx, on graphs of few labels, some very regular."""
    rng = random.Random(seed)
    size = rng.randrange(3, 14)
    if seed % 3:
        labels = [rng.choice("ab") for _ in range(size)]
        pairs = [(i, j) for i in range(size) for j in range(size) if i != j and rng.random() < 0.25]
    else:  # A ring, or two: colours alone cannot tell.
        labels, size = ["a"] * 6, 6
        pairs = [(i, (i + 1) % 6) for i in range(6)]
    graph = Graph(tuple(labels), tuple(Edge(i, j) for i, j in pairs))
    order = list(range(size))
    rng.shuffle(order)
    renamed = Graph(
        tuple(labels[order.index(n)] for n in range(size)),
        tuple(sorted(Edge(order[i], order[j]) for i, j in pairs)),
    )
    assert compare_graphs(graph, renamed) == 1.0
    if not pairs:
        return
    broken = (*renamed.edges[:-1], renamed.edges[-1]._replace(stop=rng.randrange(size)))
    other = renamed._replace(edges=broken)

    def as_networkx(g):
        made = networkx.MultiDiGraph()
        made.add_nodes_from((n, {"label": label}) for n, label in enumerate(g.labels))
        made.add_edges_from((edge.start, edge.stop) for edge in g.edges)
        return made

    same = networkx.is_isomorphic(
        as_networkx(graph), as_networkx(other), node_match=lambda a, b: a == b
    )
    score = compare_graphs(graph, other)
    assert (score == 1.0) == same
    assert score == compare_graphs(other, graph)
    # One edge is wrong: no more than that is lost, if the best mapping is found.
    assert score >= 1 - 2 / (size + len(pairs))


def test_two_rings_are_not_one():
    one = Graph(("a",) * 6, tuple(Edge(i, (i + 1) % 6) for i in range(6)))
    two = Graph(
        ("a",) * 6, tuple(Edge(3 * (i // 3) + i % 3, 3 * (i // 3) + (i + 1) % 3) for i in range(6))
    )
    assert 0.5 < compare_graphs(one, two) < 1


@pytest.mark.timeout(60)
def test_the_largest_regular_graphs_are_compared_in_bounded_time():
    size = 200
    ring = Graph(
        ("a",) * size, tuple(Edge(i, (i + k) % size) for i in range(size) for k in (1, 3, 7, 11))
    )
    other = Graph(
        ("a",) * size, tuple(Edge(i, (i + k) % size) for i in range(size) for k in (1, 3, 7, 12))
    )
    assert 0 < compare_graphs(ring, other) < 1


@pytest.mark.timeout(60)
def test_large_trees_are_compared_in_bounded_time():
    leaf = tuple(Node("td", str(n), ()) for n in range(40))
    big = Node("body", "", tuple(Node("tr", "", leaf) for _ in range(40)))
    less = Node("body", "", big.children[:-1])
    assert similarity(big, big) == 1.0
    assert 0.9 < similarity(big, less) < 1


@pytest.mark.parametrize("seed", range(20))
def test_edit_distance_equals_the_table(seed):
    rng = random.Random(seed)
    a, b = ("".join(rng.choice("abc") for _ in range(rng.randrange(0, 90))) for _ in range(2))
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        new = [i]
        for j, y in enumerate(b, 1):
            new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (x != y)))
        row = new
    assert edit_distance(a, b) == row[-1]


def test_error_rate_may_pass_one():
    assert character_error_rate("abcdef", "ab") == 2.0


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,234.5", (1234.5, "")), ("−3 %", (-3.0, "%")), ("$7", (7.0, "$")), (".5", (0.5, "")),
     ("1e3", (1000.0, "")), ("1,2", None), ("x", None), ("-", None), ("1e999", None)],
)  # fmt: skip
def test_numbers(text, value):
    assert read_number(text) == value


def test_tolerance_is_relative_and_of_one_unit():
    assert same_cell("100", "101")
    assert not same_cell("100", "102")
    assert not same_cell("5", "5%")
    assert count_same(["100", "101"], ["101", "102"]) == 2
    assert count_same(["100", "100"], ["100", "200"]) == 1
