"""What compiling costs a first run: `minihire run` on a few images with an empty kernel cache, then with the one it left.

python -m benchmarks.compiling [--alone] [--json PATH]

The run trains an ANN and two SNNs and attacks them, so it needs every kernel that training and attacks do; it is so
short that nearly all of its cold time is compiling. --alone: on one thread, so without the second process that compiles.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import run
from minihire.app.flags import Parser
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically

ROOT = Path(__file__).parents[1]
IMAGES = "--train-limit 128 --heldout 32 --test-limit 16 --ann-epochs 1 --snn-epochs 1"
PROGRAM = (sys.executable, "-m", "minihire", "run", *IMAGES.split())


def seconds(cache: Path, alone: bool) -> float:
    """The time of one run with this kernel cache. Raises MinihireError if it fails."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"MINIHIRE_CACHE_DIR": str(cache), "PYTHONPATH": path}
    with tempfile.TemporaryDirectory() as out:
        command = [*PROGRAM, "--out", f"{out}/run", *(["--threads", "1"] if alone else [])]
        start = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        taken = time.perf_counter() - start
    if done.returncode:
        raise MinihireError(f"the run failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    return taken


def measure(rounds: int, alone: bool, say=print) -> dict:
    """Cold and warm seconds of so many runs each, and the medians' difference."""
    cold, warm = [], []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(seconds(Path(cache), alone))
            warm.append(seconds(Path(cache), alone))
        say(f"round {number + 1} of {rounds}: {cold[-1]:.1f} s with nothing compiled, {warm[-1]:.1f} s again")
    difference = statistics.median(cold) - statistics.median(warm)
    return {"cold_s": cold, "warm_s": warm, "compiling_s": difference, "alone": alone}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and if asked write JSON."""
    parser = Parser(prog="python -m benchmarks.compiling", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="cold and warm runs (default: 3)")
    parser.add_argument("--alone", action="store_true", help="one thread, and no second process that compiles")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        raise MinihireError(f"--rounds must be 1 or more, not {options.rounds}")
    found = measure(options.rounds, options.alone)
    print(f"compiling costs a first run {found['compiling_s']:.1f} s")
    if options.json:
        write_atomically(options.json, lambda file: file.write(json.dumps(found, indent=1).encode()))


if __name__ == "__main__":
    sys.exit(run(main))
