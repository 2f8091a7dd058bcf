"""Build the sdist and the wheel, install each into bare environments with the oldest and the newest dependencies, and use them:

    python tests/reliability/versions.py --pythons 3.10,3.11,3.12,3.13

Each environment imports the package, trains, converts and attacks in a run of seconds, and prints an overview of a checkpoint. A
Python that is not on this machine is reported as missing. Prints a line for each environment; the exit code is 1 if one failed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runs import SETTINGS

ROOT = Path(__file__).parent.parent.parent
# The oldest releases that setup.cfg admits and that exist as wheels for a Python.
BASE = ["tqdm==4.60.0", "threadpoolctl==3.1.0"]
OLDEST = {
    "3.10": ["numpy==1.26.0", "numba==0.61.0", "scipy==1.11.1", "pillow==10.0.0", *BASE],
    "3.11": ["numpy==1.26.0", "numba==0.61.0", "scipy==1.11.1", "pillow==10.0.0", *BASE],
    "3.12": ["numpy==1.26.0", "numba==0.61.0", "scipy==1.11.2", "pillow==10.1.0", *BASE],
    "3.13": ["numpy==2.1.0", "numba==0.61.0", "scipy==1.14.1", "pillow==11.0.0", *BASE],
}


def interpreter(version: str) -> str | None:
    """The command of a Python, from the PATH or pyenv."""
    found = [
        shutil.which(f"python{version}"),
        *map(str, (Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python")),
    ]
    for command in filter(None, found[::-1]):
        answer = subprocess.run([command, "-c", "import sys; print(sys.version)"], capture_output=True, text=True)
        if answer.returncode == 0 and answer.stdout.startswith(version):
            return command
    return None


def build(folder: Path) -> dict[str, Path]:
    """Build both kinds of distributions from a clean copy of what git tracks."""
    copy = folder / "source"
    subprocess.run(["git", "clone", "--quiet", ROOT, copy], check=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "build"], check=True)
    python = folder / "build/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "build"], check=True)
    subprocess.run([python, "-m", "build", "--outdir", folder / "dist", copy], check=True, capture_output=True)
    return {"wheel": next((folder / "dist").glob("*.whl")), "sdist": next((folder / "dist").glob("*.tar.gz"))}


def try_one(folder: Path, python: str, package: Path, pins: list[str]) -> str:
    """Install a package into a new environment and use it. Returns what failed; "" if nothing did."""
    venv, home = folder / "venv", folder / "home"
    for path in (venv, home):
        shutil.rmtree(path, ignore_errors=True)
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = venv / "bin/minihire"
    steps = [
        [python, "-m", "venv", venv],
        [venv / "bin/python", "-m", "pip", "install", "--quiet", package, *pins],
        [command, "--version"],
        [command, "run", *SETTINGS, "--threads", "2", "--out", home / "run"],
        [command, "info", home / "run/models/hire.npz"],
        [command, "attack", home / "run/models/hire.npz", "--quiet"],
    ]
    for step in steps:
        done = subprocess.run(step, cwd=home, env=environment, capture_output=True, text=True, timeout=900)
        if done.returncode:
            return f"{' '.join(map(str, step[:4]))}: {(done.stderr or done.stdout).strip()[-400:]}"
    return ""


def main() -> int:
    """Run the trials from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", default=",".join(OLDEST))
    options = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packages = build(folder)
        for version in options.pythons.split(","):
            python = interpreter(version)
            if python is None:
                print(f"Python {version}: not on this machine", flush=True)
                continue
            for kind, name, pins in (("wheel", "oldest", OLDEST[version]), ("sdist", "newest", [])):
                begin = time.perf_counter()
                failure = try_one(folder, python, packages[kind], pins)
                failures += bool(failure)
                print(
                    f"Python {version}, {kind}, {name} dependencies: {failure or 'works'} ({time.perf_counter() - begin:.0f} s)",
                    flush=True,
                )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
