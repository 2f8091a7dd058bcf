"""Safe reading and atomic writing of files: a reader sees the old file or the complete new one."""

import contextlib
import errno
import itertools
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from backends import torchrun_rank
from minihire.runtime.errors import MinihireError

try:
    import fcntl
except ImportError:  # Windows, where a file that a process has open cannot be deleted
    fcntl = None  # type: ignore[assignment]


RANDOM = "[a-z0-9_]{8}"  # what the module tempfile puts into a name


class FileError(MinihireError):
    """A file that cannot be written."""


class Appeared(FileError):
    """A file that must be new, but another program made it in the meantime. The output has another name."""


class Written:
    """How many files `write_atomically` has written since the command started. earlier: whether it resumes an earlier one's."""

    count = 0
    earlier = False


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read its bytes. All files of data that a user gives as input are opened here.

    Raises OSError for a folder, a device and a FIFO: opening a FIFO would wait for a writer, perhaps without end.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # first, because opening some devices has effects
        raise _not_regular(path)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # it was exchanged in between
        file.close()
        raise _not_regular(path)
    return file


def _not_regular(path):
    if os.path.isdir(path):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_text(path: str | os.PathLike[str], errors: str = "strict") -> str:
    """The content of a text file in UTF-8. Raises OSError as `open_regular` does, and UnicodeDecodeError."""
    with open_regular(path) as file:
        return file.read().decode("utf-8", errors)


def utf8(text: str) -> bytes:
    """The text in UTF-8. A byte of a file's name that is not UTF-8 becomes \\udcNN, as JSON writes it."""
    return text.encode("utf-8", "backslashreplace")


