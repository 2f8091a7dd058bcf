"""Threads: Numba's, which sleep soon when they have nothing to do, and a single BLAS thread inside each of them."""

import contextlib
import os

import numba
import threadpoolctl

from backends import BackendError

SPIN_COUNT = 2000  # how often a waiting thread of GNU's OpenMP polls before it sleeps: about 50 µs


def start(threads: int) -> None:
    """Set the number of threads for the whole program. Raises BackendError for more than Numba was started for."""
    maximum = numba.config.NUMBA_NUM_THREADS
    if threads > maximum:
        raise BackendError(
            f"Numba was started for at most {maximum} threads, not {threads}: "
            f"set NUMBA_NUM_THREADS={threads} before starting"
        )
    with _short_spinning():
        numba.set_num_threads(threads)
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
