"""Builder for HTML and SVG. It escapes every string that is not Markup, so text from files cannot become markup."""

import html
from collections.abc import Iterable

VOID = {"img", "meta", "br"}


class Markup(str):
    """A string of HTML, which is not escaped again."""

    __slots__ = ()


def tag(name: str, /, *children, **attributes) -> Markup:
    """Return the element <name …>children</name>.

    children: Markup, text or numbers (escaped), None (omitted), or iterables of these.
    attributes: `class_` stands for class, and `stroke_width` for stroke-width. An attribute with value None or False is
    omitted; True writes the attribute without a value.
    """
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    given = "".join(
        f" {key}" if value is True else f' {key}="{html.escape(_text(value))}"'
        for key, value in pairs
        if value is not None and value is not False
    )
    return Markup(f"<{name}{given}>" if name in VOID else f"<{name}{given}>{join(children)}</{name}>")


def join(children, between: str = "") -> Markup:
    """Concatenate the children, with the text `between` in between."""
    return Markup(between.join(_child(child) for child in children))


def _child(child):
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, Iterable) and not isinstance(child, str | dict):
        return join(child)
    return html.escape(_text(child))


def _text(value):
    """The value as text. Floats, which are coordinates, are rounded to hundredths."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def prose(text: str) -> Markup:
    """Escape text, and print ε_s and ε_t with a subscript, as the paper does."""
    return Markup(html.escape(text).replace("ε_s", "ε<sub>s</sub>").replace("ε_t", "ε<sub>t</sub>"))


def table(header, rows, *, caption=None, class_=None) -> Markup:
    """A table in a box that scrolls horizontally. The first cell of a row is the row's header.

    header, rows: sequences of children. A cell may be a complete <td> or <th> element.
    """
    head = tag("thead", tag("tr", [_cell(cell, "th", scope="col") for cell in header]))
    body = tag(
        "tbody",
        [tag("tr", _cell(row[0], "th", scope="row"), [_cell(cell, "td") for cell in row[1:]]) for row in rows],
    )
    above = None if caption is None else tag("caption", caption)
    named = next((name for name in (caption, *header) if name and type(name) is str), "table")
    label = {"role": "region", "aria-label": named}
    return tag("div", tag("table", above, head, body, class_=class_), class_="scroll", tabindex="0", **label)


def _cell(content, name, **attributes):
    complete = isinstance(content, Markup) and content.startswith(("<td", "<th"))
    return content if complete else tag(name, content, **attributes)
