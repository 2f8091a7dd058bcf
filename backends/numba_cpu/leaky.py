"""Input gradients from what neurons add, without what only leaks.

The gradient of a current that LIF neurons integrate obeys d[t] = k[t]/v + λ·d[t+1] (backends/lif.py), and k is zero
wherever the surrogate is. What goes back through the weights W is linear, so it obeys the same rule:

    W·d[t] = W·(d[t] − λ·d[t+1]) + λ·W·d[t+1]

The difference is the k[t]/v that went in, with far more zeros than d[t]; where k is zero it is zero to the bit, as
λ·d[t+1] is rounded the same way twice. Weight gradients use the same in `event_weight_gradient.leaky_weight_gradient`.
"""

import numpy as np
from numba import njit, prange

from backends.numba_cpu.slabs import copy

BLOCK = 4096


@njit(cache=True)
def subtract_leaked(now, leak, later, out):
    """out = now − λ·later; flat arrays."""
    for i in range(len(out)):
        out[i] = now[i] - leak * later[i]


@njit(cache=True)
def set_leaked(later, leak, out):
    """out = λ·later; flat arrays."""
    for i in range(len(out)):
        out[i] = leak * later[i]


@njit(parallel=True, cache=True)
def increments(x, leak, out):
    """out[t] = x[t] − λ·x[t+1], out[T−1] = x[T−1]; [T, M]."""
    steps, count = x.shape
    for task in prange((count + BLOCK - 1) // BLOCK):
        a = np.int64(task) * BLOCK
        b = min(a + BLOCK, count)
        for t in range(steps - 1):
            subtract_leaked(x[t, a:b], leak, x[t + 1, a:b], out[t, a:b])
        copy(x[steps - 1, a:b], out[steps - 1, a:b])


@njit(parallel=True, cache=True)
def accumulate(out, leak):
    """out[t] += λ·out[t+1], from the last step on; [T, M]."""
    steps, count = out.shape
    for task in prange((count + BLOCK - 1) // BLOCK):
        a = np.int64(task) * BLOCK
        b = min(a + BLOCK, count)
        for t in range(steps - 2, -1, -1):
            for i in range(a, b):
                out[t, i] += leak * out[t + 1, i]
