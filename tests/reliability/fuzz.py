"""Give mutated files to every reader of the program and look at what happens:

    python tests/reliability/fuzz.py --cases 10000 [--readers checkpoint,pt]

Each file must be read, or refused with a MinihireError (or an error of its kind), within 10 seconds and with at most 512 MiB more
memory than the file has bytes. Nothing may be executed, and nothing written outside its folder. A damaged archive must not be
read with other values. Prints a line for each fault and a tally for each reader; the exit code is 1 if there was a fault.
"""

import argparse
import contextlib
import hashlib
import io
import os
import random
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
from mutations import any_bytes, archive, json_value
from readers import READERS

from minihire.runtime.machine import peak_memory, reset_peak_memory

SECONDS, MEMORY = 10, 512 << 20
PROCESSES = ("os.system", "subprocess.Popen", "os.exec", "os.spawn", "os.posix_spawn", "os.fork")
FORBIDDEN = (*PROCESSES, "socket.connect", "pickle.find_class")
CHANGES = {  # audit event → positions of its (path, file descriptor of the folder that the path is relative to)
    **dict.fromkeys(("os.remove", "os.rmdir"), [(0, 1)]),
    **dict.fromkeys(("os.rename", "os.link"), [(0, 2), (1, 3)]),
    "os.mkdir": [(0, 2)],
    "os.symlink": [(1, 2)],
    "os.truncate": [(0, None)],
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
watching: list[str] = []  # what the file being read has done that it must not do
active, folder, hooked = [False], [Path()], []


def watch(event: str, arguments: tuple) -> None:
    """An audit hook: notes forbidden events while a file is read."""
    if active[0] and (event.startswith(FORBIDDEN) or any(map(_outside, *_changed(event, arguments)))):
        watching.append(f"{event} {str(arguments)[:100]}")


def _changed(event, arguments):
    """(paths that the event writes to, the folders' descriptors). `os.open` gives flags instead of a mode."""
    if event == "open":
        path, mode, flags = arguments
        writes = flags & WRITING if mode is None else any(letter in mode for letter in "wax+")
        return ([path], [None]) if writes else ([], [])
    places = CHANGES.get(event, [])
    return [arguments[at] for at, _ in places], [None if at is None else arguments[at] for _, at in places]


def _outside(path, descriptor):
    """Whether a path is outside the folder. A number is the descriptor of a file that is open already."""
    if isinstance(path, int):
        return False
    path = Path(os.fsdecode(path))
    if descriptor not in (None, -1):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}")) / path
    return not path.resolve().is_relative_to(folder[0])


class TooLong(BaseException):
    """Reading took too long. No `except Exception` catches it."""


def _too_long(*_):
    raise TooLong


def read_once(read, where: Path, size: int, expected: str = "") -> str:
    """Call read(where). Returns the fault in words; "" if there is none. expected: the digest of what may be read."""
    reset_peak_memory()
    before, active[0], folder[0] = peak_memory(), True, where.resolve()
    content = None
    watching.clear()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            content = read(where)
    except TooLong:
        return f"more than {SECONDS} seconds"
    except Exception as error:
        if not any(base.__name__ == "MinihireError" for base in type(error).__mro__):
            frames = traceback.extract_tb(error.__traceback__)
            return (
                f"{type(error).__name__}: {str(error)[:100]} ({frames[-1].filename.split('/')[-1]}:{frames[-1].lineno})"
            )
        if not str(error).strip() or "\x1b" in str(error):
            return f"a message that cannot be printed: {str(error)!r}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        active[0] = False
    if watching:
        return f"forbidden: {watching[0]}"
    if expected and content is not None and digest(content) != expected:
        return "a damaged file was read, with other values"
    used = peak_memory() - before
    return f"{used >> 20} MiB of memory" if used > MEMORY + size else ""


@contextlib.contextmanager
def watched():
    """Limit the time of `read_once`, and watch what is read. An audit hook cannot be removed, so it is added once."""
    if not hooked:
        hooked.append(True)
        sys.addaudithook(watch)
    before, sys.dont_write_bytecode = signal.signal(signal.SIGALRM, _too_long), True
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        signal.signal(signal.SIGALRM, before)
        sys.dont_write_bytecode = False


def mutation(name: str, rng: random.Random):
    """A mutation that suits the file, or any change of bytes."""
    kinds = {".npz": archive, ".json": json_value}
    return kinds.get(Path(name).suffix, any_bytes) if rng.random() < 0.7 else any_bytes


def digest(content) -> str:
    """A hash of the arrays of a network or of a checkpoint."""
    arrays = getattr(content, "parameters", None) or content.arrays
    values = b"".join(name.encode() + np.asarray(arrays[name]).tobytes() for name in sorted(arrays))
    return hashlib.sha256(values).hexdigest()


def fuzz(name: str, cases: int, seed: int = 0) -> list[str]:
    """Give `cases` mutated files to a reader. Returns the faults, each kind once."""
    make, read = READERS[name]
    rng, faults = random.Random(f"{name} {seed}"), {}
    with watched(), tempfile.TemporaryDirectory() as temporary:
        where = Path(temporary)
        make(where)
        files = {path: path.read_bytes() for path in sorted(where.rglob("*")) if path.is_file()}
        read_once(read, where, 0)  # imports and compiles
        assert not read_once(read, where, 0), f"{name}: the reader fails on its own example"
        value = digest(read(where)) if name in ("checkpoint", "pt") else ""  # these archives have checksums
        for number in range(cases):
            path = rng.choice(list(files))
            chosen = mutation(path.name, rng)
            content = chosen(files[path], rng)
            path.write_bytes(content)
            fault = read_once(read, where, len(content), value if chosen is any_bytes else "")
            path.write_bytes(files[path])
            if fault and fault not in faults:
                faults[fault] = f"{name}, case {number}, {path.name}: {fault}"
                print(faults[fault], flush=True)
    return list(faults.values())


def main() -> int:
    """Run the fuzzers from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="cases for each reader")
    parser.add_argument("--readers", default=",".join(READERS), help="readers, such as checkpoint,pt")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    faults = 0
    for name in options.readers.split(","):
        found = len(fuzz(name, options.cases, options.seed))
        print(f"{name}: {options.cases} cases, {found} kinds of faults", flush=True)
        faults += found
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
