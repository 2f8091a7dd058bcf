"""Numerical kernels: one contract (interface.py), several implementations, chosen by name.

get_backend()                            the default: MINIHIRE_BACKEND, or numba
get_backend("reference", dtype="float64")
get_backend("numba", threads=2)
"""

import importlib
import os
import sys

from backends.interface import Backend

# name → (module, class, what to install when an import fails)
BACKENDS = {
    "numba": ("backends.numba_cpu", "NumbaBackend", "pip install numba"),
    "reference": ("backends.reference", "ReferenceBackend", "pip install numpy"),
}
DEFAULT = "numba"


class BackendError(ValueError):
    """A backend that is unknown, cannot be imported, or does not have what was asked for."""


def get_backend(
    name: str | None = None, device: str = "cpu", *, dtype: str = "float32", threads: int | None = None
) -> Backend:
    """A backend by name (default: the environment's MINIHIRE_BACKEND, else "numba").

    threads: how many CPU threads it uses (default: all cores). Raises BackendError, one sentence saying what to do.
    """
    name = name or os.environ.get("MINIHIRE_BACKEND") or DEFAULT
    if name not in BACKENDS:
        raise BackendError(f"there is no backend {name!r}: choose {' or '.join(BACKENDS)}")
    if device != "cpu":
        raise BackendError(f"the {name} backend runs on the CPU only, not on {device!r}: leave out --device")
    if dtype not in ("float32", "float64"):
        raise BackendError(f"no dtype {dtype!r}: choose float32 or float64")
    if threads is not None and not 1 <= threads <= 1024:
        raise BackendError(f"threads must be 1 … 1024, not {threads}")
    if threads and threads > (os.cpu_count() or 1) and "numba" not in sys.modules:  # it reads its limit on import
        os.environ.setdefault("NUMBA_NUM_THREADS", str(threads))
    module, cls, remedy = BACKENDS[name]
    try:
        return getattr(importlib.import_module(module), cls)(dtype=dtype, threads=threads)
    except ImportError as error:
        raise BackendError(
            f"the {name} backend needs {error.name or error}, which is not installed: {remedy}"
        ) from error
