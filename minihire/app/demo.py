"""minihire demo: list the lessons of demos/, run one, write and check its exercise, or write lessons as notebooks.

The lessons are part of a clone of the repository, not of the installed package.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from minihire.app import exercises
from minihire.app.command import LEARN, Command
from minihire.app.flags import add_file
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically
from minihire.runtime.interrupt import Interrupted

FIND_THE_CLONE = """\
import importlib.util
import sys
from pathlib import Path

installed = importlib.util.find_spec("minihire")  # by `pip install -e .` in the clone
places = [Path.cwd(), *Path.cwd().parents, *([Path(installed.origin).parents[1]] if installed else [])]
clone = next((place for place in places if (place / "demos" / "lesson.py").is_file()), None)
if clone is None:
    raise SystemExit("The lessons need a clone of the repository: move this notebook into it, or run `pip install -e .` there.")
sys.path.insert(0, str(clone / "demos"))  # lesson.py, and minihire from the same clone"""


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
    parser.add_argument("--stub", action="store_true", help="write the lesson's exercise, exercise_LESSON.py")
    add_file(parser, "--check", "check your solution of the lesson's exercise", "FILE.py")
    where = "folder of the figure (default: demos/figures), notebooks (notebooks) or exercise (this folder)"
    add_file(parser, "--out", where, "DIR")


def run(options) -> None:
    """List the lessons, run one, or write notebooks. Raises MinihireError for flags that do not fit together."""
    every = lessons()
    chosen = every if options.lesson is None else [x for x in every if str(x.number) == options.lesson.lstrip("0")]
    if not chosen:
        raise MinihireError(f"there is no lesson {options.lesson!r}: choose {every[0].number} to {every[-1].number}")
    _refuse_combinations(options)
    if options.notebook:
        write_notebooks(chosen, options.out or Path("notebooks"))
    elif options.stub:
        write_stub(chosen[0], options.out or Path())
    elif options.check:
        exercises.check(_with_exercise(chosen[0]).number, options.check)
    elif options.lesson is None:
        width = max(len(x.title) for x in every)
        print("\n".join(f"{x.number:02d}  {x.title:<{width}}  {x.question}" for x in every))
        print("\nminihire demo 1 runs the first one, minihire demo --notebook writes them all as notebooks")
    else:
        run_lesson(chosen[0], options.quick, options.out)


def _refuse_combinations(options):
    """Raise MinihireError for flags that do not fit together."""
    modes = [flag for flag in ("--notebook", "--stub", "--check") if getattr(options, flag[2:])]
    if len(modes) > 1:
        raise MinihireError(f"{' and '.join(modes)} are different things to do: leave out all but one")
    if modes and options.quick:
        raise MinihireError(f"--quick is for running a lesson: leave out --quick or {modes[0]}")
    if options.check and options.out:
        raise MinihireError("--check writes no file: leave out --out")
    if options.lesson is None and not options.notebook and (options.quick or options.out or modes):
        flags = "--quick and --out are" if not modes else f"{modes[0]} is"
        raise MinihireError(f"{flags} for one lesson: give its number, as in `minihire demo 1`")


def _with_exercise(lesson: Lesson) -> Lesson:
    """The lesson. Raises MinihireError if it has no exercise to fill in."""
    if lesson.number not in exercises.EXERCISES:
        numbers = [str(number) for number in exercises.EXERCISES]
        raise MinihireError(
            f"lesson {lesson.number} has no exercise to fill in: lessons {', '.join(numbers[:-1])} and {numbers[-1]} have one"
        )
    return lesson


def write_stub(lesson: Lesson, folder: Path) -> None:
    """Copy the lesson's exercise to folder/exercise_NUMBER.py. Raises MinihireError if the file exists."""
    function = exercises.EXERCISES[_with_exercise(lesson).number].function
    path = folder / f"exercise_{lesson.number}.py"
    if os.path.lexists(path):
        raise MinihireError(f"{path} exists: choose another --out, or delete it")
    text = (lesson.path.parent / "stubs" / f"{lesson.number:02d}_{function}.py").read_bytes()
    write_atomically(path, lambda file: file.write(text))
    print(f"{path}: write the body of {function}, then run `minihire demo {lesson.number} --check {path}`")


def run_lesson(lesson: Lesson, quick: bool = False, out: Path | None = None) -> None:
    """Run a lesson in a separate process. Raises MinihireError if it fails, and Interrupted for Ctrl-C."""
    command = [sys.executable, str(lesson.path), *(["--quick"] if quick else []), *(["--out", str(out)] if out else [])]
    try:
        code = subprocess.run(command).returncode
    except KeyboardInterrupt:
        raise Interrupted(f"stopped lesson {lesson.number}") from None
    if code not in (0, -getattr(signal, "SIGPIPE", 0)):  # SIGPIPE: the reader of a pipe, such as `head`, wants no more
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
    """The lesson as a notebook (nbformat 4.4). A first cell finds the clone; the `# %%` cells follow."""
    cells = [_cell("code", FIND_THE_CLONE)]
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
    "list or run the lessons, check an exercise, write notebooks",
    "[LESSON]",
    add_flags,
    run,
    """minihire demo 3
  minihire demo 3 --stub
  minihire demo 3 --check exercise_3.py""",
)
