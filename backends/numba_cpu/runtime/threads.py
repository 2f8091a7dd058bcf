"""Threads: Numba's go to sleep soon when they wait, and BLAS has one inside each of ours."""

import contextlib
import os

import numba
import threadpoolctl

from backends import BackendError

SPINS = 2000  # of GNU's OpenMP before a thread sleeps: some 50 µs


def start(threads: int) -> None:
    """Set the number of threads for the whole program. Raises BackendError for more than Numba was started for."""
    most = numba.config.NUMBA_NUM_THREADS
    if threads > most:
        raise BackendError(
            f"Numba was started for at most {most} threads, not {threads}: "
            f"set NUMBA_NUM_THREADS={threads} before starting"
        )
    with _patient_threads():
        numba.set_num_threads(threads)
    _single_threaded_blas()


def _single_threaded_blas():
    """One BLAS thread inside each of our tasks: more would fight over the cores and change the order of sums.

    Numba calls SciPy's own BLAS where there is one; NumPy's keeps its threads.
    """
    import scipy.linalg.cython_blas  # noqa: F401  (loads the library)

    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    own = [library for library in libraries if "scipy.libs" in library.filepath]
    for library in own or libraries:
        library.set_num_threads(1)


@contextlib.contextmanager
def _patient_threads():
    """Start Numba's threads so that they soon sleep while they wait, unless the user has said how long.

    Left alone, they spin for milliseconds, which halves the speed beside any other program; asleep at once, they are late
    for every loop of a small network, whose step has a hundred of them.
    """
    ours = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": str(SPINS)}
    ours = {} if any(name in os.environ for name in ours) else ours
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
