"""Files that are written whole or not at all, and never in the place of a device, a FIFO or a link."""

import os
import stat
import tempfile
from pathlib import Path

from backends import launched
from minihire.runtime.errors import MinihireError


class FileError(MinihireError):
    """A file that cannot be written."""


def refuse_special(path: Path) -> None:
    """Raise FileError where a folder, a device, a FIFO or a symbolic link exists, which a regular file must not replace."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # it does not exist, or its folder cannot be read, which writing will report
        return
    if not stat.S_ISREG(mode):
        raise FileError(f"cannot write {path}, because it is not a regular file: choose another place")


def write_atomically(path: Path, write) -> None:
    """Call write(file) on a temporary file beside `path`, then rename it: a reader sees the old file or the new one.

    Of the processes that torchrun started, only the first one writes; callers need no check of their own. Raises FileError.
    """
    if launched()[0] > 0:
        return
    path = Path(path)
    refuse_special(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror or error}; choose another place or free some space"
        ) from error


def _umask():
    value = os.umask(0)
    os.umask(value)
    return value
