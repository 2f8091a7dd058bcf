"""Fill the disk during a run, free it, resume, and compare with an undisturbed run (Linux, as root, or in a user namespace):

    python tests/reliability/full_disk.py --points 10

The run writes into a small file system in memory, whose size grows from point to point, so that each run fails at another
moment. It must stop with one sentence. After the file system has grown, --resume must end as the undisturbed run did.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from runs import difference, finish, is_a_sentence, leftovers, unbroken

ROOM = 1 << 30  # bytes of a file system that is not full


class NoMount(Exception):
    """The user may not mount a file system."""


def mount(folder: Path, size: int, *more: str) -> bool:
    """Mount (or resize) a file system in memory. Returns whether it worked."""
    options = ["-o", ",".join([f"size={size}", *more])]
    return subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True).returncode == 0


@contextlib.contextmanager
def small_disk(folder: Path, size: int):
    """A file system of a few bytes at a folder. Raises NoMount if the user may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    if not shutil.which("mount") or not mount(folder, size):
        raise NoMount("mounting a file system in memory needs Linux and root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill_once(folder: Path, expected: Path, size: int) -> tuple[str, bool]:
    """A run on a disk of `size` bytes. Returns the fault in words ("" if there is none), and whether the disk was too small."""
    disk = folder / "disk"
    with small_disk(disk, size):
        code, errors = finish(disk / "run", 2)
        full = code != 0
        if full and not is_a_sentence(errors):
            return f"code {code}: {errors.strip()[-300:]}", full
        mount(disk, ROOM, "remount")
        if full:
            code, errors = finish(disk / "run", 2)
            if code:
                return f"resuming with free space ended with code {code}: {errors.strip()[-300:]}", full
        left = leftovers(disk / "run")
        return difference(disk / "run", expected) or (f"temporary files are left: {left}" if left else ""), full


def fills(folder: Path, expected: Path, points: int) -> tuple[list[str], int]:
    """Fill the disk at `points` moments. Returns the faults, and how many of the disks were too small.

    expected: the folder of the undisturbed run.
    """
    faults, full = [], 0
    needed = sum(path.stat().st_size for path in expected.rglob("*") if path.is_file())
    for number in range(points):
        size = max(4096, int(needed * (number + 0.5) / points) // 4096 * 4096)
        fault, too_small = fill_once(folder, expected, size)
        full += too_small
        if fault:
            faults.append(f"disk of {size:,} bytes of {needed:,}: {fault}")
            print(faults[-1], flush=True)
    return faults, full


def main() -> int:
    """Run the harness from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        unbroken(folder / "expected", 2)
        faults, full = fills(folder, folder / "expected", options.points)
    except NoMount as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{options.points} disks, of which {full} were too small: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
