"""The outputs of the commands: JSON and CSV files, which a command may overwrite, and files that must not exist yet."""

import argparse
import contextlib
import csv
import io
import json
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from backends import torchrun_rank
from minihire.app.flags import flag_of
from minihire.interop.description import ExchangeWarning
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import require_writable, utf8, write_atomically
from minihire.runtime.terminal import RED, YELLOW, escaped, styled

STDOUT = Path("-")  # --json -: print only JSON on standard output
OUTPUTS = ("json", "csv", "save_images")  # flags of which one command may have several
START = 1024  # bytes of a JSON file that are read to see which command wrote it; "command" is its first key
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # the first character of a formula in a spreadsheet


def json_path(options: argparse.Namespace) -> Path | None:
    """The file of --json, or None if there is none or it is standard output.

    Raises MinihireError if the file exists and another command or program wrote it, if it cannot be written, and if another flag
    names the same file.
    """
    path = _own_json(options)
    _refuse_same_file(options)
    if path is not None:
        require_writable(path)
    return path


def _refuse_same_file(options):
    """Raise MinihireError if two flags name the same output."""
    flags: dict[Path, str] = {}
    for name in OUTPUTS:
        path = getattr(options, name, None)
        if path in (None, STDOUT):
            continue
        other = flags.setdefault(Path(os.path.realpath(path)), name)
        if other != name:
            raise MinihireError(
                f"{flag_of(other)} and {flag_of(name)} both name {path}: give each of them a file of its own"
            )


def _own_json(options):
    """The file of --json, or None. Raises MinihireError if the file exists and another command or program wrote it."""
    path = options.json
    if path in (None, STDOUT):
        return None
    if os.path.lexists(path):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise MinihireError(f"--json cannot replace {path}, which is not a regular file: give another file, or -")
        if not _written_by(options.name, path):
            raise MinihireError(
                f"{path} exists, and `minihire {options.name} --json` did not write it: give another file, or delete it"
            )
    return path


def _written_by(command, path):
    try:
        with path.open("rb") as file:
            start = file.read(START).decode("utf-8", "replace")
    except OSError:
        return False
    return re.match(rf'\s*{{\s*"command"\s*:\s*"{re.escape(command)}"', start) is not None


def csv_path(options: argparse.Namespace, columns: list[str]) -> Path | None:
    """The file of --csv. columns: the names of the first columns, by which a file of the same command is recognised.

    Raises MinihireError for standard output, if the file exists and another command or program wrote it, and if it cannot be
    written.
    """
    path = options.csv
    if path == STDOUT:
        raise MinihireError("--csv needs a file, not -: use --json - to print on standard output")
    if path is None:
        return None
    if os.path.lexists(path):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise MinihireError(f"--csv cannot replace {path}, which is not a regular file: give another file")
        if not _begins_with(path, ",".join(columns).encode()):
            raise MinihireError(
                f"{path} exists, and `minihire {options.name} --csv` did not write it: give another file, or delete it"
            )
    require_writable(path)
    return path


def _begins_with(path, text):
    try:
        with path.open("rb") as file:
            return file.read(len(text)) == text
    except OSError:
        return False


def write_csv(options: argparse.Namespace, columns: list[str], rows: Iterable[list]) -> None:
    """Write the rows, of which the first has the names of the columns, to --csv FILE, if it was given.

    columns and errors: those of `csv_path`, because another program may have written the file in the meantime.
    """
    if csv_path(options, columns) is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*map(_not_a_formula, row)] for row in rows)
        write_atomically(options.csv, lambda file: file.write(utf8(text.getvalue())))


def _not_a_formula(cell):
    """The cell, with ' before a text that a spreadsheet would take for a formula and run: names of files come from anywhere."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def show_and_write(options: argparse.Namespace, content: dict, text: str) -> None:
    """Print the text and the sentences in content["warnings"], and write the content to --json FILE.

    With --json -, print only the content. The text is printed first, so that it is not lost if the file cannot be written.
    """
    to_stdout = options.json == STDOUT  # which escapes control characters in its own way, and may have another encoding
    written = json.dumps({"command": options.name, **content}, indent=1, ensure_ascii=to_stdout, allow_nan=False)
    if to_stdout:
        print(written)
    else:
        print(text, end="\n" if text else "")
        print_warnings(content.get("warnings", ()))
    path = _own_json(options)  # again, because another program may have written the file in the meantime
    if path is not None:
        write_atomically(path, lambda file: file.write(utf8(written)))


def tell(sentence: str) -> None:
    """Print on standard error what is wrong and, for torchrun, in which process."""
    rank = torchrun_rank()[0]
    name = styled(f"minihire{f' (process {rank})' if rank else ''}:", RED, sys.stderr)
    print(f"{name} {escaped(sentence)}", file=sys.stderr)


def refuse_errors(sentences: Iterable[str], count: int) -> None:
    """Raise MinihireError if there are sentences: about those of `count` paths that cannot be read. Prints each on a line."""
    sentences = list(sentences)
    if len(sentences) == 1:
        raise MinihireError(sentences[0])
    for sentence in sentences:
        tell(sentence)
    if sentences:
        others = "" if len(sentences) == count else "; the results of the others are complete"
        raise MinihireError(f"{len(sentences):,} of {count:,} files or folders cannot be read{others}")


def print_warnings(sentences: Iterable[str]) -> None:
    """Print warnings on standard output, also with --quiet."""
    for sentence in sentences:
        print(styled(f"warning: {sentence}", YELLOW, sys.stdout))


@contextlib.contextmanager
def exchange_warnings() -> Iterator[None]:
    """Print what the package `interop` warns about inside the context as sentences of the program, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ExchangeWarning)
        yield
    print_warnings(dict.fromkeys(str(warning.message) for warning in caught if warning.category is ExchangeWarning))


def require_absent(path: Path) -> Path:
    """Return the path of a file that does not exist yet. Raises MinihireError if it exists, or cannot be written."""
    if os.path.lexists(path):
        raise MinihireError(f"{path} exists: choose another --out")
    require_writable(path)
    return path


def output_path(source: Path, out: Path | None, suffix: str) -> Path:
    """The file to write: --out, or the source's name with another suffix. It is checked as by `require_absent`."""
    return require_absent(out or source.with_suffix(suffix))
