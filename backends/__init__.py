"""Numerical kernels: one contract (interface.py), several implementations, chosen by name.

get_backend()                            the default: MINIHIRE_BACKEND, or numba
get_backend("reference", dtype="float64")
get_backend("numba", threads=2)
get_backend("torch", "cuda", precision="bf16")
"""

import importlib
import os
import sys
from collections.abc import Callable

from backends import processors
from backends.errors import BackendError, choose
from backends.interface import Backend

__all__ = ["BACKENDS", "Backend", "BackendError", "get_backend", "torchrun_rank"]
# name → (module, class, what to install when an import fails)
BACKENDS = {
    "numba": ("backends.numba_cpu", "NumbaBackend", "pip install numba"),
    "reference": ("backends.reference", "ReferenceBackend", "pip install numpy"),
    "torch": ("backends.torch_any", "TorchBackend", "pip install torch"),
}
DEFAULT = "numba"


def torchrun_rank() -> tuple[int, int]:
    """(rank, number of ranks) of this process under torchrun, from RANK and WORLD_SIZE; (0, 1) without torchrun."""
    rank, ranks = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    return (int(rank), int(ranks)) if rank.isdecimal() and ranks.isdecimal() else (0, 1)


def get_backend(
    name: str | None = None,
    device: str = "cpu",
    *,
    dtype: str = "float32",
    threads: int | None = None,
    precision: str = "float32",
    record: bool = True,
) -> Backend:
    """A backend by name (default: the environment's MINIHIRE_BACKEND, else "numba").

    threads: how many CPU threads it uses (default: one for each core that the process may use). Only the torch backend has these
    options: device; precision ("float32", "tf32" or "bf16"); record (on CUDA, `services.captured` records kernels once and
    replays them, which gives bit-identical results). Raises BackendError with a sentence that says what to do.

    >>> from minihire import get_backend
    >>> k = get_backend("reference", dtype="float64")
    >>> k.to_numpy(k.add(k.asarray([1.0, 2.0]), k.asarray([3.0, 4.0]))).tolist()
    [4.0, 6.0]
    """
    name = name or os.environ.get("MINIHIRE_BACKEND") or DEFAULT
    if name not in BACKENDS:
        raise BackendError(f"there is no backend {name!r}: {choose(name, BACKENDS)}")
    if name != "torch" and device != "cpu":
        raise BackendError(f"the {name} backend runs on the CPU only, not on {device!r}: choose the torch backend")
    if name != "torch" and precision != "float32":
        raise BackendError(f"the {name} backend knows no precision {precision!r}: choose the torch backend")
    if name != "torch" and torchrun_rank()[1] > 1:
        raise BackendError(
            f"the {name} backend works in one process, not in torchrun's {torchrun_rank()[1]}: choose the torch backend"
        )
    if dtype not in ("float32", "float64"):
        raise BackendError(f"no dtype {dtype!r}: choose float32 or float64")
    if threads is not None and not 1 <= threads <= 1024:
        raise BackendError(f"threads must be 1 … 1024, not {threads}")
    if threads and threads > processors.affinity() and "numba" not in sys.modules:  # Numba reads its limit on import
        os.environ.setdefault("NUMBA_NUM_THREADS", str(threads))
    module, cls, remedy = BACKENDS[name]
    try:
        backend: Callable[..., Backend] = getattr(importlib.import_module(module), cls)
    except ImportError as error:
        if (error.name or "").partition(".")[0] in ("backends", "minihire"):
            raise  # a fault of this project, which no installation repairs
        raise BackendError(
            f"the {name} backend needs {error.name or error}, which is not installed: {remedy}"
        ) from error
    own = {"device": device, "precision": precision, "record": record} if name == "torch" else {}
    return backend(dtype=dtype, threads=threads, **own)
