"""Linear layers as dense matrix products. Each task is one single-threaded BLAS call on a block of rows."""

import numpy as np
from numba import prange

from backends.numba_cpu.runtime.kernel_cache import compiled

ROWS = 32  # of the batch, per task
FEATURES = 256  # inputs, i.e. rows of a weight gradient, per task


@compiled(parallel=True)
def forward(x, weight, out):
    """out [N, F_out] = x [N, F_in] · weight [F_in, F_out]."""
    for block in prange((len(x) + ROWS - 1) // ROWS):
        i = np.int64(block) * ROWS
        np.dot(x[i : i + ROWS], weight, out[i : i + ROWS])


@compiled(parallel=True)
def input_gradient(grad, weight, out):
    """out [N, F_in] = grad [N, F_out] · weightᵀ, weight [F_in, F_out]."""
    for block in prange((len(grad) + ROWS - 1) // ROWS):
        i = np.int64(block) * ROWS
        np.dot(grad[i : i + ROWS], weight.T, out[i : i + ROWS])


@compiled
def gradient_rows(grad, x, first):
    """Up to FEATURES rows of a weight gradient, from `first` on: Σ_n x[n, first + i] · grad[n]; grad [N, F_out], x [N, F_in]."""
    return np.dot(np.ascontiguousarray(x[:, first : first + FEATURES].T), grad)
