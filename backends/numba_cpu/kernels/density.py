"""The density of an array: the fraction of its entries that are not zero, estimated from a sample."""

import numpy as np

from backends.numba_cpu.runtime.kernel_cache import compiled

SAMPLE = 1 << 10  # entries of a sample, about: accurate to one or two percentage points


@compiled
def estimate_density(array, offset, leak):
    """(density of non-zero entries, density of increments) of a flat array, floats or counts, from a sample.

    The increment of entry i is array[i] − leak · array[i + offset]; beyond the array's ends the entry itself.
    """
    sample_step = (len(array) // SAMPLE) | 1  # odd, so that the sample visits all channels, whose number is mostly even
    events = increments = 0
    for i in range(0, len(array), sample_step):
        events += array[i] != 0
        if 0 <= i + offset < len(array):
            increments += np.float32(array[i]) - leak * np.float32(array[i + offset]) != 0
        else:
            increments += array[i] != 0
    sampled = max(1, (len(array) + sample_step - 1) // sample_step)
    return events / sampled, increments / sampled
