"""HTML as a tree: pages and tables. html5lib (extra `formal`) parses it as browsers do.

What the parser of the standard repairs is an error here: an element that is not closed, a stray
end tag. Attributes are no part of the tree, but for rowspan and colspan; scripts, styles and
comments are left out.
"""

from typing import Any, NamedTuple

from onevision_jax.formal.errors import FormalError
from onevision_jax.formal.extra import need
from onevision_jax.formal.table import Table, make_table
from onevision_jax.formal.tree import Node, similarity

MAX_NODES = 2000
MAX_DEPTH = 60
# A page may begin without its type.
_PERMITTED = ("expected-doctype",)
_LEFT_OUT = ("script", "style", "template", "noscript", "head", "title", "meta", "link")
_VOID = ("br", "hr", "img", "input", "area", "base", "col", "embed", "source", "track", "wbr")


class Page(NamedTuple):
    """The body's elements under one root."""

    root: Node


def parse_html(text: str) -> Page:
    """Raises FormalError with the line at fault."""
    html5lib = need("html5lib", "reading HTML")
    constants = need("html5lib.constants", "reading HTML")
    parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False)
    document = parser.parse(text)
    for (line, _), code, data in parser.errors:
        if not code.startswith(_PERMITTED):
            message = constants.E.get(code, code)
            raise FormalError(_message(message, data), line)
    body = document.find("body")
    root = _node(body, 0) if body is not None else Node("body", "", ())
    if not root.children and not root.text:
        raise FormalError("the page is empty")
    if root.size() > MAX_NODES:
        raise FormalError(f"the page has {root.size()} elements, at most {MAX_NODES} are read")
    return Page(root)


def write_html(page: Page) -> str:
    """An element after the other, without attributes and spaces."""
    return "".join(_write(child) for child in page.root.children) or _escape(page.root.text)


def compare_html(a: Page, b: Page) -> float:
    """1 - tree edit distance / size of the larger (TEDS, arXiv 1911.10683)."""
    return similarity(a.root, b.root)


def table_of_html(text: str) -> Table:
    """The only table of a page, for `compare_tables`; raises FormalError where it is none."""
    tables = [node for node in parse_html(text).root.walk() if node.tag == "table"]
    if len(tables) != 1:
        raise FormalError(f"expected one table, found {len(tables)}")
    rows = [node for node in tables[0].walk() if node.tag == "tr"]
    cells = [[cell for cell in row.children if cell.tag in ("td", "th")] for row in rows]
    return make_table([[cell.words() for cell in row] for row in cells])


def _message(message: str, data: Any) -> str:
    try:
        return message % data if data else message
    except (KeyError, TypeError, ValueError):
        return message


def _node(element: Any, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise FormalError(f"elements stand more than {MAX_DEPTH} deep")
    children: list[Node] = []
    _add_words(children, element.text)
    for child in element:
        # Comments have a function for a tag.
        if isinstance(child.tag, str) and child.tag not in _LEFT_OUT:
            children.append(_node(child, depth + 1))
        _add_words(children, child.tail)
    spans = [
        f"{name}={element.get(name)}"
        for name in ("colspan", "rowspan")
        if element.get(name, "1") != "1"
    ]
    tag = " ".join([element.tag, *spans])
    if len(children) == 1 and children[0].tag == "#text":
        return Node(tag, children[0].text, ())
    return Node(tag, "", tuple(children))


def _add_words(children: list[Node], text: str | None) -> None:
    if words := " ".join((text or "").split()):
        children.append(Node("#text", words, ()))


def _write(node: Node) -> str:
    if node.tag == "#text":
        return _escape(node.text)
    name, *spans = node.tag.split()
    attributes = "".join(f' {part.replace("=", chr(61) + chr(34))}"' for part in spans)
    if name in _VOID:
        return f"<{name}{attributes}>"
    inside = _escape(node.text) + "".join(map(_write, node.children))
    return f"<{name}{attributes}>{inside}</{name}>"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
