"""A page, or a chart, as nodes to look into."""

from html.parser import HTMLParser
from types import SimpleNamespace

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """A page as nodes (name, attributes, children), text in between. AssertionError where tags are not closed in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = SimpleNamespace(name="", attributes={}, children=[])
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        assert len({key for key, _ in attrs}) == len(attrs)
        node = SimpleNamespace(name=tag, attributes=dict(attrs), children=[])
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag):
        assert self.open.pop().name == tag

    def handle_data(self, data):
        self.open[-1].children.append(data)


def read_page(text):
    """The root of a page's nodes; every tag is closed."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def nodes(node, *names):
    """All nodes of these names (or all), in order."""
    for child in node.children:
        if not isinstance(child, str):
            if not names or child.name in names:
                yield child
            yield from nodes(child, *names)


def text_of(node):
    """The text in a node, without the tips of markers."""
    parts = (
        child if isinstance(child, str) else "" if child.name in ("title", "style") else text_of(child)
        for child in node.children
    )
    return "".join(parts)


def by_id(node, name):
    """The node of an id."""
    return next(n for n in nodes(node) if n.attributes.get("id") == name)


def table_rows(node):
    """[[cell text, …], …] of every row of every table in a node."""
    return [[text_of(cell) for cell in nodes(row, "th", "td")] for row in nodes(node, "tr")]
