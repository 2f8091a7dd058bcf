"""Where compiled kernels are kept between runs.

Numba notices when the file of a compiled function changes, but not when a helper in another file does. So the folder's
name carries a hash of all kernel sources and versions: an edit or an upgrade compiles afresh and never runs stale code.
"""

import atexit
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import llvmlite
import numba
import numpy
from numba.core import caching, event

MONTH = 30 * 24 * 3600  # seconds
save_lock = threading.Lock()  # held while a kernel is being written: who ends the process takes it first


def fingerprint(folder: Path) -> str:
    """A hash of every source in the folder and of the versions of all that takes part in compiling it."""
    digest = hashlib.sha256(repr((sys.version, numba.__version__, llvmlite.__version__, numpy.__version__)).encode())
    for path in sorted(
        [*folder.rglob("*.py"), *folder.parent.glob("*.py")]
    ):  # constants from above are compiled in too
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def persistent_folder() -> Path | None:
    """The folder for these sources in MINIHIRE_CACHE_DIR or the user's cache folder; None where it cannot be written."""
    try:
        base = os.environ.get("MINIHIRE_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base).resolve() / "minihire" / f"kernels-{fingerprint(Path(__file__).parents[1])}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            _remove_unused(folder)
            return folder
    except (OSError, RuntimeError):  # a user without a home is a RuntimeError
        return None


def _remove_unused(folder):
    """Note that this folder is used now, and remove those beside it, of other versions, that nobody used for a month."""
    os.utime(folder)
    for other in folder.parent.glob("kernels-*"):
        with contextlib.suppress(OSError):
            if time.time() - other.stat().st_mtime > MONTH:
                shutil.rmtree(other)


def cache_folder() -> Path:
    """The folder that is kept, or else a fresh temporary one."""
    folder = persistent_folder()
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="minihire-kernels-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _sole_writer(folder):
    """Between processes, where the system has such locks: Numba writes an index, then the code that it names.

    Two at once, for one function with other types, may leave an index that names the other's code.
    """
    with save_lock, contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            file = stack.enter_context(open(Path(folder, "writing.lock"), "wb"))
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
        yield


def _save(self, key, data, save=caching.IndexDataCacheFile.save):
    with _sole_writer(self._cache_path):
        save(self, key, data)


caching.IndexDataCacheFile.save = _save


@contextlib.contextmanager
def kernel_cache():
    """Functions jitted with cache=True inside this block keep their machine code in `cache_folder()`."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_folder())
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


class CompileNotice(event.Listener):
    """Calls say(line), and help(), when the first kernel is compiled that the cache does not hold."""

    def __init__(self, say, help):
        self.say, self.help, self.said = say, help, False
        event.register("numba:compile", self)

    def on_start(self, event):
        if not self.said:
            self.said = True
            self.say(
                "compiling kernels for this machine as they are needed: half a minute or so in all, once per version"
            )
            self.help()

    def on_end(self, event):
        """Required by Numba."""
