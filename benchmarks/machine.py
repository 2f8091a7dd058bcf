"""Description of the machine, its load, and the memory of this process."""

import importlib.metadata
import os
import platform
import sys
import time

import threadpoolctl

from backends.processors import affinity
from minihire.runtime.machine import processor, reset_peak_memory, resident_memory

PACKAGES = ("numpy", "numba", "scipy", "torch", "spikingjelly", "snntorch", "jax", "spyx")
BUSY = 0.1  # cores used by other processes above which a warning is printed


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages among PACKAGES."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def busy_cores(seconds: float = 1.0) -> float | None:
    """Cores that other processes use, measured while this one sleeps for `seconds`. None if the system is not Linux."""
    try:
        before = _busy_ticks()
        time.sleep(seconds)
        return (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds
    except (OSError, ValueError, AttributeError):
        return None


def _busy_ticks():
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, soft, *rest = map(int, file.readline().split()[1:])
    return user + nice + system + irq + soft + (rest[0] if rest else 0)


def describe() -> dict:
    """Processor, cores, versions, load averages, and the cores that other processes use now."""
    return {
        "processor": processor() or platform.machine(),
        "cores": affinity(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "busy_cores_before": busy_cores(),
    }


def instructions() -> dict[str, str]:
    """The instruction sets that the libraries loaded in this process say they use, by library."""
    found = {}
    if "numba" in sys.modules:
        from numba.core.registry import cpu_target

        _, name, features = cpu_target.target_context.codegen().magic_tuple()
        found["numba"] = f"{name} {'with' if '+avx512f' in features.split(',') else 'without'} AVX-512"
    if "torch" in sys.modules:
        import torch

        found["torch"] = torch.backends.cpu.get_cpu_capability()
    for library in threadpoolctl.threadpool_info():
        if "architecture" in library:
            found[library["internal_api"]] = library["architecture"]
    return found


def sentences(machine: dict) -> list[str]:
    """Lines that describe the machine, with a warning if other processes use it."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [f"{machine['processor']}, {machine['cores']} cores; {packages}"]
    busy, load = machine["busy_cores_before"], machine["load_average"]
    known = [f"load average {load[0]:.2f}"] if load else []
    known += [] if busy is None else [f"other processes use {busy:.2f} cores"]
    lines.append("before the start: " + (", ".join(known) or "the load is not known on this system"))
    if busy is not None and busy > BUSY:
        lines.append(
            "warning: other processes use the machine, so the times are unreliable, most of all those with all cores"
        )
    return lines


def resident() -> int:
    """Resident memory of this process in bytes, after freed memory was returned to the system."""
    _trim()
    return resident_memory()


def reset_peak() -> bool:
    """`reset_peak_memory`, after freed memory was returned to the system."""
    _trim()
    return reset_peak_memory()


def _trim():
    if sys.platform.startswith("linux"):
        import ctypes

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
