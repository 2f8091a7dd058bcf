"""A run of seconds in processes of its own: what the reliability harnesses start, stop and compare."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SETTINGS = [
    *("--train-limit", "320", "--test-limit", "64", "--width", "0.0625", "--hidden", "16", "--steps", "2"),
    *("--ann-epochs", "3", "--snn-epochs", "2", "--calibration-images", "32", "--calibration-steps", "4"),
    *("--iterations", "3", "--methods", "traditional,hire", "--quiet"),
]
UNEQUAL = ("phases", "machine", "minihire", "checksum")  # parts of results.json that differ between equal runs
ROOT = Path(__file__).parents[2]
PATIENCE = 300  # seconds after which a command counts as hanging


def start(out: Path, threads: int, resume: bool = False, **options) -> subprocess.Popen:
    """Start the run, or its resumption, as a process."""
    flags = ["--resume"] if resume else []
    command = [sys.executable, "-m", "minihire", "run", *flags, *SETTINGS, "--threads", str(threads), "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        command, text=True, cwd=ROOT, env={**os.environ, "MPLBACKEND": "Agg"}, **{**pipes, **options}
    )


def finish(out: Path, threads: int, resume: bool = True) -> tuple[int, str]:
    """Run to the end. Returns the exit code and what it wrote to standard error."""
    process = start(out, threads, resume and (out / "results.json").exists())
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


def unbroken(out: Path, threads: int) -> float:
    """The run without any disturbance. Returns its seconds."""
    begin = time.perf_counter()
    code, errors = finish(out, threads, resume=False)
    if code:
        raise RuntimeError(f"the undisturbed run failed: {errors}")
    return time.perf_counter() - begin


def undisturbed(folder: Path, threads: int) -> tuple[Path, float]:
    """Make the run without any disturbance, after one that compiles the kernels. Returns its folder and its seconds."""
    unbroken(folder / f"warm-up-{threads}", threads)
    expected = folder / f"expected-{threads}"
    return expected, unbroken(expected, threads)


def content(out: Path, without: str = "") -> dict:
    """Everything that must be equal between two runs: the results, and every array of every checkpoint but one."""
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    found = {key: value for key, value in results.items() if key not in UNEQUAL}
    for path in sorted((out / "models").rglob("*.npz")):
        name = str(path.relative_to(out))
        if name == without:
            continue
        with np.load(path) as arrays:
            found[name] = {key: arrays[key].tobytes() for key in arrays.files if key.startswith("parameter/")}
    return found


def difference(out: Path, expected: Path, without: str = "") -> str:
    """The first difference between two finished runs in words; "" if there is none. without: a checkpoint to leave out."""
    a, b = content(out, without), content(expected, without)
    if a.keys() != b.keys():
        return f"{sorted(a.keys() ^ b.keys())[0]} exists in one run only"
    odd = [key for key in a if a[key] != b[key]]
    return f"{odd[0]} differs" if odd else ""


def leftovers(out: Path) -> list[str]:
    """Hidden files in the folder of a run, which only a process that writes at this moment may have."""
    return sorted(str(p.relative_to(out)) for p in out.rglob(".*") if p.is_file() and p.name != ".lock")


def is_a_sentence(errors: str) -> bool:
    """Whether standard error has a message of the program, and no traceback."""
    return "minihire:" in errors and "Traceback" not in errors
