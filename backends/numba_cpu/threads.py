"""Threads: Numba's sleep while they wait, and BLAS has one inside each of ours."""

import contextlib
import os

import numba
import threadpoolctl

from backends import BackendError


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
    """Start Numba's threads so that they sleep while they wait: spinning ones halve the speed beside any other program."""
    ours = "OMP_WAIT_POLICY" not in os.environ
    if ours:
        os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        if ours:
            del os.environ["OMP_WAIT_POLICY"]
