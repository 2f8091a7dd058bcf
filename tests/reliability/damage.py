"""Damage each file of an interrupted or finished run, resume it, and look at what happens:

    python tests/reliability/damage.py --cases 200

Either the run ends as the undisturbed one did, or the program names the damaged file in one sentence and stops with code 2.
Prints a line for each fault and a tally; the exit code is 1 if there was a fault.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from runs import difference, finish, is_a_sentence, start, undisturbed


def flip(content: bytes, rng: random.Random) -> bytes:
    """One bit flipped."""
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


DAMAGES = {
    "empty": lambda content, rng: b"",
    "cut": lambda content, rng: content[: rng.randrange(len(content))],
    "one bit": flip,
    "zeros": lambda content, rng: bytes(len(content)),
    "another file": lambda content, rng: b"#!/bin/sh\necho hello\n",
}


def damage_once(source: Path, expected: Path, folder: Path, name: str, kind: str, rng: random.Random) -> str:
    """Damage one file of a copy of a run, and resume. Returns the fault in words; "" if there is none."""
    out = folder / "damaged"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(source, out)
    path = out / name
    before = path.read_bytes()
    damaged = DAMAGES[kind](before, rng) if before else b"?"
    path.write_bytes(damaged)
    code, errors = finish(out, 2)
    if code == 0:  # a checkpoint that nothing read is still damaged
        return difference(out, expected, name if path.exists() and path.read_bytes() == damaged else "")
    if code != 2 or not is_a_sentence(errors):
        return f"code {code}: {errors.strip()[-300:]}"
    return "" if Path(name).name in errors else f"the message does not name the file: {errors.strip()[-300:]}"


def files_of(run: Path) -> list[str]:
    """The files of a run that can be damaged. A run that was killed early may have none."""
    return sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.suffix in (".json", ".npz") and p.is_file())


def damages(folder: Path, expected: Path, seconds: float, cases: int, seed: int = 0) -> list[str]:
    """Damage files of runs that were killed at several moments, and of a finished one. Returns the faults.

    expected, seconds: see `undisturbed`.
    """
    rng, faults, sources = random.Random(seed), [], [expected]
    for part in (0.4, 0.6, 0.8, 0.95)[: max(cases - 1, 0)]:
        out = folder / f"killed-{part}"
        process = start(out, 2)
        time.sleep(part * seconds)
        process.kill()
        process.communicate()
        if files_of(out):
            sources.append(out)
    for number in range(cases):
        source, kind = sources[number % len(sources)], rng.choice([*DAMAGES])
        name = rng.choice(files_of(source))
        fault = damage_once(source, expected, folder, name, kind, rng)
        if fault:
            faults.append(f"{source.name}, {name}, {kind}: {fault}")
            print(faults[-1], flush=True)
    return faults


def main() -> int:
    """Run the harness from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        expected, seconds = undisturbed(Path(folder), 2)
        faults = damages(Path(folder), expected, seconds, options.cases, options.seed)
    print(f"{options.cases} damaged files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
