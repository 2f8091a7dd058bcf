"""How much of an array lists would hold: an estimate, from a sample of its entries."""

import numpy as np
from numba import njit

SAMPLE = 1 << 10  # about as many entries are looked at, for one or two percent


@njit(cache=True)
def shares(array, before, leak):
    """Of the entries those that are not zero, and those that are new: that are not `leak` times the one `before` places on.

    array: flat, floats or counts. What has no entry there is new where it is not zero.
    """
    every = (len(array) // SAMPLE) | 1  # odd, so that channels, whose number mostly is even, take turns
    events = new = 0
    for i in range(0, len(array), every):
        events += array[i] != 0
        if 0 <= i + before < len(array):
            new += np.float32(array[i]) - leak * np.float32(array[i + before]) != 0
        else:
            new += array[i] != 0
    looked_at = max(1, (len(array) + every - 1) // every)
    return events / looked_at, new / looked_at
