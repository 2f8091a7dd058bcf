"""The folder of a run: choosing it, reading its settings, and locking it."""

import contextlib
import os
import re
from itertools import count
from pathlib import Path

from backends import torchrun_rank
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import locked
from minihire.study.results import Results

BASE = Path("runs")
CONTENT = ("models", "figures", "report.html", "config.json", "curves.csv")  # what a run writes besides results.json


def choose(out: Path | None, preset: str, resume: bool) -> Path:
    """Choose the folder of a run: --out, or runs/PRESET with a number if that exists. With resume: the latest of these.

    Raises MinihireError if the folder contains a run and resume is false, if there is no run to resume, and if the folder
    contains other files that the run would overwrite.
    """
    if out is None:
        out = _latest(preset) if resume else _free(preset)
    holds_run = os.path.exists(out / "results.json")
    if holds_run and not resume:
        with lock(out):  # raises a better message if another process uses the folder
            refuse_run(out)
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


def refuse_run(out: Path) -> None:
    """Raise MinihireError if the folder contains a run."""
    if os.path.exists(out / "results.json"):
        raise MinihireError(f"{out} holds a run already: --resume resumes it, another --out starts a new one")


def _latest(preset):
    """runs/PRESET or runs/PRESET-N: the folder whose results were written last; runs/PRESET if there is none."""
    name = re.compile(rf"{re.escape(preset)}(-\d+)?")
    found = [path for path in BASE.glob("*/results.json") if name.fullmatch(path.parent.name)]
    return max(found, key=os.path.getmtime).parent if found else BASE / preset


def _free(preset):
    """runs/PRESET, or with the first number, from 2, at which there is no run."""
    names = (preset if number == 1 else f"{preset}-{number}" for number in count(1))
    return next(BASE / name for name in names if not os.path.exists(BASE / name / "results.json"))


def refuse_among_classes(out: Path, data_dir: Path, resume: bool) -> None:
    """Raise MinihireError if the folder of a run lies where it would be read as a class of the images in data_dir."""
    out, data_dir = out.resolve(), data_dir.resolve()
    if not out.is_relative_to(data_dir):
        return
    inside = out.relative_to(data_dir).parts
    if (
        not inside
        or not all((data_dir / part).is_dir() for part in ("train", "test"))
        or inside[0] in ("train", "test")
    ):
        remedy = "move it elsewhere, and give its new place with --out" if resume else "give another folder with --out"
        raise MinihireError(f"the run's folder {out} is inside --data-dir, where it would be read as a class: {remedy}")


def saved_config(out: Path) -> dict:
    """The settings that the run in a folder was started with."""
    return Results.load(out / "results.json")["config"]


@contextlib.contextmanager
def lock(out: Path, new: bool = False):
    """Context manager: lock the folder of a run, so that no second run can use it. Errors: as those of `files.locked`.

    new: refuse a folder that contains a run by now; another one may have started and finished since `choose`. After an error in
    the context, the folder is deleted if this call made it and nothing is in it.
    """
    with locked(out / ".lock", f"{out} is in use by another run: wait for it, or choose another --out"):
        if new and torchrun_rank()[0] == 0:
            refuse_run(out)
        yield
