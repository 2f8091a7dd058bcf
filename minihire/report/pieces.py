"""Small pieces that the page's sections share: a network's name, legends, charts side by side, notes, folded parts."""

from minihire.report import charts
from minihire.report.markup import Markup, join, tag
from minihire.report.words import network_name

ATTACKS = {"none": "clean", "fgsm": "FGSM", "pgd": "PGD"}


def network(name: str) -> Markup:
    """A network's marker and title."""
    return tag("span", charts.key(name.removeprefix("second ")), network_name(name), class_="network")


def legend(names) -> Markup:
    """The markers of several networks."""
    return tag("ul", [tag("li", network(name)) for name in names], class_="legend")


def grid(*drawings) -> Markup:
    """Charts side by side, as many as fit."""
    return tag("div", drawings, class_="charts")


def note(*children) -> Markup:
    """A short paragraph in small type."""
    return tag("p", children, class_="note")


def typed(command: str) -> Markup:
    """A command in running text, which breaks between its words only."""
    return tag("code", join([tag("span", word) for word in command.split(" ")], " "), class_="typed")


def details(summary, *children) -> Markup:
    """Something folded."""
    return tag("details", tag("summary", summary), children)
