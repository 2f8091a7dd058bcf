"""The cache of compiled kernels on disk.

`compiled` is `numba.njit` with this cache in place of Numba's own, which has three weaknesses: it does not notice when a helper
in another file changes, a damaged file ends every later run with a traceback, and two processes that compile the same kernel can
leave an index that names the wrong code. Here

- the folder's name holds a hash of all kernel sources and of the versions of all libraries that take part in compiling,
- every compiled kernel (one function for one set of argument types) is one file that begins with its own SHA-256: a file
  that is damaged or half-written is treated as missing, so the kernel is compiled and written again,
- there is no index.
"""

import atexit
import contextlib
import functools
import hashlib
import os
import pickle
import shutil
import sys
import tempfile
import time
import types
from pathlib import Path

import llvmlite
import numba
import numpy
from numba.core import caching, event, serialize

UNUSED_SECONDS = 30 * 24 * 3600  # a month: cache folders of other versions are removed when unused for longer
BACKENDS = Path(__file__).parents[2]
SOURCES = ("numba_cpu/kernels", "numba_cpu/simd", "moments16.py", "randomness.py")  # all that is compiled into kernels
DIGEST = hashlib.sha256().digest_size


def _add_code(digest, code) -> None:
    """Add to a hash the parts of a code object on which the machine code depends. Line numbers, for example, are left out."""
    parts = (
        code.co_name,
        code.co_flags,
        code.co_argcount,
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
    )
    digest.update(repr(parts).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _add_code(digest, constant)
        else:  # the order of a set differs between processes
            digest.update(repr(sorted(constant) if isinstance(constant, frozenset) else constant).encode())


def fingerprint(backends: Path = BACKENDS) -> str:
    """A hash of the code of all kernel sources below this folder and of the versions that take part in compiling it."""
    versions = sys.version, numba.__version__, llvmlite.__version__, numpy.__version__
    digest = hashlib.sha256(repr(versions).encode())
    for name in SOURCES:
        path = backends / name
        for file in [path] if path.suffix else sorted(path.rglob("*.py")):
            digest.update(file.name.encode())
            _add_code(digest, compile(file.read_bytes(), file.name, "exec", optimize=2))  # 2: without docstrings
    return digest.hexdigest()[:16]


def persistent_folder() -> Path | None:
    """The folder for these sources in MINIHIRE_CACHE_DIR or the user's cache folder; None if it is not writable."""
    try:
        base = os.environ.get("MINIHIRE_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base).resolve() / "minihire" / f"kernels-{fingerprint()}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            _remove_unused(folder)
            return folder
    except (OSError, RuntimeError):  # Path.home() raises RuntimeError for a user without a home
        return None


def _remove_unused(folder):
    """Mark this folder as used now; remove folders of other versions that were not used for a month."""
    os.utime(folder)
    for other in folder.parent.glob("kernels-*"):
        with contextlib.suppress(OSError):
            if time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(other)


def cache_folder() -> Path:
    """The persistent folder, or else a new temporary one."""
    folder = persistent_folder()
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="minihire-kernels-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def folder_in_use() -> Path:
    """The folder of this process, chosen when the first kernel is imported."""
    return cache_folder()


class KernelFiles:
    """The files of one function: one for each set of argument types and target machine (`key`)."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name

    def path(self, key) -> Path:
        """The file of one key."""
        return self.folder / f"{self.name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def load(self, key):
        """The value that was saved under this key; None if there is none or if the file is damaged."""
        try:
            content = self.path(key).read_bytes()
        except OSError:
            return None
        digest, data = content[:DIGEST], content[DIGEST:]
        return pickle.loads(data) if hashlib.sha256(data).digest() == digest else None

    def save(self, key, value) -> None:
        """Write a file. Without space or permission the kernel is compiled again next time."""
        data = serialize.dumps(value)
        with contextlib.suppress(OSError):
            self.path(key).write_bytes(hashlib.sha256(data).digest() + data)

    def flush(self) -> None:
        """Remove all files of the function."""
        for path in self.folder.glob(f"{self.name}-*.nbc"):
            path.unlink(missing_ok=True)


class _Locator(caching._CacheLocator):
    """Tells Numba where the cache of a function lies: in one folder for all functions."""

    def __init__(self, file):
        self._py_file = file

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_file)

    def get_cache_path(self):
        return str(folder_in_use())

    def get_source_stamp(self):
        return None  # the folder's name holds a hash of the sources instead

    def get_disambiguator(self):
        return ""


class _KernelCacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]


class KernelCache(caching.FunctionCache):
    """Numba's cache of one function, with `KernelFiles` in place of its index and data files."""

    _impl_class = _KernelCacheImpl

    def __init__(self, function):
        super().__init__(function)
        name = f"{function.__module__.removeprefix('backends.numba_cpu.')}.{function.__qualname__}"
        self._cache_file = KernelFiles(folder_in_use(), name.replace("<", "").replace(">", ""))

    def save_overload(self, sig, data):
        with contextlib.suppress(OSError):  # the folder was removed or made read-only meanwhile
            super().save_overload(sig, data)


def compiled(function=None, **options):
    """`numba.njit(**options)` with `KernelCache`. With NUMBA_DISABLE_JIT=1 the function stays plain Python."""
    if function is None:
        return lambda function: compiled(function, **options)
    dispatcher = numba.njit(**options)(function)
    if dispatcher is not function:
        dispatcher._cache = KernelCache(function)
    return dispatcher


class CompileNotice(event.Listener):
    """Calls say(line) and start_helper() once: when Numba first compiles a kernel that is not in the cache.

    A process has one, COMPILE_NOTICE. `use` replaces its functions, and registers it with Numba in the first call.
    """

    say = start_helper = None
    announced = False

    def use(self, say, start_helper) -> None:
        """Call these functions from now on, unless the notice was given before."""
        if self.say is None:
            event.register("numba:compile", self)
        self.say, self.start_helper = say, start_helper

    def on_start(self, event):
        if not self.announced:
            self.announced = True
            self.say(
                "compiling kernels for this machine as they are needed: about half a minute in all, once per version"
            )
            self.start_helper()

    def on_end(self, event):
        """Required by Numba."""


COMPILE_NOTICE = CompileNotice()
