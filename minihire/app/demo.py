"""minihire demo: list the lessons of demos/, run one, or write them as notebooks.

The lessons are part of a clone of the repository, not of the installed package.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from minihire.app.command import LEARN, Command
from minihire.app.flags import add_file
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.runtime.interrupt import Interrupted


class Lesson(NamedTuple):
    """A lesson: a file in demos/. Its first line is "# # 3 · Title: question?"."""

    path: Path
    number: int
    title: str
    question: str


def lessons() -> list[Lesson]:
    """All lessons, in order. Raises MinihireError if neither this package nor the working directory is in a clone."""
    places = (Path(__file__).resolve().parents[2], Path.cwd())
    folder = next((place / "demos" for place in places if (place / "demos" / "lesson.py").is_file()), None)
    if folder is None:
        raise MinihireError(
            "the lessons are not part of the installed package: clone the repository and run `python -m minihire demo` in it"
        )
    found = []
    for path in sorted(folder.glob("[0-9][0-9]_*.py")):
        number, title, question = re.search(
            r"^# # (\d+) · (.+?): (.+)$", path.read_text("utf-8"), re.MULTILINE
        ).groups()
        found.append(Lesson(path, int(number), title, question[0].upper() + question[1:]))
    return found


def add_flags(parser):
    """Add the flags of this command to the parser."""
    parser.add_argument("lesson", nargs="?", metavar="LESSON", help="a lesson's number (default: list them)")
    parser.add_argument("--notebook", action="store_true", help="write the lesson, or all, as .ipynb instead")
    parser.add_argument("--quick", action="store_true", help="use fewer images and epochs, to see that it runs")
    add_file(parser, "--out", "folder of the figure (default: demos/figures) or notebooks (notebooks)", "DIR")


def run(options) -> None:
    """List the lessons, run one, or write notebooks. Raises MinihireError for flags that do not fit together."""
    every = lessons()
    chosen = every if options.lesson is None else [x for x in every if str(x.number) == options.lesson.lstrip("0")]
    if not chosen:
        raise MinihireError(f"there is no lesson {options.lesson!r}: choose {every[0].number} to {every[-1].number}")
    if options.notebook and options.quick:
        raise MinihireError("a notebook runs a lesson in full: leave out --quick or --notebook")
    if options.lesson is None and not options.notebook and (options.quick or options.out):
        raise MinihireError("--quick and --out are for one lesson: give its number, as in `minihire demo 1`")
    if options.notebook:
        write_notebooks(chosen, options.out or Path("notebooks"))
    elif options.lesson is None:
        width = max(len(x.title) for x in every)
        print("\n".join(f"{x.number:02d}  {x.title:<{width}}  {x.question}" for x in every))
        print("\nminihire demo 1 runs the first one, minihire demo --notebook writes them all as notebooks")
    else:
        run_lesson(chosen[0], options.quick, options.out)


def run_lesson(lesson: Lesson, quick: bool = False, out: Path | None = None) -> None:
    """Run a lesson in a separate process. Raises MinihireError if it fails, and Interrupted for Ctrl-C."""
    command = [sys.executable, str(lesson.path), *(["--quick"] if quick else []), *(["--out", str(out)] if out else [])]
    try:
        code = subprocess.run(command).returncode
    except KeyboardInterrupt:
        raise Interrupted(f"stopped lesson {lesson.number}") from None
    if code != 0:
        raise MinihireError(f"lesson {lesson.number} ended with exit code {code}; its own message is above")


def write_notebooks(chosen: list[Lesson], folder: Path) -> None:
    """Write every lesson as folder/NAME.ipynb. If one of the files exists, writes none and raises MinihireError."""
    paths = [folder / f"{lesson.path.stem}.ipynb" for lesson in chosen]
    for path in paths:
        if os.path.lexists(path):
            raise MinihireError(f"{path} exists: choose another --out, or delete it")
    for path, lesson in zip(paths, chosen, strict=True):
        text = json.dumps(notebook(lesson), indent=1, ensure_ascii=False) + "\n"
        write_atomically(path, lambda file, text=text: file.write(text.encode()))
        print(path)


def notebook(lesson: Lesson) -> dict:
    """The lesson as a notebook (nbformat 4.4). A first cell makes lesson.py importable; the `# %%` cells follow."""
    first = (
        f"import sys\n\nsys.path.insert(0, {str(lesson.path.parent)!r})  # lesson.py, and minihire from the same clone"
    )
    cells = [_cell("code", first)]
    for part in re.split(r"^# %%", lesson.path.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        kind, text = part.split("\n", 1)
        if kind.strip() == "[markdown]":
            cells.append(_cell("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip()))
        else:
            cells.append(_cell("code", text.strip()))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}


def _cell(kind, text):
    own = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True), **own}


COMMAND = Command(
    "demo",
    LEARN,
    "list the lessons of demos/, run one, or write them as notebooks",
    "[LESSON]",
    add_flags,
    run,
    "minihire demo 3",
)
