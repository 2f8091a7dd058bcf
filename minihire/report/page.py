"""report.html: one self-contained HTML page for one run, or for several runs side by side.

The page shows only values from results.json; it computes nothing and loads nothing from the network. A section whose values
are missing is omitted. Values are missing if the run is not finished or an older version wrote it.
"""

from pathlib import Path

from minihire.report.compare import comparison
from minihire.report.layout import GENERATOR, SavedRun
from minihire.report.single import single
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import refuse_special, write_atomically
from minihire.study.results import Results


def read(folder: Path) -> SavedRun:
    """Read the run in a folder.

    Raises MinihireError if results.json is missing, is damaged, or was written by a newer version.
    """
    return SavedRun(Path(folder), Results.load(Path(folder) / "results.json").content)


def write(path: Path, runs: list[SavedRun]) -> None:
    """Write the page of one run, or of several runs, atomically. An existing report is replaced.

    Raises MinihireError if `path` is another kind of file, if it cannot be written, and if a field of a run is unreadable.
    """
    path = Path(path)
    _refuse_other_files(path)
    content = single(runs[0]) if len(runs) == 1 else comparison(runs)
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
