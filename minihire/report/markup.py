"""HTML and SVG put together from pieces: everything that is not Markup already is escaped, so text from files stays text."""

import html
from collections.abc import Iterable

VOID = {"img", "meta", "br"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children, **attributes) -> Markup:
    """<name …>children</name>. Children: Markup, text or a number (escaped), None (nothing), or an iterable of these.

    Attributes: `class_` is class, `stroke_width` stroke-width; None and False are left out, True has no value.
    """
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    given = "".join(
        f" {key}" if value is True else f' {key}="{html.escape(_text(value))}"'
        for key, value in pairs
        if value is not None and value is not False
    )
    return Markup(f"<{name}{given}>" if name in VOID else f"<{name}{given}>{join(children)}</{name}>")


def join(children, between: str = "") -> Markup:
    """The children one after another."""
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
    """Coordinates to a hundredth."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def prose(text: str) -> Markup:
    """Text with the paper's two indexed symbols as they are printed."""
    return Markup(html.escape(text).replace("ε_s", "ε<sub>s</sub>").replace("ε_t", "ε<sub>t</sub>"))


def table(header, rows, *, caption=None, class_=None) -> Markup:
    """A table in a box that scrolls by itself; the first cell of a row is its header.

    header, rows: sequences of children; a cell may be a ready <td> or <th>.
    """
    head = tag("thead", tag("tr", [_cell(cell, "th", scope="col") for cell in header]))
    body = tag(
        "tbody",
        [tag("tr", _cell(row[0], "th", scope="row"), [_cell(cell, "td") for cell in row[1:]]) for row in rows],
    )
    above = None if caption is None else tag("caption", caption)
    return tag("div", tag("table", above, head, body, class_=class_), class_="scroll", tabindex="0")


def _cell(content, name, **attributes):
    ready = isinstance(content, Markup) and content.startswith(("<td", "<th"))
    return content if ready else tag(name, content, **attributes)
