"""Atomic writing of files: a reader sees the old file or the complete new one."""

import os
import stat
import tempfile
from pathlib import Path

from backends import torchrun_rank
from minihire.runtime.errors import MinihireError


class FileError(MinihireError):
    """A file that cannot be written."""


def refuse_special(path: Path) -> None:
    """Raise FileError if `path` is a folder, a device, a FIFO or a symbolic link, which must not be replaced."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # the path does not exist, or writing will report why it cannot be read
        return
    if not stat.S_ISREG(mode):
        raise FileError(f"cannot write {path}, because it is not a regular file: choose another place")


def write_atomically(path: Path, write) -> None:
    """Call write(file) on a temporary file in the same folder, then rename it to `path`.

    Only the first of the processes that torchrun started writes, so callers need not check the rank. Raises FileError if the
    file cannot be written.
    """
    if torchrun_rank()[0] > 0:
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
