"""Compilation time of a first run: `minihire run` on a few images with an empty kernel cache, then with a filled one.

python -m benchmarks.compiling [--alone] [--json PATH]

The run trains an ANN and two SNNs and attacks them, so it uses every kernel of training and attacks. It is so short that
compilation takes almost all of its time with an empty cache. --alone uses one thread, and so no second compiler process.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import add_json, run
from minihire.app.flags import Parser
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically

ROOT = Path(__file__).parents[1]
IMAGES = "--train-limit 128 --heldout 32 --test-limit 16 --ann-epochs 1 --snn-epochs 1"
PROGRAM = (sys.executable, "-m", "minihire", "run", *IMAGES.split())


def seconds(cache: Path, alone: bool) -> float:
    """Seconds of one run with the kernel cache in `cache`. Raises MinihireError if the run fails."""
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
    """Measure `rounds` runs with an empty cache (cold) and with a filled one (warm).

    "compiling_s" is the difference of the two medians, in seconds.
    """
    cold, warm = [], []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(seconds(Path(cache), alone))
            warm.append(seconds(Path(cache), alone))
        say(f"round {number + 1} of {rounds}: {cold[-1]:.1f} s with an empty cache, {warm[-1]:.1f} s with a filled one")
    difference = statistics.median(cold) - statistics.median(warm)
    return {"cold_s": cold, "warm_s": warm, "compiling_s": difference, "alone": alone}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the result, and write JSON if --json is given."""
    parser = Parser(prog="python -m benchmarks.compiling", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs with an empty and with a filled cache (default: 3)")
    parser.add_argument("--alone", action="store_true", help="use one thread and no second compiler process")
    add_json(parser)
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        raise MinihireError(f"--rounds must be 1 or more, not {options.rounds}")
    found = measure(options.rounds, options.alone)
    print(f"compilation takes {found['compiling_s']:.1f} s of a first run")
    if options.json:
        write_atomically(options.json, lambda file: file.write(json.dumps(found, indent=1).encode()))


if __name__ == "__main__":
    sys.exit(run(main))
