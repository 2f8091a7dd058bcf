"""A run's folder: which one it is, whether it holds a run, and whether another process uses it."""

import contextlib
import os
from pathlib import Path

from backends import launched
from minihire.runtime.errors import MinihireError
from minihire.study.results import Results

BASE = Path("runs")
CONTENT = ("models", "figures", "report.html")  # of a run, besides results.json


def choose(out: Path | None, preset: str, resume: bool) -> Path:
    """The folder of a run: --out, or runs/PRESET, numbered if that is taken (with resume: the latest of them).

    Raises MinihireError for a folder that holds a run, unless it is resumed; for one to resume that holds none; and for one
    with other files in the places where a run writes.
    """
    if out is None:
        number, out = 1, BASE / preset
        while (following := BASE / f"{preset}-{number + 1}") and (
            (following if resume else out) / "results.json"
        ).exists():
            number, out = number + 1, following
    holds_run = os.path.exists(out / "results.json")
    if holds_run and not resume:
        with lock(out):  # raises "in use" if that is so, which is the better answer
            pass
        raise MinihireError(f"{out} holds a run already: --resume resumes it, another --out starts a new one")
    if resume and not holds_run:
        raise MinihireError(
            f"there is no run to resume in {out}: leave out --resume, or give the run's folder with --out"
        )
    others = [name for name in CONTENT if os.path.lexists(out / name)]
    if others and not holds_run:
        raise MinihireError(
            f"{out} holds other files, {', '.join(others)}, which a run would overwrite: choose another --out"
        )
    return out


def saved_config(out: Path) -> dict:
    """The settings that the run in a folder was started with."""
    return Results.load(out / "results.json")["config"]


@contextlib.contextmanager
def lock(out: Path):
    """Lock a run's folder while entered: a second run in it is refused. The system releases the lock if the process is killed.

    Of the processes that torchrun started, the first one locks it for all. Raises MinihireError.
    """
    if launched()[0] > 0:
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = open(out / ".lock", "a")  # noqa: SIM115
    except OSError as error:
        raise MinihireError(f"cannot write into {out}: {error.strerror}; choose another --out") from error
    with file:
        if not _try_lock(file):
            raise MinihireError(f"{out} is in use by another run: wait for it, or choose another --out")
        yield


def _try_lock(file) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
