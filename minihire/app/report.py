"""minihire report: the page of one run, of several side by side, or of suites of attacks."""

from minihire.app.command import WHOLE, Command
from minihire.app.flags import add_file
from minihire.report import page
from minihire.runtime.errors import MinihireError


def add_flags(parser):
    """Add the flags of this command to the parser."""
    text = "a run's folder, or the JSON file of minihire attack --suite"
    add_file(parser, "paths", text, "DIR|FILE", nargs="+")
    add_file(parser, "--out", "page to write (default, for one: DIR/report.html or FILE.html)")


def run(options) -> None:
    """Write the page. An existing report is replaced; another kind of file raises MinihireError."""
    first, *others = options.paths
    if others and not options.out:
        raise MinihireError("several runs or suites on one page need a file for it: give --out FILE")
    for one in options.paths:
        if not one.exists():
            raise MinihireError(
                f"there is no {one}: give a run's folder, or the file of minihire attack --suite … --json"
            )
    beside = first.with_suffix(".html") if first.is_file() else first / "report.html"
    path = options.out or beside
    page.write(path, [page.read(one) for one in options.paths])
    print(path)


COMMAND = Command(
    "report",
    WHOLE,
    "one page of a run, of several, or of attack suites",
    "DIR|FILE [DIR|FILE …]",
    add_flags,
    run,
    """minihire report runs/mini runs/mini-2 --out compare.html
  minihire report hire.json traditional.json --out robustness.html""",
)
