"""The processor, and the resident memory of this process."""

import platform
import sys
from pathlib import Path


def processor() -> str:
    """The processor's name; "" if unknown."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def peak_memory() -> int:
    """Peak resident memory of the process in bytes, since `reset_peak_memory` or the start of the process; 0 if unknown."""
    peak = _status("VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Resident memory of the process in bytes now; its peak if the system does not say (Linux does)."""
    now = _status("VmRSS")
    return peak_memory() if now is None else now


def reset_peak_memory() -> bool:
    """Reset the peak that `peak_memory` returns. Returns False if the system cannot do this; only Linux can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return True
    except OSError:
        return False


def _status(key):
    """A size in /proc/self/status in bytes; None where there is none."""
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
    except (OSError, StopIteration):
        return None
