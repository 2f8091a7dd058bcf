"""Threads: Numba's threads, which soon sleep when they are idle. Inside each of them BLAS uses a single thread.

Numba has three limits. Its number of threads is set separately in each thread of Python. Its layer "workqueue" serves one thread
of Python at a time. Its OpenMP threads do not exist in a forked child. `guarded` makes every kernel respect these limits.
"""

import contextlib
import functools
import os
import threading

import numba
import numpy as np
import threadpoolctl

from backends import BackendError
from backends.interface import KERNELS
from backends.numba_cpu.runtime.kernel_cache import compiled
from backends.numba_cpu.simd.subnormals import take_as_zeros, takes_as_zeros

SPIN_COUNT = 2000  # how often a waiting thread of GNU's OpenMP polls before it sleeps: about 50 µs
FORKED = (
    "this process was forked from one that had started the numba backend's OpenMP threads, which do not exist here: start "
    'processes with multiprocessing.get_context("spawn")'
)
_one_at_a_time = threading.RLock()  # reentrant: kernels call others
_local = threading.local()  # .threads: what this thread of Python has told Numba
_serial = False  # whether Numba's layer serves one thread of Python at a time
_forked = False  # whether this process lacks the OpenMP threads that its parent had started


def start(threads: int) -> None:
    """Start Numba's threads. Raises BackendError for more than Numba was started for, and in a forked child."""
    global _serial
    if _forked:
        raise BackendError(FORKED)
    maximum = numba.config.NUMBA_NUM_THREADS
    if threads > maximum:
        raise BackendError(
            f"Numba was started for at most {maximum} threads, not {threads}: "
            f"set NUMBA_NUM_THREADS={threads} before starting"
        )
    with _short_spinning():
        numba.set_num_threads(threads)
    _local.threads, _serial = threads, numba.threading_layer() == "workqueue"
    _single_threaded_blas()


def _single_threaded_blas():
    """Let BLAS use one thread inside each task: more would compete for the cores and change the order of sums.

    Numba calls SciPy's own BLAS if there is one; NumPy's keeps its threads.
    """
    import scipy.linalg.cython_blas  # noqa: F401  (loads the library)

    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    own = [library for library in libraries if "scipy.libs" in library.filepath]
    for library in own or libraries:
        library.set_num_threads(1)


@contextlib.contextmanager
def _short_spinning():
    """Start Numba's threads so that they poll only briefly while they wait, unless the user has set how long.

    By default they poll for milliseconds, which halves the speed if another program runs. If they slept at once, they would
    wake up too late for the loops of a small network, which has a hundred in each step.
    """
    settings = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": str(SPIN_COUNT)}
    settings = {} if any(name in os.environ for name in settings) else settings
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            del os.environ[name]


def guarded(cls):
    """A class decorator: all kernels run with the backend's own number of threads, in whatever thread of Python.

    With the layer "workqueue", which aborts the process if two threads of Python use it, one call waits for the other. Calls
    raise BackendError in a forked child, where OpenMP would end the process.
    """
    for name in KERNELS:
        setattr(cls, name, _guarded(getattr(cls, name)))
    return cls


def _guarded(kernel):

    @functools.wraps(kernel)
    def call(self, *arguments, **options):
        _use(self.threads)
        if _serial:
            with _one_at_a_time:
                return kernel(self, *arguments, **options)
        return kernel(self, *arguments, **options)

    return call


def _use(threads):
    """Let kernels that this thread of Python calls run in so many threads. Raises BackendError in a forked child."""
    if _forked:
        raise BackendError(FORKED)
    if getattr(_local, "threads", 0) != threads:
        numba.set_num_threads(threads)
        _local.threads = threads


@compiled(parallel=True)
def _exchange(zeros):
    """zeros: for each thread, whether it takes subnormal numbers as zeros from now on, and afterwards whether it did before."""
    for thread in numba.prange(len(zeros)):  # Numba gives each thread one
        before = takes_as_zeros()
        take_as_zeros(zeros[thread])
        zeros[thread] = before


@contextlib.contextmanager
def subnormals_as_zeros(threads: int):
    """Context manager: the calling thread and Numba's threads take subnormal numbers as zeros."""
    _use(threads)
    own, zeros = takes_as_zeros(), np.ones(threads, np.bool_)
    lock = _one_at_a_time if _serial else contextlib.nullcontext()
    try:
        with lock:
            # This may start Numba's threads. They inherit the calling thread's setting, which is therefore changed last.
            _exchange(zeros)
        take_as_zeros(True)
        yield
    finally:
        with lock:
            _exchange(zeros)
        take_as_zeros(own)


def _after_fork_in_child() -> None:
    """Note that the parent had started OpenMP threads, which a child does not inherit."""
    global _forked
    with contextlib.suppress(ValueError):  # no threads had been started
        _forked = numba.threading_layer() == "omp"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
