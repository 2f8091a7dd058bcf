"""minihire report: the page of one run, or of several side by side."""

from minihire.app.command import WHOLE, Command
from minihire.app.flags import add_file
from minihire.report import page
from minihire.runtime.errors import MinihireError


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "folders", "a run's folder, which holds its results.json", "DIR", nargs="+")
    add_file(parser, "--out", "page to write (default, for one run: DIR/report.html)")


def run(options) -> None:
    """Write the page. An existing report is replaced; another kind of file raises MinihireError."""
    if len(options.folders) > 1 and not options.out:
        raise MinihireError("several runs on one page need a file for it: give --out FILE")
    path = options.out or options.folders[0] / "report.html"
    page.write(path, [page.read(folder) for folder in options.folders])
    print(path)


COMMAND = Command(
    "report",
    WHOLE,
    "one page of a run, or of several side by side",
    "DIR [DIR …]",
    add_flags,
    run,
    "minihire report runs/mini runs/mini-2 --out compare.html",
)
