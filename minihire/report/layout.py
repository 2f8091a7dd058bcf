"""The frame and style of every page, and the error message for an unreadable field of results.json."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from minihire.report.marks import COLOURS, COLOURS_ON_DARK, OTHER_COLOUR
from minihire.report.markup import Markup, tag
from minihire.runtime.errors import MinihireError

GENERATOR = "minihire report"


class SavedRun(NamedTuple):
    """A run to show: its folder, as the user gave it, and the content of its results.json."""

    folder: Path
    results: dict

    @property
    def file(self) -> Path:
        """The file of the results."""
        return self.folder / "results.json"


class SavedSuite(NamedTuple):
    """A result of `minihire attack --suite` to show: its file, as the user gave it, and the content."""

    file: Path
    results: dict


def guarded(run: SavedRun | SavedSuite, part: str, make):
    """Return make(run.results). Raises MinihireError, naming the file and the `part` of the page, if a field is unreadable."""
    try:
        return make(run.results)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise MinihireError(
            f"{run.file} has a field that cannot be read, in the part “{part}” ({cause[:120]})"
        ) from error


def document(title: str, *body, source: str = "results.json") -> str:
    """A complete HTML document. source: the file from which the page is made, named in the footer."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=GENERATOR),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", _style()),
    )
    foot = tag(
        "footer",
        f"Made from {source} by minihire. HIRE-SNN: S. Kundu, M. Pedram and P. A. Beerel, ICCV 2021, ",
        tag("a", "arXiv:2110.11417", href="https://arxiv.org/abs/2110.11417"),
        ".",
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', body, foot), lang='en')}\n"


@cache
def _style():
    """The CSS variables and classes of the networks' colours, followed by style.css."""
    light = "".join(f"--{name}:{colour};" for name, colour in (*COLOURS.items(), ("other", OTHER_COLOUR)))
    dark = "".join(f"--{name}:{colour};" for name, colour in COLOURS_ON_DARK.items())
    classes = "".join(f".s-{name}{{--c:var(--{name})}}" for name in (*COLOURS, "other"))
    given = f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{classes}\n"
    return Markup(given + (files("minihire.report") / "style.css").read_text(encoding="utf-8"))