def refuse_special(path: Path) -> None:
    """Raise FileError if `path` is a folder, a device, a FIFO or a symbolic link, which must not be replaced."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # the path does not exist, or writing will report why it cannot be read
        return
    if not stat.S_ISREG(mode):
        raise FileError(f"cannot write {path}, because it is not a regular file: choose another place")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Make a folder and its parents, if they do not exist. After an error in the context, those that it made and that are empty
    are deleted.
    """
    new = _missing(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        _remove_empty(new)
        raise


def _missing(folder: Path) -> list[Path]:
    """The folder and its parents, as far as they do not exist."""
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # it is not empty, or was not made
            folder.rmdir()


def require_writable(path: Path) -> None:
    """Raise FileError if `write_atomically` could not write to `path`: to be called before long work.

    It makes the folder and a temporary file in it, and deletes them again.
    """
    if torchrun_rank()[0] > 0:
        return
    path = Path(path)
    refuse_special(path)
    new = _missing(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file, name = _temporary(path)
        file.close()
        os.unlink(name)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        _remove_empty(new)


def write_atomically(path: Path, write, new: bool = False) -> None:
    """Call write(file) on a temporary file in the same folder, then rename it to `path`.

    new: never replace a file. If `path` exists by now, the content gets a name with a number, and Appeared says so.
    Temporary files of the same path that a killed process left are deleted. Only the first of the processes that torchrun
    started writes, so callers need not check the rank. Raises FileError if the file cannot be written.
    """
    if torchrun_rank()[0] > 0:
        return
    path = Path(path)
    if not new:
        refuse_special(path)
    try:
        with new_folder(path.parent):
            _write(path, write, new)
        Written.count += 1
    except OSError as error:
        raise _not_written(path, error) from error


@contextlib.contextmanager
def locked(lock: Path, busy: str) -> Iterator[None]:
    """While entered, hold the lock file `lock`, so that no other process can enter with the same one. It is deleted at the end.

    The system releases the lock if the process is killed. With torchrun, the first process locks for all. Raises FileError with
    the sentence `busy` if another process holds the lock, and FileError if the folder is not writable.
    """
    if torchrun_rank()[0] > 0:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(new_folder(lock.parent))
            refuse_special(lock)
            file = stack.enter_context(open(lock, "a"))
        except OSError as error:
            raise FileError(f"cannot write into {lock.parent}: {error.strerror}; choose another --out") from error
        if not _lock_alone(file) or not _is_at(file, lock):
            raise FileError(busy)
        try:
            yield
        finally:
            if not fcntl:  # Windows deletes no open file: now not this one, and after that not the next holder's
                file.close()
            with contextlib.suppress(OSError):
                lock.unlink()


@contextlib.contextmanager
def only_writer(path: Path, new: bool = False) -> Iterator[None]:
    """While entered, no other process can enter this for the same path. Errors: as those of `locked`.

    new: raise FileError if the file exists by now; another process may have written it since the caller looked.
    """
    path = Path(path)
    busy = f"{path} is being written by another process: wait for it, or choose another --out"
    with locked(path.with_name(f".{path.name}.lock"), busy):
        if new and torchrun_rank()[0] == 0 and os.path.lexists(path):
            raise FileError(f"{path} exists by now: choose another --out")
        yield


def _lock_alone(file) -> bool:
    """Lock an open file until it is closed. False if another process holds the lock.

    On a file system without locks, no process can hold one.
    """
    try:
        if fcntl is None:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return fcntl is not None and error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
    return True


def _is_at(file, path: Path) -> bool:
    """Whether an open file is the one at this path: another process may have deleted it since it was opened."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False


def _not_written(path: Path, error: OSError) -> FileError:
    return FileError(f"cannot write {path}: {error.strerror or error}; choose another place or free some space")


def _write(path: Path, write, new: bool) -> None:
    _remove_stale(path)
    file, name = _temporary(path)
    try:
        with file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if fcntl:  # renamed before the lock is released, so that no other process takes it for stale
                os.chmod(name, 0o666 & ~_umask())
                _rename(name, path, new)
        if not fcntl:
            _rename(name, path, new)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _rename(name: str, path: Path, new: bool) -> None:
    """Rename the temporary file `name` to `path`. new: see `write_atomically`."""
    if not new or not os.path.lexists(path):
        os.replace(name, path)
        return
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    free = next(other for other in numbered if not os.path.lexists(other))
    os.replace(name, free)
    raise Appeared(f"{path} exists by now, so the output was written to {free}: rename that file, or delete it")


def _temporary(path: Path) -> tuple[BinaryIO, str]:
    """A new temporary file .NAME.XXXXXXXX.tmp beside `path`, and its name. It is locked as long as it is open."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        file = os.fdopen(handle, "wb")
        _lock(file)
        if os.path.exists(name):  # else another process took it for stale before it was locked
            return file, name
        file.close()


def _remove_stale(path: Path) -> None:
    """Delete the temporary files of this path that no process holds. A process that was killed left them.

    On Windows they are kept, because a process closes its file before it renames it, and no lock would protect it then.
    """
    if not fcntl:
        return
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{RANDOM}\.tmp")
    for name in filter(pattern.fullmatch, os.listdir(path.parent)):
        with contextlib.suppress(OSError), open_regular(path.parent / name) as file:
            if not os.path.islink(path.parent / name) and _lock(file):
                os.unlink(path.parent / name)


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, deleted at the end. First, those with this prefix that a killed process left are deleted.

    Where the system has no file locks, they are kept, because another process may be using them.
    """
    pattern = re.compile(re.escape(prefix) + RANDOM)
    for name in filter(pattern.fullmatch, os.listdir(parent)) if fcntl else ():
        with contextlib.suppress(OSError), _locked_folder(parent / name) as free:
            if free and not os.path.islink(parent / name):
                shutil.rmtree(parent / name)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name, _locked_folder(Path(name)):
        yield Path(name)


@contextlib.contextmanager
def _locked_folder(path: Path) -> Iterator[bool]:
    """Lock a folder while entered. False if another process holds it."""
    if fcntl is None:
        yield True
        return
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


def _lock(file) -> bool:
    """Lock an open file until it is closed. False if another process holds it, or if this file system has no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _umask():
    value = os.umask(0)
    os.umask(value)
    return value
