"""How many CPU cores this process may use: fewer than the machine has in a container, a batch job, or under `taskset`."""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def available(root: Path = Path("/")) -> int:
    """The cores that the scheduler gives this process, at most as many as its container's CPU quota (rounded up), at least 1.

    root: where /proc and /sys are.
    """
    return max(1, min([affinity(), *(math.ceil(quota) for quota in _quotas(root))]))


def affinity() -> int:
    """The cores on which the scheduler may run this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """The CPU quotas, in cores, of this process's control groups and of all groups above them. Linux only.

    Version 2 of control groups has one hierarchy, and writes "quota period" or "max period" into cpu.max. Version 1 has one
    hierarchy for the CPU, and two files; a quota of −1 is none.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        names = [part for part in group.split("/") if part not in ("", ".", "..")]
        folders = [Path(*names[:depth]) for depth in range(len(names) + 1)]  # from the root of the hierarchy down
        if not controllers:
            for folder in folders:
                yield from _cores(_read(root / "sys/fs/cgroup" / folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for folder in folders:
                place = root / "sys/fs/cgroup/cpu" / folder
                yield from _cores([_read(place / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")])


def _cores(words: list[str]) -> Iterator[float]:
    """quota / period, both in microseconds, if there is a quota."""
    if len(words) == 2 and all(word.isdecimal() and int(word) > 0 for word in words):
        yield int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    """A file's text; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
