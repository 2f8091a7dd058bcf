"""Products of what is new from one time step to the next, without what stays or only leaks.

    W·x[t] = W·(x[t] − λ·x[s]) + λ·W·x[s]        s: the step before t in the order in which one goes

**Spikes** (λ = 1, from the first step on): the image is the same at all steps, and many neurons do what they did at the
step before, above all those that fire at every step. Lists of changes then are shorter than lists of spikes.

**Gradients of currents** (from the last step on): that of a current that LIF neurons integrate obeys
d[t] = k[t]/v + λ·d[t+1] (backends/lif.py), and k is zero wherever the surrogate is. The difference is the k[t]/v that
went in, with far more zeros than d[t]; where k is zero it is zero to the bit, as λ·d[t+1] is rounded the same way twice.
Weight gradients use the same in `event_weight_gradient.leaky_weight_gradient`.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def subtract(now, leak, before, out):
    """out = now − λ·before; flat arrays, floats or counts."""
    for i in range(len(out)):
        out[i] = np.float32(now[i]) - leak * np.float32(before[i])


@njit(cache=True)
def scale(before, leak, out):
    """out = λ·before; flat arrays."""
    for i in range(len(out)):
        out[i] = leak * before[i]


@njit(cache=True)
def add_scaled(before, leak, out):
    """out += λ·before; flat arrays."""
    for i in range(len(out)):
        out[i] += leak * before[i]
