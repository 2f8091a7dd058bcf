"""A run's folder: which one, whose, and in use by whom."""

import contextlib
import os
from pathlib import Path

from backends import launched
from minihire.runtime.errors import MinihireError
from minihire.study.results import Results

BASE = Path("runs")


def choose(out: Path | None, preset: str, resume: bool) -> Path:
    """The folder of a run: --out, or runs/PRESET, numbered where that is taken (with resume: the latest of them).

    Raises MinihireError: a folder that holds a run and is not resumed, or one to resume that holds none.
    """
    if out is None:
        number, out = 1, BASE / preset
        while (following := BASE / f"{preset}-{number + 1}") and (
            (following if resume else out) / "results.json"
        ).exists():
            number, out = number + 1, following
    holds_run = os.path.exists(out / "results.json")
    if holds_run and not resume:
        with lock(out):  # in use is the better answer, where it is true
            pass
        raise MinihireError(f"{out} holds a run already: --resume goes on with it, another --out starts a new one")
    if resume and not holds_run:
        raise MinihireError(
            f"there is no run to resume in {out}: leave out --resume, or give the run's folder with --out"
        )
    return out


def saved_config(out: Path) -> dict:
    """The settings that the run in a folder was started with."""
    return Results.load(out / "results.json")["config"]


@contextlib.contextmanager
def lock(out: Path):
    """Hold a run's folder: a second run in it is refused. The system releases it even if the process is killed.

    Of processes that torchrun started the first one holds it for all.
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
