"""Files that appear whole or not at all."""

import os
import tempfile
from pathlib import Path

from backends import launched
from minihire.runtime.errors import MinihireError


class FileError(MinihireError):
    """A file that cannot be written."""


def write_atomically(path: Path, write) -> None:
    """Call write(file) on a temporary file beside `path`, then rename it: a reader sees the old file or the new one.

    Of processes that torchrun started only the first one writes; here, so that no other place need know.
    """
    if launched()[0] > 0:
        return
    path = Path(path)
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
