"""Kill a run with SIGKILL at random moments, resume it, and compare it with an undisturbed run:

    python tests/reliability/kill.py --kills 50 --threads 1,2,4

The moments are spread over the whole time of a run, so they fall into all of its phases. Prints a line for each fault and a
tally; the exit code is 1 if there was a fault.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from runs import difference, finish, leftovers, start, undisturbed


def kill_once(folder: Path, expected: Path, threads: int, moment: float) -> str:
    """Kill a run after `moment` seconds, then resume it. Returns the fault in words; "" if there is none.

    A run that ended earlier is repeated with 0.8 times the moment.
    """
    out = folder / "killed"
    while not _killed(out, threads, moment):
        moment *= 0.8
    code, errors = finish(out, threads)
    if code:
        return f"resuming ended with code {code}: {errors.strip()[-300:]}"
    left = leftovers(out)
    return difference(out, expected) or (f"temporary files are left: {', '.join(left)}" if left else "")


def _killed(out, threads, moment):
    """Start a run and kill it. Returns whether it was still running."""
    shutil.rmtree(out, ignore_errors=True)
    process = start(out, threads)
    time.sleep(moment)
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


def kills(folder: Path, expected: Path, seconds: float, threads: int, count: int, seed: int = 0) -> list[str]:
    """Kill `count` runs at moments spread over the time of a run. expected, seconds: see `undisturbed`. Returns the faults."""
    moments, faults = random.Random(seed), []
    for number in range(count):
        moment = (number + moments.random()) / count * seconds
        fault = kill_once(folder, expected, threads, moment)
        if fault:
            faults.append(f"{threads} threads, killed after {moment:.2f} of {seconds:.2f} s: {fault}")
            print(faults[-1], flush=True)
    return faults


def main() -> int:
    """Run the harness from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="kills for each number of threads")
    parser.add_argument("--threads", default="1,2,4", help="numbers of threads, such as 1,2,4")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    options = parser.parse_args()
    numbers, faults = [int(n) for n in options.threads.split(",")], []
    with tempfile.TemporaryDirectory() as folder:
        for threads in numbers:
            expected, seconds = undisturbed(Path(folder), threads)
            faults += kills(Path(folder), expected, seconds, threads, options.kills, options.seed)
    print(f"{options.kills * len(numbers)} kills, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
