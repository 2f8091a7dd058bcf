"""How much of an array lists would hold: an estimate, from a sample of its entries."""

import numpy as np
from numba import njit

SAMPLE = 1 << 10  # about as many entries are looked at, for one or two percent


@njit(cache=True)
def estimate_density(array, offset, leak):
    """Of the entries those that are not zero, and those that are new: that are not `leak` times the one `before` places on.

    array: flat, floats or counts. What has no entry there is new where it is not zero.
    """
    sample_step = (len(array) // SAMPLE) | 1  # odd, so that channels, whose number mostly is even, take turns
    events = increments = 0
    for i in range(0, len(array), sample_step):
        events += array[i] != 0
        if 0 <= i + offset < len(array):
            increments += np.float32(array[i]) - leak * np.float32(array[i + offset]) != 0
        else:
            increments += array[i] != 0
    sampled = max(1, (len(array) + sample_step - 1) // sample_step)
    return events / sampled, increments / sampled
