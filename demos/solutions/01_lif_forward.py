"""Solution of the exercise of lesson 1: the spiking neuron of HIRE-SNN."""
import numpy as np


def lif_forward(current, leak, threshold):
    """Membranes m and spikes s [T, B] of currents [T, B], with the delayed reset (equations 1 and 2)."""
    m, s = np.zeros_like(current), np.zeros_like(current)
    for t in range(len(current)):
        m[t] = current[t]
        if t > 0:
            m[t] += leak * m[t - 1] - threshold * s[t - 1]
        s[t] = m[t] > threshold
    return m, s
