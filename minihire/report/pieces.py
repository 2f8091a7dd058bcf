"""Small parts that several sections use: network names, legends, chart grids, notes, folded blocks."""

from minihire.report import charts
from minihire.report.markup import Markup, join, tag
from minihire.report.words import network_name


def network(name: str) -> Markup:
    """A network's marker and title."""
    return tag("span", charts.legend_marker(name.removeprefix("second ")), network_name(name), class_="network")


def legend(names) -> Markup:
    """A legend: markers and titles of several networks."""
    return tag("ul", [tag("li", network(name)) for name in names], class_="legend")


def grid(*drawings) -> Markup:
    """Charts side by side; as many as fit in a row."""
    return tag("div", drawings, class_="charts")


def note(*children) -> Markup:
    """A short paragraph in small type."""
    return tag("p", children, class_="note")


def command_text(command: str) -> Markup:
    """A command in running text. Lines break only between its words."""
    return tag("code", join([tag("span", word) for word in command.split(" ")], " "), class_="typed")


def details(summary, *children) -> Markup:
    """A folded block with a visible summary."""
    return tag("details", tag("summary", summary), children)
