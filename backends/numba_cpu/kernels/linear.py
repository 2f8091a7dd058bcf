"""Linear layers by BLAS: blocks, each one single-threaded call, so that results do not depend on the threads."""

import numpy as np
from numba import njit, prange

ROWS = 32
FEATURES = 256


@njit(parallel=True, cache=True)
def forward(x, weight, out):
    """x [N, F_in], weight [F_in, F_out], out [N, F_out]."""
    for block in prange((len(x) + ROWS - 1) // ROWS):
        i = np.int64(block) * ROWS
        np.dot(x[i : i + ROWS], weight, out[i : i + ROWS])


@njit(parallel=True, cache=True)
def input_gradient(grad, weight, out):
    """grad [N, F_out], weight [F_in, F_out], out [N, F_in]."""
    for block in prange((len(grad) + ROWS - 1) // ROWS):
        i = np.int64(block) * ROWS
        np.dot(grad[i : i + ROWS], weight.T, out[i : i + ROWS])


@njit(cache=True)
def gradient_rows(grad, x, first):
    """Σ_n x[n, first + i] · grad[n] [up to FEATURES, F_out]; grad [N, F_out], x [N, F_in]."""
    return np.dot(np.ascontiguousarray(x[:, first : first + FEATURES].T), grad)
