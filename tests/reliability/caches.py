"""The cache of compiled kernels in unusual places; each case is a real run of seconds (Linux, as root for the read-only ones):

    python tests/reliability/caches.py

Cases: two runs at the same time with one empty cache; a cache that cannot be written; an installation that cannot be written; a
home folder that does not exist. Prints a line for each case; the exit code is 1 if one failed.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from runs import SETTINGS, difference

ROOT = Path(__file__).parent.parent.parent


def start(out: Path, read_only: Path | None = None, **environment: str) -> subprocess.Popen:
    """A run as a process, with only these environment variables. read_only: a folder that this process cannot write to."""
    command = [sys.executable, "-m", "minihire", "run", *SETTINGS, "--threads", "1", "--out", str(out)]
    if read_only:  # in a mount namespace of its own, so that nobody else sees the change
        script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, str(read_only), *command]
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=out.parent, env={**kept, **environment}, **pipes)


def outcome(process: subprocess.Popen) -> str:
    """What went wrong; "" if nothing did."""
    _, errors = process.communicate(timeout=900)
    return f"code {process.returncode}: {errors.strip()[-300:]}" if process.returncode else ""


def shared(folder: Path) -> str:
    """Two runs compile into one empty cache at the same time, and find the same."""
    where = {"MINIHIRE_CACHE_DIR": str(folder / "cache")}
    processes = [start(folder / name, **where) for name in ("one", "two")]
    failures = [outcome(process) for process in processes]
    return next(filter(None, failures), "") or difference(folder / "one", folder / "two")


def read_only_cache(folder: Path) -> str:
    """The cache folder exists and cannot be written."""
    cache = folder / "cache"
    cache.mkdir()
    failure = outcome(start(folder / "run", cache, MINIHIRE_CACHE_DIR=str(cache), HOME=str(folder)))
    return failure or ("the cache was written" if any(cache.iterdir()) else "")


def read_only_installation(folder: Path) -> str:
    """The code cannot be written, as in a system's Python."""
    return outcome(start(folder / "run", ROOT, HOME=str(folder)))


def no_home(folder: Path) -> str:
    """The home folder does not exist, and cannot be made."""
    return outcome(start(folder / "run", HOME="/proc/nothing"))


CASES = {
    "two runs, one cold cache": shared,
    "read-only cache": read_only_cache,
    "read-only installation": read_only_installation,
    "no home folder": no_home,
}


def main() -> int:
    """Run the cases."""
    failures = 0
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            failure = case(Path(folder))
        failures += bool(failure)
        print(f"{name}: {failure or 'works'}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
