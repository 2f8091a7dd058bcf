"""Self-contained HTML pages: report.html of one run, several runs side by side, and results of `minihire attack --suite`.

A page shows only values from results files; it computes nothing and loads nothing from the network. A section whose values
are missing is omitted. Values are missing if the run is not finished or an older version wrote it.
"""

from collections.abc import Sequence
from pathlib import Path

from minihire.report.compare import comparison
from minihire.report.layout import GENERATOR, SavedRun, SavedSuite
from minihire.report.single import single
from minihire.report.suite_page import suite_page
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import refuse_special, write_atomically
from minihire.study.results import Results, load_suite


def read(path: Path) -> SavedRun | SavedSuite:
    """Read the run in a folder, or a file that `minihire attack --suite … --json FILE` wrote.

    Raises MinihireError if the file (of a run: results.json) is missing or damaged, is of another kind, or was written by a
    newer version.
    """
    if Path(path).is_file():
        return SavedSuite(Path(path), load_suite(path))
    if Path(path).is_dir() and not (Path(path) / "results.json").exists():
        raise MinihireError(
            f"the folder {path} is not that of a run, because it has no results.json: give one that minihire run wrote, "
            "such as runs/mini"
        )
    return SavedRun(Path(path), Results.load(Path(path) / "results.json").content)


def write(path: Path, saved: Sequence[SavedRun | SavedSuite]) -> None:
    """Write the page of one or several runs, or of one or several suites, atomically. An existing report is replaced.

    Raises MinihireError if `path` is another kind of file or cannot be written, if a field of the results is unreadable, and for
    runs and suites together.
    """
    path = Path(path)
    _refuse_other_files(path)
    suites = [one for one in saved if isinstance(one, SavedSuite)]
    runs = [one for one in saved if isinstance(one, SavedRun)]
    if suites and runs:
        raise MinihireError(
            f"{suites[0].file} is the result of a suite and {runs[0].folder} is a run, which have different pages: give only "
            "runs, or only results of suites"
        )
    content = suite_page(suites) if suites else single(runs[0]) if len(runs) == 1 else comparison(runs)
    write_atomically(path, lambda file: file.write(content.encode("utf-8", "replace")))


def _refuse_other_files(path):
    """Raise MinihireError if the file exists and is not a report of minihire."""
    refuse_special(path)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            ours = f'content="{GENERATOR}"' in file.read(600)
    except FileNotFoundError:
        return
    except OSError as error:
        raise MinihireError(f"cannot write {path}: {error.strerror}; choose another --out") from error
    if not ours:
        raise MinihireError(f"{path} exists and is not a report of minihire: choose another --out")
