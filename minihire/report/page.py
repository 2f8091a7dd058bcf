"""report.html: one self-contained page of one run, or of several side by side, made from results.json alone.

Nothing is fetched and nothing is computed but formats: whatever the page shows stands in results.json. A part that a run does
not have, since it is not finished or an older version made it, is left out.
"""

from pathlib import Path

from minihire.report.compare import comparison
from minihire.report.layout import GENERATOR, Run
from minihire.report.single import single
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import refuse_special, write_atomically
from minihire.study.results import Results


def read(folder: Path) -> Run:
    """The run in a folder. Raises MinihireError where there is none, or its results.json is damaged or newer."""
    return Run(Path(folder), Results.load(Path(folder) / "results.json").content)


def write(path: Path, runs: list[Run]) -> None:
    """Write the page of one run, or of several compared, whole or not at all; an older report is replaced.

    Raises MinihireError where another file is in the way, where it cannot be written, and for fields that cannot be read.
    """
    path = Path(path)
    _refuse_other_files(path)
    content = single(runs[0]) if len(runs) == 1 else comparison(runs)
    write_atomically(path, lambda file: file.write(content.encode("utf-8", "replace")))


def _refuse_other_files(path):
    """Raise MinihireError where something other than a report of minihire exists."""
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
